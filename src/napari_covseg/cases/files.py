"""Files of the store: label versions named by their SHA-256, and notes of saves under way.

A save writes the label file, then a note with all that the index will say, then the row; then the
note goes. Killed anywhere between, the store finds the note when it is next opened and completes
the save. A label file never changes once it has its name.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from napari_covseg.domain.errors import InputError, ResourceError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io.atomic import write_json
from napari_covseg.io.labels import read_labels
from napari_covseg.io.sniff import readable
from napari_covseg.io.write import write_labels

ENDING = ".nii.gz"
_NOTE = "pending-"
_COMING = ".coming-"
_OLD_SECONDS = 24 * 3600.0
_OURS = {int(label): label for label in Label}


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    digest = hashlib.sha256()
    with readable(file), file.open("rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def coming(folder: Path) -> Iterator[Path]:
    """A name in ``folder`` to write a NIfTI file to; what is still there afterwards is removed.

    Errors of the writer tell the folder instead of that name.
    """
    path = folder / f"{_COMING}{secrets.token_hex(8)}{ENDING}"
    try:
        yield path
    except (ResourceError, InputError) as error:
        if path.name not in str(error):
            raise
        told = str(error).replace(path.name, f"{folder.parent.name}/{folder.name}")
        raise type(error)(told) from None
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def settle(path: Path, target: Path) -> None:
    """Give a written file its final name, so that it also survives a power cut.

    Raises
    ------
    ResourceError
        If the folder cannot be written to.
    """
    try:
        os.replace(path, target)
        sync_folder(target.parent)
    except OSError as error:
        raise ResourceError(f"{target.name}: cannot be written ({error.strerror})") from None


class LabelFiles:
    """The folder ``versions/``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, sha256: str) -> Path:
        """Where the label map with this hash lies."""
        return self._folder / f"{sha256}{ENDING}"

    def write(self, labels: LabelMap) -> str:
        """Keep a label map; returns the hash that is its name.

        Raises
        ------
        ResourceError, InputError
            If the disk is full or the folder cannot be written to; nothing is left behind.
        """
        with coming(self._folder) as path:
            write_labels(labels, path)
            sha256 = sha256_of(path)
            target = self.path(sha256)
            if not (target.is_file() and sha256_of(target) == sha256):
                # Windows, and some shares, refuse to replace a file that is read-only.
                with suppress(OSError):
                    target.chmod(0o644)
                    target.unlink()
                settle(path, target)
                with suppress(OSError):
                    target.chmod(0o444)
        return sha256

    def read(self, sha256: str, told: str) -> LabelMap:
        """The label map with this hash; ``told`` names the version in errors.

        Raises
        ------
        InputError
            If the file is gone or has been changed.
        """
        path = self.path(sha256)
        if not path.is_file():
            raise InputError(
                f"{told}: its label file {path.name[:12]}... is missing from versions/; bring it "
                "back from a copy of the store"
            )
        if sha256_of(path) != sha256:
            raise InputError(
                f"{told}: its label file {path.name[:12]}... was changed after it was saved, so it "
                "is not used; bring it back from a copy of the store"
            )
        return read_labels(path, label_map=_OURS)

    def note(self, identity: str, content: Mapping[str, Any]) -> None:
        """Write down a save before its row is."""
        write_json(self._note(identity), content)

    def forget(self, identity: str) -> None:
        """The row is there: the note may go."""
        with suppress(OSError):
            self._note(identity).unlink(missing_ok=True)

    def notes(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Saves that were under way, by identity."""
        for file in sorted(self._folder.glob(f"{_NOTE}*.json")):
            try:
                content = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError):
                continue
            if isinstance(content, dict):
                yield file.stem.removeprefix(_NOTE), content

    def present(self) -> set[str]:
        """The hashes that have a file."""
        return {
            file.name.removesuffix(ENDING)
            for file in self._folder.glob(f"*{ENDING}")
            if not file.name.startswith(".")
        }

    def _note(self, identity: str) -> Path:
        return self._folder / f"{_NOTE}{identity}.json"


def sweep(folder: Path) -> None:
    """Remove what writers that were killed a day or more ago left half-written."""
    for file in folder.glob(".*"):
        half = file.name.startswith(_COMING) or file.name.endswith(".tmp")
        with suppress(OSError):
            if half and time.time() - file.stat().st_mtime > _OLD_SECONDS:
                shutil.rmtree(file) if file.is_dir() else file.unlink()


def sync_folder(folder: Path) -> None:
    """A new name is on the disk only when its folder is; Windows does this by itself."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems cannot sync a folder.
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
