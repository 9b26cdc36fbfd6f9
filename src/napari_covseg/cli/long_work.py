"""Work of hours on a command line: progress on a terminal or in a log, and a stop that saves."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from napari_covseg.cli.output import complain, progress_bars
from napari_covseg.domain.errors import Cancelled
from napari_covseg.domain.progress import Progress, Steps, run_to_end

LINE_EVERY_S = 30.0
T = TypeVar("T")


def run_stoppable(steps: Steps[T], cancelled: str) -> T:
    """Run to the end, with progress; Ctrl-C and a polite kill stop between steps.

    Raises
    ------
    Cancelled
        If stopped, with the words ``cancelled``; what ``steps`` saves when closed is saved.
    """
    with stopping() as stopped, shown() as show:

        def report(step: Progress) -> None:
            if stopped():
                raise Cancelled(cancelled)
            show(step)

        try:
            return run_to_end(steps, report)
        finally:
            steps.close()


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or a polite kill came; a second one stops at once."""
    came: list[int] = []

    def note(number: int, _: object) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    before = {one: signal.signal(one, note) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@contextmanager
def shown() -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal; elsewhere (a cluster's log) a line now and then."""
    if not sys.stderr.isatty():
        last = -math.inf

        def line(step: Progress) -> None:
            nonlocal last
            if time.monotonic() - last >= LINE_EVERY_S or getattr(step, "validation", None):
                last = time.monotonic()
                complain(f"{step.done}/{step.total} {step.message}")

        yield line
        return
    with progress_bars() as bars:
        yield bars("training")
