"""Files appear whole or not at all: written beside their place, synced, then renamed."""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from napari_covseg.domain.errors import InputError, ResourceError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


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
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.tmp")
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
