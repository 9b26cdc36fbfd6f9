"""How long work tells its progress: generators that yield `Progress` and return a result."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Progress:
    """``done`` of ``total`` steps; ``message`` says what is being done now."""

    done: int
    total: int
    message: str


Steps = Generator[Progress, None, T]
"""A workflow: yields `Progress`, returns ``T``. Closing the generator cancels the work."""


def run_to_end(steps: Steps[T], report: Callable[[Progress], None] | None = None) -> T:
    """Run a workflow to its end and return its result, handing each step to ``report``."""
    while True:
        try:
            step = next(steps)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        if report is not None:
            report(step)
