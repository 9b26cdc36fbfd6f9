"""What the command line shows: progress on standard error, tables and JSON on standard output."""

from __future__ import annotations

import errno
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from napari_covseg.domain.errors import Cancelled, CovsegError, ResourceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.progress import Progress as Bars

    from napari_covseg.domain.progress import Progress
    from napari_covseg.quantify.volumes import Measurements


def print_json(content: Any) -> None:
    """JSON on standard output."""
    json.dump(content, sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")
    sys.stdout.flush()


def complain(line: str) -> None:
    """One line on standard error."""
    print(line, file=sys.stderr, flush=True)


def exit_code(error: BaseException) -> int:
    """The exit code of an error (``docs/reference/cli.md``)."""
    if isinstance(error, CovsegError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return Cancelled.exit_code
    if isinstance(error, MemoryError):
        return ResourceError.exit_code
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM):
        return ResourceError.exit_code
    return 1


def one_line(error: BaseException) -> str:
    """What the user reads about an error."""
    if isinstance(error, CovsegError):
        return " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return "not enough memory: close other programs or use a larger machine"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} (see the folder and the space left on it)"
    # Its text may quote what was read, patient data included.
    return (
        f"unexpected {type(error).__name__}; this is a fault of covseg, please report it "
        "(COVSEG_DEBUG=1 shows where)"
    )


def format_ml(ml: float) -> str:
    """Millilitres: one decimal below 10, none above."""
    return f"{ml:.1f}" if ml < 9.95 else f"{ml:.0f}"


def format_percent(percent: float | None) -> str:
    """Percent with one decimal; a dash where there is no lung to be a share of."""
    return "–" if percent is None else f"{percent:.1f}"


def aligned(rows: list[list[str]]) -> str:
    """Rows of text in columns, left-aligned."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def volumes_table(measurements: Measurements) -> str:
    """Volumes and percentages, a row for each side, columns right-aligned."""
    head = ["", "Lung ml", "GGO ml", "%", "Consolidation ml", "%", "All lesions ml", "%"]
    rows = [
        [
            title,
            format_ml(side.lung_ml),
            format_ml(side.ggo_ml),
            format_percent(side.ggo_percent),
            format_ml(side.consolidation_ml),
            format_percent(side.consolidation_percent),
            format_ml(side.lesions_ml),
            format_percent(side.lesions_percent),
        ]
        for title, side in measurements.rows
    ]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [head, *rows]
    ]
    return "\n".join(lines)


class ProgressBars:
    """Bars on standard error, for several inputs at once."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._lock = threading.Lock()

    def __call__(self, name: str) -> Callable[[Progress], None]:
        """A new bar's ``report(step)``."""
        task = self._bars.add_task("", name=name, total=None)
        last: Progress | None = None

        def report(step: Progress) -> None:
            nonlocal last
            # A new stage gets its own time; a message that only changes its figures does not.
            if last is None or step.total != last.total or step.done < last.done:
                self._bars.reset(task, total=step.total, name=name)
            last = step
            self._bars.update(task, description=step.message)
            self._bars.update(task, completed=step.done, total=step.total)
            if step.message == "done":
                self._bars.remove_task(task)

        return report

    def aside(self, write: Callable[[], None]) -> None:
        """Call ``write``, which prints, with no bar in the way."""
        with self._lock:
            if self._bars.disable:
                write()
                return
            self._bars.stop()
            write()
            self._bars.start()


@contextmanager
def progress_bars() -> Iterator[ProgressBars]:
    """`ProgressBars` on standard error; nothing is drawn where that is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    bars = Bars(
        TextColumn("{task.fields[name]}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.description}", markup=False),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
        redirect_stdout=False,
    )
    # Older releases of rich end even a disabled bar with an empty line.
    with nullcontext() if bars.disable else bars:
        yield ProgressBars(bars)
