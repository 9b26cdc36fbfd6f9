"""What bounds each stage of one CT, from DICOM folder to label map, and how near we are.

python -m benchmarks.limits [--inputs DIR] [--model NAME|DIR] [--slices N] [--rounds N]

On the CPU. The limits are measured in the same run: bytes over the bandwidth of memory, operations
over the rate of a large matrix product, PyTorch's own import. The best of the rounds counts, of the
limits as of ours.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from benchmarks.common import machine, run_child
from benchmarks.inputs import make_inputs

BARE_IMPORT = "import gc; gc.disable(); import torch, os; os._exit(0)"
STAGES = (
    ("reading", "reading the DICOM folder"),
    ("loading the model", "loading the model"),
    ("segmenting", "network, with resampling there and back"),
    ("telling left from right", "telling left from right"),
    ("closing holes", "closing holes"),
    ("removing specks", "removing specks"),
    ("measuring", "measuring, checking, hashing"),
    ("writing", "writing"),
)


def run_command(series: str, output: str, model: str) -> dict[str, Any]:
    """The command's own stages: what it says that it does, and for how long."""
    begun = time.perf_counter()
    from napari_covseg.cli import segment_run
    from napari_covseg.cli.main import main
    from napari_covseg.cli.process import tune
    from napari_covseg.domain.progress import Progress, run_to_end

    tune()
    marks: list[tuple[str, float]] = []

    def noted(steps: Any, report: Callable[[Progress], None]) -> Any:
        def step(progress: Progress) -> None:
            marks.append((progress.message, time.perf_counter()))
            report(progress)

        return run_to_end(steps, step)

    words = ["segment", series, "--output", output, "--model", model, "--device", "cpu", "--json"]
    with patch.object(segment_run, "run_to_end", noted):
        code = main(words)
    marks.append(("end", time.perf_counter()))
    stages = {"start": marks[0][1] - begun}
    for (message, since), (_, until) in pairwise(marks):
        stages[message] = stages.get(message, 0.0) + until - since
    return {"code": code, "stages": stages}


def measure_limits(series: str, model: str) -> dict[str, Any]:
    """What the machine can do, and how much each stage must do at the least."""
    import numpy as np
    import torch

    from napari_covseg.domain.progress import run_to_end
    from napari_covseg.inference.predictor import predict
    from napari_covseg.io import read_volume
    from napari_covseg.models.device import choose_device
    from napari_covseg.models.zoo import load

    device, loaded = choose_device("cpu"), load(model)
    number = getattr(torch, device.precision)
    a = torch.ones(2048, 2048, dtype=number)
    product = best(lambda: torch.mm(a, a))
    source = np.ones(64 << 20, np.uint8)
    target = np.empty_like(source)
    copy = best(lambda: np.copyto(target, source))
    files = sorted(Path(series).iterdir())
    volume = read_volume(series)
    flops = _counted(lambda: run_to_end(predict(volume, loaded, device)))
    return {
        "product_flop_s": 2 * 2048**3 / product,
        "copy_bytes_s": 2 * source.size / copy,
        "precision": device.precision,
        "files_s": best(lambda: [f.read_bytes() for f in files], 3),
        "flop": flops,
        "volume_bytes": volume.hu.nbytes,
        "label_bytes": volume.hu.size,
    }


def best(work: Callable[[], object], tries: int = 8) -> float:
    """Seconds of the quickest try."""
    times = []
    for _ in range(tries):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def _counted(work: Callable[[], object]) -> int:
    """Floating point operations of a run's convolutions and products."""
    from torch.utils.flop_counter import FlopCounterMode

    from napari_covseg.models import fuse

    # The counter knows the plain convolution; the fused one does the same operations.
    with (
        FlopCounterMode(display=False) as counter,
        patch.object(fuse, "_is_there", lambda *_: False),
    ):
        work()
    return int(counter.get_total_flops())


def table(limits: dict[str, Any], stages: dict[str, float], start_s: float) -> str:
    """Stage, what bounds it, limit, ours, ratio."""
    memory = limits["copy_bytes_s"]
    voxels, labels = limits["volume_bytes"], limits["label_bytes"]
    bounds: dict[str, tuple[str, float | None]] = {
        "reading": ("files from the page cache into memory", limits["files_s"]),
        "loading the model": ("", None),
        "segmenting": (
            f"{limits['flop'] / 1e12:.2f} TFLOP at {limits['product_flop_s'] / 1e9:.0f} GFLOP/s",
            limits["flop"] / limits["product_flop_s"] + (voxels + labels) / memory,
        ),
        "telling left from right": ("classes read once", labels / memory),
        "closing holes": ("classes read, labels written", 2 * labels / memory),
        "removing specks": ("classes read, labels written", 2 * labels / memory),
        "measuring": ("labels and voxels read", (labels + voxels) / memory),
        "writing": ("labels read", labels / memory),
    }
    rows = [_row("start of Python, imports", "PyTorch's own import", start_s, stages["start"])]
    for begins, title in STAGES:
        ours = sum(s for message, s in stages.items() if message.startswith(begins))
        rows.append(_row(title, bounds[begins][0], bounds[begins][1], ours))
    head = ["| stage | bounded by | limit | ours | ratio |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows])


def _row(title: str, bound: str, limit: float | None, ours: float) -> str:
    if limit is None:
        return f"| {title} | {bound} | | {ours:.2f} s | |"
    return f"| {title} | {bound} | {limit:.2f} s | {ours:.2f} s | {ours / max(limit, 1e-3):.1f} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits")
    parser.add_argument("--inputs", type=Path, default=Path("build/bench"))
    parser.add_argument("--model", default="covseg-default")
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    _, series = make_inputs(args.inputs, args.slices)
    limits = run_child("-m", "benchmarks.limits", "limits", str(series), args.model).said
    start_s = min(run_child("-c", BARE_IMPORT).wall_s for _ in range(args.rounds))
    stages: dict[str, float] = {}
    walls, peaks = [], []
    for _ in range(args.rounds):
        with TemporaryDirectory() as output:
            run = run_child("-m", "benchmarks.limits", "stages", str(series), output, args.model)
        walls.append(run.wall_s)
        peaks.append(run.peak_gb)
        for stage, seconds in run.said["stages"].items():
            stages[stage] = min(seconds, stages.get(stage, seconds))
    print(machine())
    print(
        f"memory {limits['copy_bytes_s'] / 1e9:.1f} GB/s, products "
        f"{limits['product_flop_s'] / 1e9:.0f} GFLOP/s in {limits['precision']}\n"
    )
    print(table(limits, stages, start_s))
    print(
        f"\nwhole command, with start and end of the process: {min(walls):.1f} s "
        f"({', '.join(f'{wall:.1f}' for wall in walls)}), {max(peaks):.2f} GB"
    )


if __name__ == "__main__":
    if len(sys.argv) > 3 and sys.argv[1] == "limits":
        print(json.dumps(measure_limits(sys.argv[2], sys.argv[3])))
    elif len(sys.argv) > 4 and sys.argv[1] == "stages":
        print()
        print(json.dumps(run_command(sys.argv[2], sys.argv[3], sys.argv[4])))
    else:
        main()
