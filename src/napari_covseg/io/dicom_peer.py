"""What sending and receiving DICOM share: addresses, AE titles, TLS, and quiet logs.

pynetdicom (extra ``pacs``) is imported where a connection is made, and nowhere else.
"""

from __future__ import annotations

import logging
import re
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_covseg.domain.errors import InputError, UsageError

OUR_TITLE = "COVSEG"
_PEER = re.compile(r"(?P<ae>[^@]+)@(?P<host>\[[^\]]+\]|[^:@\[\]]+):(?P<port>\d{1,5})$")
_MOST_TITLE = 16
_HANDSHAKE_S = 5.0
"""How long a TLS handshake may be silent."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another DICOM node: its AE title, and where it listens."""

    title: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Peer:
        """From ``AE@HOST:PORT``; an IPv6 address stands in brackets.

        Raises
        ------
        UsageError
            If it is written otherwise.
        """
        found = _PEER.match(text.strip())
        if found is None or not 0 < int(found["port"]) < 65536:
            raise UsageError(f"{text}: expected AE@HOST:PORT, such as ORTHANC@127.0.0.1:4242")
        return cls(ae_title(found["ae"]), found["host"].strip("[]"), int(found["port"]))

    def __str__(self) -> str:
        return f"{self.title}@{self.host}:{self.port}"


class _Deferring(ssl.SSLContext):
    """A server's: it is asked in the thread that waits for senders, where nobody may be waited for.

    Whoever takes the connection has to `shake_hands`.
    """

    def wrap_socket(self, sock: socket.socket, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        """Wrap it, and leave the handshake for later."""
        return super().wrap_socket(
            sock, *arguments, **{**options, "do_handshake_on_connect": False}
        )


def shake_hands(connection: socket.socket) -> None:
    """Do the handshake of a TLS connection that was taken; one that fails or is silent is ended.

    For plain TCP there is nothing to do.
    """
    if not isinstance(connection, ssl.SSLSocket):
        return
    before = connection.gettimeout()
    try:
        connection.settimeout(_HANDSHAKE_S)
        connection.do_handshake()
        connection.settimeout(before)
    except OSError:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of a TLS connection.

    Parameters
    ----------
    certificate, key
        Our own; a server needs them, a client only where the server asks for one.
    authority
        Whom to trust: of a client, who signed the server's certificate (without it, whom the
        system trusts); of a server, who signed those of clients, which it then asks for.
    """

    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None

    def client(self) -> ssl.SSLContext:
        """What a sender connects with; the server's name is checked.

        Raises
        ------
        InputError
            If a file cannot be read or is no PEM.
        """
        context = self._trusting(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        if self.authority is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return self._own(context) if self.certificate is not None else context

    def server(self) -> ssl.SSLContext:
        """What a receiver listens with; clients must show a certificate if there is an authority.

        Raises
        ------
        UsageError
            If there is no certificate.
        InputError
            If a file cannot be read or is no PEM.
        """
        if self.certificate is None:
            raise UsageError("TLS needs --tls-cert and --tls-key to receive")
        context = self._own(self._trusting(_Deferring(ssl.PROTOCOL_TLS_SERVER)))
        if self.authority is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _own(self, context: ssl.SSLContext) -> ssl.SSLContext:
        assert self.certificate is not None
        try:
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError):
            raise InputError(
                f"{self.certificate.name}: not a PEM certificate with its key; name the key with "
                "--tls-key"
            ) from None
        return context

    def _trusting(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.authority is not None:
            try:
                context.load_verify_locations(self.authority)
            except (OSError, ssl.SSLError):
                raise InputError(
                    f"{self.authority.name}: not a PEM file of certificates to trust"
                ) from None
        return context


def ae_title(text: str) -> str:
    """An AE title: 1 to 16 printable ASCII characters.

    Raises
    ------
    UsageError
        If it is anything else.
    """
    title = text.strip()
    if not title or len(title) > _MOST_TITLE or not title.isascii() or not title.isprintable():
        raise UsageError(f"{text!r}: expected an AE title of 1 to 16 ASCII characters")
    if "\\" in title:
        raise UsageError(f"{text!r}: an AE title holds no backslash")
    return title


def networking() -> Any:
    """pynetdicom, with logs that say nothing: they would quote patients' data.

    Raises
    ------
    UsageError
        If it is not installed.
    """
    try:
        import pynetdicom
    except ImportError:
        raise UsageError(
            "sending and receiving need pynetdicom: pip install 'napari-covseg[pacs]'"
        ) from None
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
    return pynetdicom
