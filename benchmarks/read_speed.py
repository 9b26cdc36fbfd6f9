"""A 300-slice DICOM series read, against SimpleITK."""

from __future__ import annotations

from pathlib import Path

from benchmarks.common import Row, run_child


def read_rows(series: Path, slices: int) -> list[Row]:
    """Both readers on the same files, page cache warm; the voxels' sums must agree."""
    ours = run_child("-m", "benchmarks.child", "read_ours", str(series))
    peer = run_child("-m", "benchmarks.child", "read_itk", str(series))
    if ours.said["sum"] != peer.said["sum"]:
        raise RuntimeError(f"readers disagree: {ours.said['sum']} and {peer.said['sum']}")
    seconds = float(ours.said["total_s"])
    return [
        Row(f"DICOM, {slices} uncompressed slices, read", f"{seconds:.2f} s", "< 2 s", seconds < 2),
        Row("the same by SimpleITK's ImageSeriesReader", f"{peer.said['total_s']:.2f} s"),
    ]
