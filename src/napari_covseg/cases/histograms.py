"""Joint histograms of pairs of label maps, counted once for each pair of hashes."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import CovsegError
from napari_covseg.domain.labels import Label
from napari_covseg.io.atomic import write_json

CACHE, FILE = "cache", "effort.json"
_FORMAT = 1
_SHAPE = (len(Label), len(Label))


class Histograms:
    """What was counted, in ``cache/effort.json`` of a store; a damaged file counts as none.

    Where the store may not be written to, all is counted anew each time.
    """

    def __init__(self, store: Path) -> None:
        self._file = store / CACHE / FILE
        self._known = self._read()
        self._used: set[str] = set()
        self._counted = False

    def get(self, key: str, count: Callable[[], NDArray[np.int64]]) -> NDArray[np.int64]:
        """The histogram of that key; ``count`` makes it if it is not known."""
        if key not in self._known:
            self._known[key] = count()
            self._counted = True
        self._used.add(key)
        return self._known[key]

    def keep(self, *, complete: bool) -> None:
        """Write down what is new; if all keys in use were asked for, others are dropped."""
        kept = self._used if complete else self._known.keys()
        if not self._counted and len(kept) == len(self._known):
            return
        pairs = {key: self._known[key].ravel().tolist() for key in sorted(kept)}
        with suppress(CovsegError, OSError):
            self._file.parent.mkdir(exist_ok=True)
            write_json(self._file, {"format": _FORMAT, "pairs": pairs})

    def _read(self) -> dict[str, NDArray[np.int64]]:
        try:
            content = json.loads(self._file.read_text(encoding="utf-8"))
            if content["format"] != _FORMAT:
                return {}
            return {
                key: np.array(counts, np.int64).reshape(_SHAPE)
                for key, counts in content["pairs"].items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}
