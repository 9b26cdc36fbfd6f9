"""The whole way on the built-in sample: phantom, segmentation, files and a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.workflows.segment import (
    SegmentFileResult,
    make_folder,
    segment,
    write_result,
)
from napari_covseg.workflows.segment_settings import SegmentSettings


@dataclass(frozen=True, eq=False)
class DemoResult:
    """The files of the demo, and the volumes (ml) that the phantom was made with."""

    files: SegmentFileResult
    volume_path: Path
    overlay_path: Path
    true_ml: dict[str, float]


def demo(output: str | Path, settings: SegmentSettings | None = None) -> Steps[DemoResult]:
    """Segment the synthetic chest CT into ``output``.

    Writes ``phantom.nii.gz`` (the CT), ``phantom_labels.nii.gz``, ``phantom.json`` and
    ``phantom_overlay.png``.

    Raises
    ------
    CovsegError
        As `napari_covseg.workflows.segment.segment` and `write_result` do.
    """
    from napari_covseg.io import make_phantom, write_volume
    from napari_covseg.workflows.overlay import write_overlay

    output = Path(output)
    make_folder(output)
    yield Progress(0, 1, "making the sample CT")
    phantom = make_phantom()
    volume = phantom.volume
    result = yield from segment(volume, settings)
    yield Progress(0, 1, "writing the results")
    files = write_result(result, output, volume.case)
    volume_path = write_volume(volume, output / f"{volume.case}.nii.gz")
    overlay_path = write_overlay(volume, result.labels, output / f"{volume.case}_overlay.png")
    ml = phantom.volumes_ml
    true_ml = {
        "lung_ml": sum(ml.values()),
        "ggo_ml": ml[Label.GGO],
        "consolidation_ml": ml[Label.CONSOLIDATION],
    }
    return DemoResult(files, volume_path, overlay_path, true_ml)
