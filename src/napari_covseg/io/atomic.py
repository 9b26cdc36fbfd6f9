"""Files appear whole or not at all: written beside their place, synced, then renamed."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from napari_covseg.domain.errors import InputError, ResourceError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NAME_BYTES = 100
_OLD_SECONDS = 24 * 3600.0
_LEFT = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
_SWEPT: set[Path] = set()


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes the place of ``path`` only if the block ends without an error.

    Raises
    ------
    ResourceError
        If the disk is full, or the folder may not or cannot be written to.
    InputError
        If the folder does not exist.
    """
    temporary = temporary_beside(path)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise _ours(error, path) from None
        raise


def temporary_beside(path: Path) -> Path:
    """A new hidden name beside ``path`` to write to.

    A name has 255 bytes at most on most systems, so the start of a long one must do. What killed
    programs left in the folder a day ago or earlier goes, once for each folder and process.
    """
    start = path.name.encode(errors="replace")[:_NAME_BYTES].decode(errors="ignore")
    if path.parent not in _SWEPT:
        _SWEPT.add(path.parent)
        with suppress(OSError):
            _sweep(path.parent)
    return path.with_name(f".{start}.{secrets.token_hex(4)}.tmp")


def _sweep(folder: Path) -> None:
    with os.scandir(folder) as entries:
        left = [Path(entry.path) for entry in entries if _LEFT.fullmatch(entry.name)]
    for file in left:
        with suppress(OSError):
            if file.is_file() and time.time() - file.stat().st_mtime > _OLD_SECONDS:
                file.unlink()


def write_json(path: Path, content: Mapping[str, Any]) -> Path:
    """Write JSON as `atomic_file` does; not-a-number is refused, since JSON has none.

    Raises
    ------
    ResourceError, InputError
        As `atomic_file`.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_file(path) as file:
        # A path that is not UTF-8 must not cost the results it stands in.
        file.write(text.encode(errors="replace"))
    return path


def _ours(error: OSError, path: Path) -> InputError | ResourceError:
    if error.errno in _FULL:
        return ResourceError(f"{path.name}: the disk is full; nothing was written")
    # Some file systems (/proc, say) answer "no such file" where nothing can be made.
    if isinstance(error, FileNotFoundError | NotADirectoryError) and not path.parent.is_dir():
        return InputError(f"{path.name}: cannot be written, its folder does not exist")
    reason = error.strerror or str(error)
    return ResourceError(f"{path.name}: cannot be written ({reason}); choose another folder")
