"""Measure everything and write the table.

python -m benchmarks [--output FILE.md] [--inputs DIR] [--device auto|cpu|cuda]
                     [--model NAME|DIR] [--slices N] [--peer-slices N] [--peer-python PATH]
"""

from __future__ import annotations

import argparse
import datetime
import sys
from pathlib import Path

from benchmarks import paint_speed, view_speed
from benchmarks.common import Row, machine
from benchmarks.inputs import make_inputs
from benchmarks.peers.rows import PEER_PYTHON, peer_rows
from benchmarks.read_speed import read_rows
from benchmarks.segment_speed import segment_rows
from benchmarks.start_speed import start_rows

HEAD = """# Speed and memory

Measured by `make bench`: each line in a process of its own, ours and the peer one after the other
on the same machine and the same input, the synthetic chest CT at 512x512. Nothing else should run
meanwhile.
"""


def main() -> int:
    """Run; exits with 1 if a target was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks.md"))
    parser.add_argument("--inputs", type=Path, default=Path("build/bench"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--model", default="covseg-default")
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--peer-slices", type=int, default=300)
    parser.add_argument("--peer-python", type=Path, default=PEER_PYTHON)
    args = parser.parse_args()
    scan, series = make_inputs(args.inputs, args.slices)
    rows = start_rows()
    rows += read_rows(series, args.slices)
    rows += segment_rows(scan, series, args.model, args.device, args.peer_slices, args.slices)
    rows += peer_rows(scan, args.model, args.device, args.slices, args.peer_python)
    rows += paint_speed.BENCH.run()
    rows += view_speed.BENCH.run()
    text = table(rows)
    print(text)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(text + sections(args.output), encoding="utf-8")
    return 1 if any(row.met is False for row in rows) else 0


def table(rows: list[Row]) -> str:
    """The page."""
    measured = f"{datetime.date.today().isoformat()}: {machine()}"
    columns = ["| what | measured | target | met |", "|---|---|---|---|"]
    return "\n".join([HEAD, measured, "", *columns, *(row.markdown() for row in rows), ""])


def sections(page: Path) -> str:
    """What stands below the table: written by hand, so it stays."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    _, heading, after = text.partition("\n## ")
    return heading + after


if __name__ == "__main__":
    sys.exit(main())
