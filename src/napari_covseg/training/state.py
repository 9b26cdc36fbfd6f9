"""The state of a training on disk: exact enough to go on to the last bit, and never half written.

The file is one line of text (its kind and the SHA-256 of the rest), then what `torch.save` writes.
It is read with ``weights_only``, so it can hold tensors and plain values, and no code.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from napari_covseg.domain.errors import InputError, ResourceError, UsageError
from napari_covseg.io.atomic import atomic_file

_KIND = b"covseg-training-state-1"


def write_state(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content``; an older file stays as it is unless the new one is whole.

    Raises
    ------
    ResourceError
        If the disk is full or the folder cannot be written to.
    """
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    body = buffer.getbuffer()
    head = _KIND + b" " + hashlib.sha256(body).hexdigest().encode() + b"\n"
    make_folder(path.parent)
    with atomic_file(path) as file:
        file.write(head)
        file.write(body)


def remove_unfinished(path: Path) -> None:
    """Remove what a kill in the midst of `write_state` left beside ``path``."""
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        with suppress(OSError):
            left.unlink()


def make_folder(folder: Path) -> None:
    """Make ``folder`` and those above it.

    Raises
    ------
    ResourceError
        If that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(
            f"{folder.name}: the folder cannot be made ({error.strerror}); choose another"
        ) from error


def read_state(path: Path) -> dict[str, Any]:
    """What `write_state` wrote, tensors on the CPU.

    Raises
    ------
    InputError
        If the file is damaged, or no training state of this version.
    """
    try:
        head, _, body = path.read_bytes().partition(b"\n")
    except OSError as error:
        raise InputError(f"{path.name}: cannot be read ({error.strerror})") from error
    kind, _, digest = head.partition(b" ")
    again = "start the training again in a new folder"
    if kind != _KIND:
        raise InputError(f"{path.name}: no training state of this version of covseg; {again}")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise InputError(
            f"{path.name}: the training state is damaged (its hash differs); restore it from a "
            f"copy, or {again}"
        )
    try:
        content = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception:  # many kinds, an object that would run code among them
        content = None
    if not isinstance(content, dict):
        raise InputError(f"{path.name}: holds no training state; {again}")
    return content


def check_same(
    saved: Mapping[str, Any], wanted: Mapping[str, Any], changeable: tuple[str, ...] = ()
) -> None:
    """Hold what a state was written for against what is asked for now.

    Raises
    ------
    UsageError
        Naming every field that differs.
    """
    different = _differences(saved, wanted, changeable)
    if different:
        raise UsageError(
            "the training in this folder was begun with other settings: "
            + "; ".join(different)
            + ". Resume it with those, or choose another folder"
        )


def _differences(
    saved: Mapping[str, Any], wanted: Mapping[str, Any], changeable: tuple[str, ...]
) -> list[str]:
    found = []
    for name in sorted({*saved, *wanted} - set(changeable)):
        before, now = saved.get(name), wanted.get(name)
        if before == now:
            continue
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            found += [f"{name}.{one}" for one in _differences(before, now, changeable)]
        else:
            found.append(f"{name} was {_short(before)}, is {_short(now)}")
    return found


def _short(value: Any) -> str:
    if isinstance(value, list | tuple) and len(value) > 6:
        return f"a list of {len(value)}"
    return str(value)[:60]
