"""Batches made in the background, in an order that does not depend on which thread is faster."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

DEPTH = 3
"""Batches that each thread keeps ready."""


class BatchSource(Protocol):
    """Endless batches, the same for the same state, which is that of a random generator."""

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Images ``(n, 1, *spatial)`` float32 and codes ``(n, *spatial)`` uint8."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Plain values; with them a source goes on exactly."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        ...


class Prefetcher:
    """Takes batches from each source in turn; every source runs in a thread of its own.

    `state_dict` belongs to the last batch that was handed out, not to what the threads have made
    since. With ``threads`` false nothing runs in the background.
    """

    def __init__(
        self, sources: Sequence[BatchSource], threads: bool = True, pin_memory: bool = False
    ) -> None:
        self._sources, self._threads, self._pin = tuple(sources), threads, pin_memory
        self._states = [source.state_dict() for source in self._sources]
        self._turn = 0
        self._lanes: list[_Lane] = []
        self.waited_s = 0.0

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """The next batch; raises what the source raised."""
        if self._threads and not self._lanes:
            self._lanes = [_Lane(source, self._pin) for source in self._sources]
        begun = time.perf_counter()
        if self._threads:
            batch, state = self._lanes[self._turn].take()
        else:
            source = self._sources[self._turn]
            batch, state = source.next_batch(), source.state_dict()
        self.waited_s += time.perf_counter() - begun
        self._states[self._turn] = state
        self._turn = (self._turn + 1) % len(self._sources)
        return batch

    def state_dict(self) -> dict[str, Any]:
        """The sources' states after the batches handed out so far."""
        return {"turn": self._turn, "sources": list(self._states)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`; before the first batch only."""
        self._turn, self._states = int(state["turn"]), list(state["sources"])
        for source, one in zip(self._sources, self._states, strict=True):
            source.load_state_dict(one)

    def close(self) -> None:
        """Stop the threads."""
        for lane in self._lanes:
            lane.stop()
        self._lanes = []


class _Lane:
    """One source in its thread."""

    def __init__(self, source: BatchSource, pin_memory: bool) -> None:
        self._source, self._pin = source, pin_memory
        self._ready: queue.Queue[Any] = queue.Queue(DEPTH)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="covseg-batches", daemon=True)
        self._thread.start()

    def take(self) -> tuple[tuple[Tensor, Tensor], dict[str, Any]]:
        made = self._ready.get()
        if isinstance(made, BaseException):
            raise made
        return made  # type: ignore[no-any-return]

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(timeout=60)

    def _run(self) -> None:
        while not self._stopped.is_set():
            made: Any
            try:
                images, codes = self._source.next_batch()
                if self._pin and images.device.type == "cpu":
                    images, codes = images.pin_memory(), codes.pin_memory()
                made = (images, codes), self._source.state_dict()
            except BaseException as error:
                made = error
            if not self._put(made) or isinstance(made, BaseException):
                return

    def _put(self, made: Any) -> bool:
        while not self._stopped.is_set():
            try:
                self._ready.put(made, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False
