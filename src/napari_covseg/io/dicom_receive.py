"""A small DICOM storage server: CT, segmentations and structured reports into a folder.

Nothing that a sender says becomes part of a path: folders and files are named by hashes of UIDs.
Files appear whole or not at all, as the bytes that came.
"""

from __future__ import annotations

import hashlib
import shutil
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from napari_covseg.domain.errors import CovsegError, InputError, ResourceError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.io.atomic import atomic_file
from napari_covseg.io.dicom_files import quiet_pydicom
from napari_covseg.io.dicom_peer import OUR_TITLE, TlsFiles, networking, shake_hands

KINDS = {
    "1.2.840.10008.5.1.4.1.1.2": "ct",
    "1.2.840.10008.5.1.4.1.1.2.1": "ct",
    "1.2.840.10008.5.1.4.1.1.2.2": "ct",
    "1.2.840.10008.5.1.4.1.1.66.4": "seg",
    "1.2.840.10008.5.1.4.1.1.481.3": "rtstruct",
    "1.2.840.10008.5.1.4.1.1.88.11": "sr",
    "1.2.840.10008.5.1.4.1.1.88.22": "sr",
    "1.2.840.10008.5.1.4.1.1.88.33": "sr",
    "1.2.840.10008.5.1.4.1.1.88.34": "sr",
}
"""SOP classes that are taken (CT, enhanced and legacy converted; SEG; RTSTRUCT; SR), and their
folders."""
_ECHO = "1.2.840.10008.1.1"
_STORED, _NO_ROOM, _CANNOT, _NO_UID = 0x0000, 0xA700, 0xC000, 0x0117
_LEFT_FREE = 2**30
_LOOK_S = 0.2
_MB = 2**20
_MOST_PDU = _MB
"""No honest sender's packet is longer: data are asked for in 16 kB, and asking takes less."""
_DEFLATED = ("1.2.840.10008.1.2.1.99",)
"""Transfer syntaxes that are not taken: a few bytes of them can unpack to more than the memory."""


@dataclass(frozen=True, slots=True)
class ReceiveSettings:
    """How to listen.

    Parameters
    ----------
    port, host
        Where; 127.0.0.1 is reached from this computer only. Port 0 takes any that is free.
    title
        Our AE title; with ``only_title`` senders must call us by it.
    callers
        AE titles that may send; empty: all.
    tls
        The files of a TLS connection; None for plain TCP.
    idle_s
        End when nothing has come for so many seconds; None listens until it is stopped.
    object_mb
        The largest object that is taken, and how much of objects may be under way on all
        connections together: they are held in memory until they are whole.
    connections
        At most so many senders at once.
    timeout_s
        How long a connection may be silent.
    """

    port: int
    host: str = "127.0.0.1"
    title: str = OUR_TITLE
    only_title: bool = False
    callers: tuple[str, ...] = ()
    tls: TlsFiles | None = None
    idle_s: float | None = None
    object_mb: int = 1024
    connections: int = 4
    timeout_s: float = 60.0


@dataclass(eq=False)
class Received:
    """What has come so far: objects by folder, and how many were refused."""

    folders: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    port: int = 0

    @property
    def count(self) -> int:
        """Objects stored."""
        return sum(self.folders.values())


def receive(folder: Path, settings: ReceiveSettings, received: Received) -> Steps[Received]:
    """Listen until closed, stopped, or idle; ``received`` is filled as objects come.

    Objects go to ``<folder>/<kind>-<hash of the series>/<hash of the object>.dcm``; one that comes
    again takes its own place. Yields several times a second; closing ends the server.

    Raises
    ------
    UsageError
        If pynetdicom is not installed, or TLS has no certificate.
    InputError
        If a certificate cannot be read.
    CovsegError
        If the port cannot be listened on.
    """
    server = _Server(folder, settings, received)
    server.start()
    try:
        while not server.idle():
            yield Progress(0, 1, f"port {received.port}: {_said(received)}")
            time.sleep(_LOOK_S)
    finally:
        server.stop()
    return received


def _said(received: Received) -> str:
    if not received.count:
        return "waiting"
    series = len(received.folders)
    return f"{received.count} received, {series} series"


class _Server:
    """pynetdicom's server with our handlers."""

    def __init__(self, folder: Path, settings: ReceiveSettings, received: Received) -> None:
        self._folder, self._settings, self._received = folder, settings, received
        self._lock = threading.Lock()
        self._last = time.monotonic()
        self._came: dict[int, int] = {}
        self._links: dict[int, Any] = {}
        self._aborted: set[int] = set()
        self._server: Any = None

    def start(self) -> None:
        """Listen."""
        network, settings = networking(), self._settings
        events = network.evt
        entity = network.AE(ae_title=settings.title)
        entity.maximum_associations = settings.connections
        entity.network_timeout = entity.acse_timeout = settings.timeout_s
        entity.dimse_timeout = settings.timeout_s
        entity.require_called_aet = settings.only_title
        entity.require_calling_aet = list(settings.callers)
        syntaxes = [one for one in network.ALL_TRANSFER_SYNTAXES if one not in _DEFLATED]
        for sop_class in (_ECHO, *KINDS):
            entity.add_supported_context(sop_class, syntaxes)
        handlers = [
            (events.EVT_CONN_OPEN, _guard),
            (events.EVT_C_STORE, self._store),
            (events.EVT_DATA_RECV, self._watch),
            (events.EVT_CONN_CLOSE, self._forget),
        ]
        context = None if settings.tls is None else settings.tls.server()
        try:
            self._server = entity.start_server(
                (settings.host, settings.port),
                block=False,
                ssl_context=context,
                evt_handlers=handlers,
            )
        except OSError as error:
            raise CovsegError(
                f"port {settings.port} of {settings.host} cannot be listened on "
                f"({error.strerror or 'not available'}); choose another with --port"
            ) from None
        self._received.port = int(self._server.server_address[1])

    def stop(self) -> None:
        """Close every connection."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def idle(self) -> bool:
        """Whether nothing has come for long enough to end."""
        limit = self._settings.idle_s
        return limit is not None and time.monotonic() - self._last > limit

    def _watch(self, event: Any) -> None:
        """Count what comes, so that an endless object does not fill the memory."""
        self._last = time.monotonic()
        key = id(event.assoc)
        with self._lock:
            self._links[key] = event.assoc
            self._came[key] = self._came.get(key, 0) + len(event.data)
            going = {one: came for one, came in self._came.items() if one not in self._aborted}
            if sum(going.values()) <= self._settings.object_mb * _MB:
                return
            largest = max(going, key=going.__getitem__)
            self._aborted.add(largest)
            self._received.refused += 1
            link = self._links[largest]
        link.abort(block=False)

    def _forget(self, event: Any) -> None:
        key = id(event.assoc)
        with self._lock:
            self._came.pop(key, None)
            self._links.pop(key, None)
            self._aborted.discard(key)

    def _store(self, event: Any) -> int:
        """Write one object; the status that the sender is told."""
        status = self._status_of(event)
        with self._lock:
            self._came[id(event.assoc)] = 0
        if status != _STORED:
            with self._lock:
                self._received.refused += 1
        return status

    def _status_of(self, event: Any) -> int:
        kind = KINDS.get(str(event.request.AffectedSOPClassUID))
        instance = str(event.request.AffectedSOPInstanceUID or "")
        if kind is None or not instance:
            return _NO_UID
        data = event.encoded_dataset()
        try:
            series = _series_of(data)
        except Exception:  # pydicom raises many kinds on damaged input, all meaning this
            return _CANNOT
        if not series:
            return _CANNOT
        try:
            if shutil.disk_usage(self._folder).free < _LEFT_FREE + len(data):
                return _NO_ROOM
            name = f"{kind}-{_hashed(series)[:10]}"
            place = self._folder / name
            place.mkdir(exist_ok=True)
            path = place / f"{_hashed(instance)[:24]}.dcm"
            with self._lock:
                again = path.exists()
                with atomic_file(path) as file:
                    file.write(data)
                self._received.folders[name] = self._received.folders.get(name, 0) + (not again)
        except (OSError, InputError, ResourceError):
            return _NO_ROOM
        return _STORED


def _guard(event: Any) -> None:
    """Shake hands, in the connection's own thread; hang up on packets of absurd length.

    They would be read into memory before anyone asks.
    """
    link = event.assoc.dul.socket
    shake_hands(link.socket)
    read = link.recv

    def recv(size: int) -> bytearray:
        if size <= _MOST_PDU:
            return bytearray(read(size))
        with suppress(OSError):
            link.socket.shutdown(socket.SHUT_RDWR)
        return bytearray()

    link.recv = recv


def _series_of(data: bytes) -> str:
    from pydicom import dcmread

    with quiet_pydicom():
        header = dcmread(
            BytesIO(data), stop_before_pixels=True, specific_tags=["SeriesInstanceUID"]
        )
    return str(header.get("SeriesInstanceUID", "")).strip()


def _hashed(uid: str) -> str:
    return hashlib.sha256(uid.encode(errors="replace")).hexdigest()
