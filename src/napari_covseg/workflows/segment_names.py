"""Which name the results of each of many CTs get: by the order of the inputs, not by their speed.

A file's own name is known at once, the pseudonym of a DICOM series when it is read; and two inputs
may have the same, two copies of a series for instance. So each input tells what it would be called,
in whatever order, and gets its name when all inputs before it have told theirs.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Wish:
    """What an input would be called: as it was by an earlier run (``kept``), else ``own``."""

    own: str
    kept: str | None = None


class Naming(Protocol):
    """How one input comes to its name."""

    def wish(self, wish: Wish) -> None:
        """Say what it would be called; only the first time counts."""

    def name(self) -> str | None:
        """The name that its results get; None while inputs before it have not told theirs."""


class NamesInOrder:
    """Names of inputs numbered from 0; threads may share it. Case does not tell names apart."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: dict[int, Wish | None] = {}
        self._names: list[str | None] = []
        self._taken: set[str] = set()

    @property
    def settled(self) -> int:
        """How many inputs from the first on have told theirs."""
        return len(self._names)

    def wish(self, number: int, wish: Wish | None) -> None:
        """Note what an input would be called, None if it needs no name; the first time counts."""
        with self._lock:
            if number >= len(self._names):
                self._told.setdefault(number, wish)
            while len(self._names) in self._told:
                told = self._told.pop(len(self._names))
                self._names.append(None if told is None else self._free(told))

    def name(self, number: int) -> str | None:
        """The name of an input; None if it is not settled, or needs none."""
        with self._lock:
            return self._names[number] if number < len(self._names) else None

    def of(self, number: int) -> Naming:
        """The names, as one input sees them."""
        return _Numbered(self, number)

    def _free(self, wish: Wish) -> str:
        free, number = wish.kept or wish.own, 1
        while free.casefold() in self._taken:
            free = wish.own if number == 1 else f"{wish.own}_{number}"
            number += 1
        self._taken.add(free.casefold())
        return free


@dataclass(frozen=True)
class _Numbered:
    names: NamesInOrder
    number: int

    def wish(self, wish: Wish) -> None:
        self.names.wish(self.number, wish)

    def name(self) -> str | None:
        return self.names.name(self.number)
