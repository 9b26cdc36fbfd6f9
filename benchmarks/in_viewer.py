"""What is measured in a napari viewer: in a process of its own, on a display."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.common import Row, run_child

SHAPE, SPACING_MM = (300, 512, 512), (1.0, 0.7, 0.7)
"""Of the CT in the viewer."""


@dataclass(frozen=True)
class InViewer:
    """A measurement that ``python -m benchmarks.<module> [--<counted> N]`` runs.

    Parameters
    ----------
    module, title
        Where it is, and what is measured.
    counted, count
        What is repeated, and how often unless told otherwise.
    measure
        Takes the count, in the process of its own; returns seconds and ratios.
    rows
        The rows of the table made of them.
    """

    module: str
    title: str
    counted: str
    count: int
    measure: Callable[[int], Mapping[str, float]]
    rows: Callable[[Mapping[str, float]], list[Row]]

    def run(self, count: int | None = None) -> list[Row]:
        """The rows of the table; one that says so without a display."""
        if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
            return [Row(self.title, "no display (run under xvfb-run)")]
        times = str(self.count if count is None else count)
        name = f"benchmarks.{self.module}"
        return self.rows(run_child("-m", name, f"--{self.counted}", times, "--child").said)

    def main(self) -> int:
        """Run; exits with 1 if a target was missed."""
        parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{self.module}")
        parser.add_argument(f"--{self.counted}", dest="count", type=int, default=self.count)
        parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
        args = parser.parse_args()
        if args.child:
            found = self.measure(args.count)
            print(json.dumps({name: round(value, 5) for name, value in found.items()}))
            sys.stdout.flush()
            os._exit(0)  # Qt without an event loop has nothing to say goodbye to
        rows = self.run(args.count)
        print("\n".join(row.markdown() for row in rows))
        return 1 if any(row.met is False for row in rows) else 0
