"""DICOM files to another node: C-ECHO, then C-STORE, over one association."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_covseg.domain.errors import CovsegError, InputError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.io.dicom_files import quiet_pydicom
from napari_covseg.io.dicom_peer import OUR_TITLE, Peer, TlsFiles, networking

_UNCOMPRESSED = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
_WARNINGS = (0xB000, 0xB006, 0xB007)
"""Stored, with remarks (elements coerced or dropped)."""


@dataclass(frozen=True, slots=True)
class SendSettings:
    """How to connect.

    Parameters
    ----------
    title
        Our AE title.
    timeout_s
        Seconds to wait for the network, and for each answer.
    tls
        The files of a TLS connection; None for plain TCP.
    """

    title: str = OUR_TITLE
    timeout_s: float = 30.0
    tls: TlsFiles | None = None


@dataclass(frozen=True, slots=True)
class _Object:
    path: Path
    sop_class: str
    syntax: str


def send_files(
    paths: Sequence[Path], peer: Peer, settings: SendSettings | None = None
) -> Steps[int]:
    """Send DICOM files; returns how many were stored.

    Raises
    ------
    UsageError
        If pynetdicom is not installed.
    InputError
        If a file is not DICOM.
    CovsegError
        If the node is not reached, refuses us or a file; says which, and what to look at.
    """
    settings = settings or SendSettings()
    objects = [_object(path) for path in paths]
    yield Progress(0, len(objects) + 1, f"asking {peer}")
    with _association(objects, peer, settings) as link, quiet_pydicom():
        if _status(link.send_c_echo()) != 0:
            raise CovsegError(f"{peer} does not answer a C-ECHO; is it a DICOM node?")
        for number, one in enumerate(objects, start=1):
            yield Progress(number, len(objects) + 1, f"sending {one.path.name}")
            _store(link, one, peer)
    return len(objects)


def _object(path: Path) -> _Object:
    from pydicom import dcmread

    try:
        with quiet_pydicom():
            meta = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
        return _Object(path, str(meta.SOPClassUID), str(meta.file_meta.TransferSyntaxUID))
    except Exception:  # pydicom raises many kinds on damaged input, all meaning this
        raise InputError(f"{path.name}: not a DICOM file that can be sent") from None


@contextmanager
def _association(objects: Sequence[_Object], peer: Peer, settings: SendSettings) -> Iterator[Any]:
    """An association with everything that the objects need; released at the end."""
    network = networking()
    entity = network.AE(ae_title=settings.title)
    entity.acse_timeout = entity.dimse_timeout = settings.timeout_s
    entity.network_timeout = entity.connection_timeout = settings.timeout_s
    entity.add_requested_context("1.2.840.10008.1.1")
    for sop_class, syntax in dict.fromkeys((one.sop_class, one.syntax) for one in objects):
        entity.add_requested_context(sop_class, _offered(syntax))
    tls = None if settings.tls is None else (settings.tls.client(), peer.host)
    link = entity.associate(peer.host, peer.port, ae_title=peer.title, tls_args=tls)
    if not link.is_established:
        raise CovsegError(_why_not(link, peer, settings))
    done = False
    try:
        yield link
        done = True
    finally:
        if done:
            link.release()
        elif link.is_established:
            link.abort()


def _offered(syntax: str) -> list[str]:
    """The syntaxes that an object may be sent in.

    What lies in Implicit VR goes as it is: every node takes that, and an RTSTRUCT has values too
    long for Explicit VR.
    """
    explicit, _ = _UNCOMPRESSED
    return list(_UNCOMPRESSED) if syntax == explicit else [syntax]


def _why_not(link: Any, peer: Peer, settings: SendSettings) -> str:
    answer = getattr(link.acceptor, "primitive", None)
    if link.is_rejected and answer is not None:
        why = {
            (1, 3): f"it does not know our AE title {settings.title}; add it there",
            (1, 7): f"its AE title is not {peer.title}",
            (3, 2): "it has too many connections; try again",
        }.get((answer.result_source, answer.diagnostic), "it gives no reason we know")
        return f"{peer} refused the connection: {why}"
    how = "TLS" if settings.tls is not None else "plain TCP (no TLS)"
    return (
        f"{peer} was not reached within {settings.timeout_s:.0f} s over {how}; check address, "
        "port, firewall" + (" and certificates" if settings.tls is not None else "")
    )


def _store(link: Any, one: _Object, peer: Peer) -> None:
    try:
        status = _status(link.send_c_store(str(one.path)))
    except ValueError:
        raise CovsegError(
            f"{one.path.name}: {peer} does not take objects of this kind (SOP class "
            f"{one.sop_class}); allow it there"
        ) from None
    if status is None:
        raise CovsegError(f"{one.path.name}: {peer} did not answer; the connection was lost")
    if status != 0 and status not in _WARNINGS:
        raise CovsegError(f"{one.path.name}: {peer} did not store it (status 0x{status:04X})")


def _status(answer: Any) -> int | None:
    """The status of an answer, None without one."""
    return int(answer.Status) if "Status" in answer else None
