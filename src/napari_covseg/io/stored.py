"""Stored voxels off a file into an array: bounded, and with their checksum compared."""

from __future__ import annotations

import zlib
from math import prod
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import InputError
from napari_covseg.io.bounds import check_fits

_CHUNK = 2**20
_MOST_AFTER = 2**28
"""What may follow the voxels in a packed file is read no further than this."""


class Source(Protocol):
    """Anything that fills a buffer: an open file, or an `Inflater` on one."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill (part of) the buffer; 0 at the end."""
        ...


class Inflater:
    """Reads gzip (also several members) or zlib data from an open file.

    `readinto` raises EOFError where the data ends early and ``zlib.error`` where it is damaged.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._engine = zlib.decompressobj(wbits=47)
        self._waiting = b""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill (part of) the buffer; 0 at the end."""
        while True:
            if self._engine.eof and not self._next_member():
                return 0
            data = self._waiting or self._file.read(_CHUNK)
            out = self._engine.decompress(data, min(len(buffer), _CHUNK))
            self._waiting = self._engine.unconsumed_tail
            if out:
                buffer[: len(out)] = out
                return len(out)
            if not data and not self._engine.eof:
                raise EOFError

    def read(self, count: int) -> bytes:
        """Up to ``count`` bytes, fewer only at the end."""
        buffer = bytearray(count)
        done = fill(self, memoryview(buffer))
        return bytes(buffer[:done])

    def check_end(self) -> None:
        """Read on to the end, where the checksum is compared."""
        rest = memoryview(bytearray(_CHUNK))
        for _ in range(_MOST_AFTER // _CHUNK):
            if not self.readinto(rest):
                return

    def _next_member(self) -> bool:
        start = self._engine.unused_data or self._file.read(_CHUNK)
        if start[:2] != b"\x1f\x8b":
            return False
        self._engine, self._waiting = zlib.decompressobj(wbits=31), start
        return True


def fill(source: Source, view: memoryview) -> int:
    """Read until the view is full or the source ends; how many bytes were read."""
    done = 0
    while done < len(view):
        count = source.readinto(view[done:])
        if not count:
            break
        done += count
    return done


def read_voxels(source: Source, name: str, shape: tuple[int, ...], dtype: np.dtype) -> NDArray:
    """A ``(z, y, x)`` array in native byte order; the source stands where the voxels begin.

    A further axis, the fastest in the file, comes last.

    Raises
    ------
    InputError
        If the source ends before all are read.
    EOFError, zlib.error
        If a packed source ends early or is damaged (`readable` makes an InputError of these).
    """
    check_fits(name, prod(shape) * dtype.itemsize)
    buffer = np.empty(prod(shape) * dtype.itemsize, dtype=np.uint8)
    done = fill(source, buffer.data)
    if isinstance(source, Inflater) and done == buffer.size:
        source.check_end()
    if done < buffer.size:
        raise InputError(f"{name}: truncated: {done} of {buffer.size} bytes of voxels are there")
    values = buffer.view(dtype).reshape(shape)
    return values if dtype.isnative else values.astype(dtype.newbyteorder("="))
