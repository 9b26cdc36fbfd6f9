"""Rows of the table: each peer on the same work as ours, one after the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.common import Row, Run, run_child
from benchmarks.peers.child import PATCHES, SLICES

PEER_PYTHON = Path("build/peers/bin/python")
"""Where `make bench` puts peers whose requirements must have no say in ours."""
WINDOWS = {
    "monai": ("MONAI's sliding window, float32", "monai", "monai"),
    "monai_autocast": ("MONAI's sliding window, in our precision", "monai", "monai"),
    "nnunet": ("nnU-Net v2's predictor", "nnunetv2", "nnunetv2"),
}
"""Peers that take a network: what to call them, the module they need, and its package."""


def peer_rows(scan: Path, model: str, device: str, slices: int, peer_python: Path) -> list[Row]:
    """All peers; those that are not installed say so."""
    rows = []
    titles = {SLICES: f"{model}, {slices} slices", PATCHES: f"3D U-Net in patches, {slices} slices"}
    for kind, title in titles.items():
        with TemporaryDirectory() as folder:
            kept = str(Path(folder) / "labels.npy")
            arguments = (kind, str(scan), str(slices), device, kept, model)
            ours = run_child("-m", "benchmarks.peers.child", "ours", *arguments)
            rows.append(Row(f"{title}: ours", _cost(ours)))
            for peer in WINDOWS:
                rows.append(_window_row(peer, title, arguments, ours, peer_python))
    return [*rows, _totalsegmentator_row(scan, model, device, slices, peer_python)]


def python_with(module: str, peer_python: Path) -> str | None:
    """This interpreter or the peers', whichever has the module."""
    look = f"import sys, importlib.util as u; sys.exit(u.find_spec('{module}') is None)"
    for python in (sys.executable, str(peer_python)):
        if Path(python).is_file() and subprocess.run([python, "-c", look]).returncode == 0:
            return python
    return None


def _window_row(
    peer: str, title: str, arguments: tuple[str, ...], ours: Run, peer_python: Path
) -> Row:
    name, module, package = WINDOWS[peer]
    python = python_with(module, peer_python)
    what = f"{title}: {name}"
    if python is None:
        return Row(what, f"not installed (pip install {package})")
    run = run_child("-m", "benchmarks.peers.child", peer, *arguments, python=python)
    ratio = run.said["total_s"] / ours.said["total_s"]
    value = f"{_cost(run)}: ours is {ratio:.1f} times as fast"
    if arguments[0] == SLICES:
        value += f", lungs agree (Dice {run.said['lung_dice']:.3f})"
    # What is left of our lead once the precision is the same has no target: it is an explanation.
    if peer == "monai_autocast":
        return Row(what, value)
    return Row(what, value, "> 1 times", ratio > 1)


def _totalsegmentator_row(
    scan: Path, model: str, device: str, slices: int, peer_python: Path
) -> Row:
    what = f"file to written label map, {slices} slices: TotalSegmentator --fast"
    python = python_with("totalsegmentator", peer_python)
    if python is None:
        return Row(what, "not installed (pip install TotalSegmentator)")
    with TemporaryDirectory() as output:
        ours = run_child("-m", "benchmarks.child", "ours", str(scan), output, model, device)
    run = run_child("-m", "benchmarks.peers.totalsegmentator", str(scan), device, python=python)
    ratio = run.said["total_s"] / ours.said["total_s"]
    weights = "its weights" if run.said["own_weights"] else "random weights"
    return Row(
        f"{what} ({weights})",
        f"{_cost(run)}: ours takes {ours.said['total_s']:.1f} s, {ratio:.1f} times as fast",
        "> 1 times",
        ratio > 1,
    )


def _cost(run: Run) -> str:
    return f"{run.said['total_s']:.1f} s, {run.peak_gb:.2f} GB"
