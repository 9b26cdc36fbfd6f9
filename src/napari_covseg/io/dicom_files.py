"""Where DICOM files are: a folder, a zip or one file; and whether something is DICOM at all.

Nothing is ever extracted: members of a zip are read in memory, so a hostile name cannot write.
"""

from __future__ import annotations

import logging
import lzma
import os
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import BinaryIO, cast

from napari_covseg.domain.errors import InputError
from napari_covseg.io.bounds import (
    MAX_RATIO,
    MAX_ZIP_DIRECTORY,
    check_fits,
    expands_too_far,
    zip_directory_bytes,
)
from napari_covseg.io.raw import leads_out

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
MAX_ZIP_BYTES = 32 * 2**30
"""More than any CT study."""
_DICOMDIR_CLASS = b"UI\x14\x001.2.840.10008.1.3.10"
_HEAD_BYTES = 256 * 1024
_PROBE_BYTES = 132
_PROBE_FILES = 500
_ZIP_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)


@dataclass(frozen=True, slots=True)
class Member:
    """One file that may be DICOM. ``name`` is its bare name, for messages."""

    name: str
    size: int
    open: Callable[[], BinaryIO]
    zipped: bool = False

    def open_head(self) -> BinaryIO:
        """The file for reading its header: seekable, and of a zip only the first part.

        The size of what comes back tells a caller whether more would follow (`size`).
        """
        if not self.zipped:
            return self.open()
        with self.open() as file:
            return BytesIO(file.read(_HEAD_BYTES))

    def open_whole(self) -> BinaryIO:
        """The whole file, seekable."""
        if not self.zipped:
            return self.open()
        check_fits(self.name, self.size)
        with self.open() as file:
            return BytesIO(file.read())


@contextmanager
def open_members(path: Path) -> Iterator[list[Member]]:
    """The files of a folder (with subfolders, links to folders not followed), a zip or one file.

    A DICOMDIR stands for its folder: what it lists is found by looking, so a broken one is no
    harm. Hidden files are left out; names are in order.

    Raises
    ------
    InputError
        If there is nothing there, it may not be read, or the zip is damaged, encrypted, holds
        links or names that lead out of it, or unpacks to far more than a CT could.
    """
    try:
        if path.is_dir():
            yield _walk(path)
        elif not path.exists():
            raise InputError(f"{path.name}: no such file or folder")
        elif path.stat().st_size == 0:
            raise InputError(f"{path.name}: the file is empty (0 bytes)")
        elif _is_zip(path):
            with _open_zip(path) as archive:
                yield _zip_members(archive, path.name)
        elif is_dicomdir(path):
            yield _walk(path.parent)
        else:
            yield [file_member(path)]
    except PermissionError:
        raise InputError(f"{path.name}: permission denied, it may not be read") from None
    except _ZIP_DAMAGE:
        raise InputError(f"{path.name}: the zip is damaged or cut off; download it again") from None
    except OSError as error:
        reason = error.strerror or "disk error"
        raise InputError(f"{path.name}: could not be read ({reason})") from None


def is_dicom(path: str | Path) -> bool:
    """Whether ``path`` is a DICOM file, or a folder or zip with at least one.

    Cheap: looks at the first bytes only, and at no more than some hundred files. A file called
    ``.dcm`` counts even if its content is damaged, so that the error tells what is wrong with it.
    """
    path = Path(path)
    try:
        if path.is_dir():
            files = map(file_member, islice(_files(path), _PROBE_FILES))
            return any(map(looks_like_dicom, files))
        if not path.is_file():
            return False
        if not _is_zip(path):
            return looks_like_dicom(file_member(path))
        with _zip_file(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()][:_PROBE_FILES]
            return any(looks_like_dicom(_zip_member(archive, info)) for info in infos)
    except (OSError, RuntimeError, InputError, *_ZIP_DAMAGE):
        return False


def looks_like_dicom(member: Member) -> bool:
    """Whether the name or the first bytes say DICOM."""
    return member.name.lower().endswith(DICOM_SUFFIXES) or starts_as_dicom(member)


def starts_as_dicom(member: Member) -> bool:
    """Whether the first bytes are DICOM: the preamble's magic, or a plausible first element."""
    with member.open() as file:
        head = file.read(_PROBE_BYTES)
    return head[128:132] == b"DICM" or _starts_with_element(head)


def _starts_with_element(head: bytes) -> bool:
    """Old files have no preamble: they start with an element of group 2 or 8."""
    if len(head) < 8 or head[:2] not in (b"\x02\x00", b"\x08\x00"):
        return False
    element = int.from_bytes(head[2:4], "little")
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    length = int.from_bytes(head[6:8] if explicit else head[4:8], "little")
    return element <= 0x20 and length <= 128


class _Quiet:
    """Silence of pydicom and highdicom, which is of the whole process: the first in starts it, the
    last out ends it, so that threads that read at once neither break it nor leave it behind.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._users = 0
        self._silence = ExitStack()

    def enter(self) -> None:
        with self._lock:
            if not self._users:
                for name in ("pydicom", "highdicom"):
                    logger = logging.getLogger(name)
                    self._silence.callback(logger.setLevel, logger.level)
                    logger.setLevel(logging.CRITICAL)
                self._silence.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
            self._users += 1

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._silence.close()


_QUIET = _Quiet()


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep remarks of pydicom and highdicom on sloppy files off the screen: they may quote them."""
    _QUIET.enter()
    try:
        yield
    finally:
        _QUIET.leave()


def _files(folder: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(here, name)
            if not name.startswith(".") and file.is_file():
                yield file


def _walk(folder: Path) -> list[Member]:
    if not os.access(folder, os.R_OK | os.X_OK):
        raise PermissionError
    return [file_member(file) for file in _files(folder)]


def file_member(path: Path) -> Member:
    """A file on disk as a member."""
    return Member(path.name, path.stat().st_size, partial(_open_file, path))


def _open_file(path: Path) -> BinaryIO:
    return path.open("rb")


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def is_dicomdir(path: Path) -> bool:
    """Whether the file meta says Media Storage Directory; it stands within the first 512 bytes."""
    with path.open("rb") as file:
        head = file.read(512)
    return head[128:132] == b"DICM" and _DICOMDIR_CLASS in head


def _zip_file(path: Path) -> zipfile.ZipFile:
    with path.open("rb") as file:
        if zip_directory_bytes(file) > MAX_ZIP_DIRECTORY:
            raise InputError(f"{path.name}: refused, the zip lists more files than a CT study has")
    try:
        return zipfile.ZipFile(path)
    except (ValueError, OverflowError, struct.error):  # names that are no text, places beyond it
        raise zipfile.BadZipFile from None


def _open_zip(path: Path) -> zipfile.ZipFile:
    archive = _zip_file(path)
    try:
        _check_zip(archive, path.name)
    except InputError:
        archive.close()
        raise
    return archive


def _check_zip(archive: zipfile.ZipFile, name: str) -> None:
    infos = archive.infolist()
    for info in infos:
        if leads_out(info.filename):
            raise InputError(
                f"{name}: refused, the zip holds a name that leads out of it; zip the scan anew"
            )
        if stat.S_ISLNK(info.external_attr >> 16):
            raise InputError(f"{name}: refused, the zip holds a symbolic link; zip the scan anew")
        if info.flag_bits & 1:
            raise InputError(f"{name}: the zip is encrypted; unpack it with its password first")
    total = sum(info.file_size for info in infos)
    packed = max(1, sum(info.compress_size for info in infos))
    if total > MAX_ZIP_BYTES or expands_too_far(packed, total):
        raise InputError(
            f"{name}: refused, the zip unpacks to {total / 2**20:.0f} MiB, {total / packed:.0f} "
            f"times its size; a CT does not (limits: {MAX_ZIP_BYTES >> 30} GiB, "
            f"{MAX_RATIO} times)"
        )


def _zip_members(archive: zipfile.ZipFile, name: str) -> list[Member]:
    infos = sorted(archive.infolist(), key=lambda info: info.filename)
    members = [
        _zip_member(archive, info)
        for info in infos
        if not info.is_dir() and not PurePosixPath(info.filename).name.startswith(".")
    ]
    if not members:
        raise InputError(f"{name}: the zip holds no files")
    return members


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    name = PurePosixPath(info.filename.replace("\\", "/")).name
    return Member(name, info.file_size, partial(_open_zipped, archive, info), zipped=True)


def _open_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    return cast(BinaryIO, archive.open(info))
