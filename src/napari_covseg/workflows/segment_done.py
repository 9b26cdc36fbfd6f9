"""What is done already, so that the same command goes on where it stopped.

Beside the results stands a hidden folder with a small record for each input, written when the
results are whole. It says what the result was made of (a hash of the CT's voxels) and with what
(model, settings, version of the program), and holds a hash of each file written. An input is done
if all of this is still so. The CT itself is told in two steps: sizes and times of its files, which
costs next to nothing, and, where these have changed, the voxels' hash, which costs reading the CT
but spares the network.

Records hold hashes and the names of result files, nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.domain.errors import CovsegError
from napari_covseg.io.atomic import write_json

if TYPE_CHECKING:
    from napari_covseg.models.checkpoint import Model

FOLDER = ".covseg"
_FORMAT = 2
_REFER = (".mhd", ".nhdr", "dicomdir")
"""Files whose voxels lie in others: their own size and time tell nothing."""
_BLOCK = 2**20


@dataclass(frozen=True)
class Record:
    """What is known of a finished input.

    ``case`` is the name of its results, ``own`` what it would be called if no other were;
    ``made_with`` is that of `made_with`; ``signature`` that of `signature`, None where there is
    none; ``voxels`` the hash of the CT (`input_hash`); ``files`` the SHA-256 of each result file by
    its name.
    """

    case: str
    own: str
    made_with: str
    signature: str | None
    voxels: str
    files: Mapping[str, str]

    def holds(self, output: Path) -> bool:
        """Whether the result files are all there, to the byte."""
        try:
            return all(file_hash(output / name) == told for name, told in self.files.items())
        except OSError:
            return False


def model_key(model: Model) -> str:
    """SHA-256 of a model's card, which holds the hash of its weights and how it is run."""
    text = json.dumps(dict(model.card), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def made_with(**choices: Any) -> str:
    """A hash of what a result depends on besides the CT; plain values."""
    return hashlib.sha256(json.dumps(choices, sort_keys=True).encode()).hexdigest()


def input_key(path: Path, output: Path, series: str | None) -> str:
    """Which input this is, as seen from the results: a folder that holds both may be moved."""
    try:
        place = os.path.relpath(path.resolve(), output.resolve())
    except ValueError:  # another drive, on Windows
        place = str(path.resolve())
    text = f"{Path(place).as_posix()}\n{series or ''}"
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]


def signature(path: Path) -> str | None:
    """A hash of names, sizes and times of an input's files, without opening one.

    The time of the last change of a file's entry counts too, so that a file whose own time was set
    back is still seen to have changed. None for a file that refers to others.
    """
    if path.name.lower().endswith(_REFER):
        return None
    digest = hashlib.sha256()
    try:
        for name, stat in _stats(path, ""):
            told = f"{name}\0{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}\n"
            digest.update(told.encode(errors="surrogateescape"))
    except OSError:
        return None
    return digest.hexdigest()


def _stats(path: Path, name: str) -> Iterator[tuple[str, os.stat_result]]:
    if not path.is_dir():
        yield name, path.stat()
        return
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            if entry.name.startswith("."):
                continue
            inner = f"{name}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _stats(Path(entry.path), inner)
            elif entry.is_file():
                yield inner, entry.stat()


def read_record(output: Path, key: str) -> Record | None:
    """The record of an input; None without one, or one that is damaged or of another format."""
    try:
        content = json.loads(_path(output, key).read_text(encoding="utf-8"))
        if content.pop("format") != _FORMAT:
            return None
        record = Record(**content)
        names = [str(name) for name in record.files]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    inside = all(Path(name).name == name for name in names)
    return record if names and inside else None


def write_record(output: Path, key: str, record: Record) -> None:
    """Keep the record, whole or not at all.

    Raises
    ------
    ResourceError, InputError
        If it cannot be written.
    """
    _path(output, key).parent.mkdir(exist_ok=True)
    write_json(_path(output, key), {"format": _FORMAT, **asdict(record)})


def forget(output: Path, key: str) -> None:
    """Drop the record of an input that is about to be done anew."""
    with suppress(OSError, CovsegError):
        _path(output, key).unlink()


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _path(output: Path, key: str) -> Path:
    return output / FOLDER / f"{key}.json"
