"""Many CTs through ``covseg segment``: CTs an hour, processor seconds, memory, cost of a thousand.

python -m benchmarks.throughput [--count N] [--slices Z] [--size XY] [--jobs 1 2]
                                [--price EUR_PER_CORE_HOUR] [--device auto] [--beside-other-work]

Every row is the whole command in a process of its own, over the same synthetic CTs. A second run
over the finished folder shows what starting the program and finding everything done takes; it is
taken off, so that a row extrapolates to any number of CTs:

    processor seconds per CT = (processor seconds of the run - those of the second run) / CTs
    cost of 1,000 CTs = 1000 * processor seconds per CT / 3600 * price of a core hour

The cost is that of cores which are kept busy; a machine that waits (for a share, say) is paid for
by the clock: 1000 / CTs an hour * cores * price. Beside other work the clock says nothing: CTs an
hour are then left out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.common import machine


@dataclass(frozen=True)
class Used:
    """Of one or several processes beside one another; ``peak_gb`` is the sum of their peaks."""

    wall_s: float
    cpu_s: float
    peak_gb: float


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput")
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--price", type=float, default=0.05, help="of a core hour, in EUR")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--model", default="covseg-default")
    parser.add_argument("--beside-other-work", action="store_true")
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        scans = make_scans(Path(folder) / "in", args.count, args.slices, args.size)
        common = ["--device", args.device, "--model", args.model]
        rows = []
        for jobs in args.jobs:
            out = Path(folder) / f"threads{jobs}"
            rows.append(measured(f"--jobs {jobs}", [scans], out, [*common, "--jobs", str(jobs)]))
            if jobs > 1:
                parts = [scans[n::jobs] for n in range(jobs)]
                out = Path(folder) / f"processes{jobs}"
                rows.append(measured(f"{jobs} processes", parts, out, common))
    print(table(rows, args))
    return 0


def make_scans(folder: Path, count: int, slices: int, size: int) -> list[Path]:
    """The phantom with noise of its own in each copy, as NIfTI."""
    from napari_covseg.io import make_phantom, write_volume

    folder.mkdir()
    volume = make_phantom((slices, size, size), (300 / slices, 360 / size, 360 / size)).volume
    paths = []
    for number in range(count):
        noise = np.random.default_rng(number).integers(-9, 10, volume.hu.shape[1:], np.int16)
        one = replace(volume, hu=volume.hu + noise)
        paths.append(write_volume(one, folder / f"ct{number:04d}.nii.gz"))
    return paths


def measured(
    title: str, parts: list[list[Path]], output: Path, options: list[str]
) -> tuple[str, int, Used, Used]:
    """A first run, and a second that finds all done."""
    first, second = (run(parts, output, options) for _ in range(2))
    return title, sum(map(len, parts)), first, second


def run(parts: list[list[Path]], output: Path, options: list[str]) -> Used:
    """One command for each part, beside one another.

    Raises
    ------
    RuntimeError
        If one fails.
    """
    threads = str(max(1, (os.cpu_count() or 1) // len(parts)))
    begun = time.perf_counter()
    children = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "napari_covseg.cli.main", "segment", *map(str, part)),
                *("--output", str(output), *options),
            ],
            stdout=subprocess.DEVNULL,
            # Alone, a process takes the cores there are, or those that it was given.
            env={**os.environ, **({"OMP_NUM_THREADS": threads} if len(parts) > 1 else {})},
        )
        for part in parts
    ]
    cpu = peak = 0.0
    for child in children:
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise RuntimeError(f"covseg segment failed with {child.returncode}")
        cpu += usage.ru_utime + usage.ru_stime
        peak += usage.ru_maxrss * (1e-9 if sys.platform == "darwin" else 1024e-9)
    return Used(time.perf_counter() - begun, cpu, peak)


def table(rows: list[tuple[str, int, Used, Used]], args: argparse.Namespace) -> str:
    """Markdown."""
    lines = [
        f"{args.count} CTs of {args.size}x{args.size}x{args.slices}; {machine()}"
        + ("; beside other work" if args.beside_other_work else ""),
        "",
        "| run | CPU s per CT | CTs an hour | peak GB | CPU s to find all done "
        f"| 1,000 CTs at {args.price:g} EUR a core hour |",
        "|---|---|---|---|---|---|",
    ]
    for title, count, first, second in rows:
        cpu = (first.cpu_s - second.cpu_s) / count
        hourly = 3600 * count / max(first.wall_s - second.wall_s, 1e-9)
        clock = "not measured" if args.beside_other_work else f"{hourly:.0f}"
        cost = 1000 * cpu / 3600 * args.price
        lines.append(
            f"| {title} | {cpu:.1f} | {clock} | {first.peak_gb:.2f} | {second.cpu_s:.1f} "
            f"| {cost:.2f} EUR |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
