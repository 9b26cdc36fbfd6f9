"""A disk of two megabytes that fills up, or may only be read: where tests may mount one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SIZE = 2 * 2**20


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A real file system of that size, at that place; skips where nobody may mount one."""
    folder.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a small disk can be mounted by root on Linux only")
    if not mount("mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)):
        pytest.skip("this system lets nobody mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def mount(*command: str) -> bool:
    """Whether the command did it."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def fill(disk: Path, leave: int) -> Path:
    """Take all space but so many bytes; gives the file that takes it."""
    filler = disk / "filler"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    filler.write_bytes(bytes(max(0, free - leave)))
    return filler


def files_of(folder: Path) -> dict[str, bytes]:
    """All files there by their paths, but what `fill` made."""
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and p.name != "filler"
    }
