"""A 512x512x300 CT from DICOM folder to label map, and the network against lungmask's R231."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.common import Row, Run, run_child


def segment_rows(
    scan: Path, series: Path, model: str, device: str, peer_slices: int, slices: int
) -> list[Row]:
    """Measure ours and the peer, one after the other on the same volume."""
    command = min((_run_command(series, model, device) for _ in range(3)), key=lambda r: r.wall_s)
    with TemporaryDirectory() as output:
        ours = run_child("-m", "benchmarks.child", "ours", str(series), output, model, device)
    on_gpu = "gpu_gb" in ours.said and device != "cpu"
    limit = (5.0, 1.5) if on_gpu else (10.0, None)
    title = f"512x512x{slices}, DICOM folder to written label map"
    rows = [
        Row(
            f"{title}, {'graphics card' if on_gpu else 'CPU'}, with the program's start, best of 3",
            f"{command.wall_s:.1f} s",
            f"< {limit[0]:.0f} s",
            command.wall_s < limit[0],
        ),
        Row(
            "its peak resident memory", f"{command.peak_gb:.2f} GB", "< 2 GB", command.peak_gb < 2.0
        ),
    ]
    rows += [
        Row(f"of which: {stage}", f"{seconds:.2f} s")
        for stage, seconds in ours.said["stages_s"].items()
        if seconds >= 0.05
    ]
    network = run_child("-m", "benchmarks.child", "network", str(scan), model, device, "8")
    ours_s = float(network.said["total_s"])
    rows.append(
        Row(
            f"inference alone, {slices} slices",
            f"{ours_s:.2f} s",
            f"< {limit[1]} s" if limit[1] else "",
            ours_s < limit[1] if limit[1] else None,
        )
    )
    if on_gpu:
        used = float(network.said["gpu_gb"])
        rows.append(Row("its graphics memory", f"{used:.2f} GB", "< 4 GB", used < 4.0))
    return rows + _peer_rows(scan, peer_slices, slices, ours_s, on_gpu)


def _run_command(series: Path, model: str, device: str) -> Run:
    with TemporaryDirectory() as output:
        words = ("segment", str(series), "--output", output, "--model", model, "--device", device)
        return run_child("-m", "napari_covseg.cli.main", *words)


def _peer_rows(scan: Path, peer_slices: int, slices: int, ours_s: float, on_gpu: bool) -> list[Row]:
    if find_spec("lungmask") is None:
        return [Row("lungmask R231", "not installed (pip install lungmask)")]
    peer = run_child("-m", "benchmarks.child", "lungmask_r231", str(scan), str(peer_slices))
    measured = int(peer.said["slices"])
    peer_s = float(peer.said["total_s"]) * slices / measured
    scaled = "" if measured == slices else f" (from {measured} slices)"
    ratio = peer_s / ours_s
    return [
        Row(
            f"lungmask's R231 network (random weights, no postprocessing), same volume{scaled}",
            f"{peer_s:.1f} s",
        ),
        Row("its peak resident memory", f"{peer.peak_gb:.2f} GB"),
        Row(
            "inference: times faster than R231",
            f"{ratio:.1f}",
            "" if on_gpu else ">= 10",
            None if on_gpu else ratio >= 10,
        ),
    ]
