"""Find lesions in a chest CT with a trained detector: from a volume, or from a file to files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg import __version__
from napari_covseg.domain.errors import CovsegError, InputError, ResourceError
from napari_covseg.domain.geometry import Reorientation, Shape
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import CTVolume
from napari_covseg.workflows.detect_settings import DetectSettings
from napari_covseg.workflows.segment import RESEARCH_USE, input_hash, make_folder

if TYPE_CHECKING:
    from napari_covseg.inference.detect import Box, Detection, Lesion


@dataclass(frozen=True, eq=False)
class DetectResult:
    """What was found, and where it came from: plain values for JSON, no patient data."""

    detection: Detection
    warnings: tuple[str, ...]
    provenance: dict[str, Any]


@dataclass(frozen=True, eq=False)
class DetectFileResult:
    """The files that `detect_file` wrote, and the result they hold."""

    result: DetectResult
    labels_path: Path
    json_path: Path
    report: dict[str, Any]


def detect(volume: CTVolume, settings: DetectSettings) -> Steps[DetectResult]:
    """Find GGO and consolidation as lesions with boxes, scores and masks.

    Raises
    ------
    UsageError
        If the device asked for is not there.
    InputError
        If the volume has no axial plane.
    ModelError
        If the detector cannot be used.
    ResourceError
        If memory ran out.
    """
    yield Progress(0, 1, "loading the detector")
    from napari_covseg.inference.detect import detect_volume
    from napari_covseg.models.detector_files import find_detector
    from napari_covseg.models.device import choose_device

    device = choose_device(settings.device)
    detector = find_detector(settings.model)
    found = yield from detect_volume(volume, detector, device, settings.score)
    used = found.device
    provenance = {
        "software": "napari-covseg",
        "software_version": __version__,
        "model": {"name": detector.name, "version": detector.version, "sha256": detector.sha256},
        "device": {"name": used.name, "title": used.title, "precision": used.precision},
        # The model's name, not the path it may have been given by: paths can name people.
        "settings": {**asdict(settings), "model": detector.name},
        "input": {
            "format": volume.source,
            "sha256": input_hash(volume),
            "shape_zyx": list(volume.geometry.shape),
            "spacing_zyx_mm": [round(mm, 6) for mm in volume.geometry.spacing_mm],
            "affine_lps": [[float(v) for v in row] for row in volume.geometry.affine],
        },
    }
    return DetectResult(found, (*volume.warnings, *found.warnings), provenance)


def detect_file(
    path: str | Path,
    output: str | Path,
    settings: DetectSettings,
    series: str | None = None,
    window: tuple[float, float] | None = None,
    name_case: Callable[[str], str] | None = None,
) -> Steps[DetectFileResult]:
    """Find lesions in what ``path`` holds; write label map and JSON.

    They are called ``<case>_detected_labels.nii.gz`` and ``<case>_detected.json``; see
    `napari_covseg.workflows.segment.segment_file`.

    Raises
    ------
    InputError, ResourceError, ModelError, UsageError
        As `detect`; or if the input cannot be read or the output cannot be written.
    """
    from napari_covseg.io import read_volume

    output = Path(output)
    make_folder(output)
    yield Progress(0, 1, f"reading {Path(path).name}")
    volume = read_volume(Path(path), series=series, window=window)
    try:
        result = yield from detect(volume, settings)
    except (InputError, ResourceError) as error:
        raise type(error)(f"{Path(path).name}: {error}") from error
    name = volume.case if name_case is None else name_case(volume.case)
    yield Progress(0, 1, f"writing {name}_detected_labels.nii.gz")
    return write_detection(result, output, name)


def write_detection(result: DetectResult, output: Path, case: str) -> DetectFileResult:
    """Write label map and JSON: both, whole, or neither.

    Raises
    ------
    ResourceError, InputError
        If the disk is full; if the folder cannot be written to.
    """
    from napari_covseg.io import write_labels
    from napari_covseg.io.atomic import write_json

    report = make_report(result, case)
    labels_path, json_path = output / report["labels_file"], output / f"{case}_detected.json"
    write_labels(result.detection.labels, labels_path)
    try:
        write_json(json_path, report)
    except CovsegError:
        labels_path.unlink(missing_ok=True)
        raise
    return DetectFileResult(result, labels_path, json_path, report)


def make_report(result: DetectResult, case: str) -> dict[str, Any]:
    """What the JSON says; plain values, no patient data.

    Voxels are those of the label map's file, in its own axis order (x, y, z): ``first`` is in the
    box, ``last`` too.
    """
    found = result.detection
    shape, native = found.labels.geometry.shape, found.labels.to_native
    return {
        "case": case,
        "labels_file": f"{case}_detected_labels.nii.gz",
        "lesions": [_lesion(one, shape, native) for one in found.lesions],
        "findings": [
            {
                "label": one.label.name.lower(),
                "score": round(one.score, 4),
                "box_xyz_voxels": native_box(
                    (one.z, *_whole(one.box_yx)[:2], one.z + 1, *_whole(one.box_yx)[2:]),
                    shape,
                    native,
                ),
            }
            for one in found.findings
        ],
        "warnings": list(result.warnings),
        "provenance": result.provenance,
        "notice": RESEARCH_USE,
    }


def native_box(box: Box, shape: Shape, native: Reorientation) -> dict[str, list[int]]:
    """A box of the canonical array in the file's own axes: first and last voxel ``(x, y, z)``."""
    spans = [(box[2 - axis], box[5 - axis]) for axis in range(3)]
    sizes = shape[::-1]
    first, last = [], []
    for source, flip in zip(native.order, native.flips, strict=True):
        low, high = spans[source]
        if flip:
            low, high = sizes[source] - high, sizes[source] - low
        first.append(low)
        last.append(high - 1)
    return {"first": first, "last": last}


def _whole(box: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    """The pixels that a box in a slice touches."""
    y0, x0, y1, x1 = box
    return int(y0), int(x0), max(int(y0) + 1, -int(-y1 // 1)), max(int(x0) + 1, -int(-x1 // 1))


def _lesion(one: Lesion, shape: Shape, native: Reorientation) -> dict[str, Any]:
    return {
        "number": one.number,
        "label": one.label.name.lower(),
        "score": round(one.score, 4),
        "volume_ml": round(one.ml, 4),
        "voxels": one.voxels,
        "slices": one.box[3] - one.box[0],
        "findings": one.findings,
        "box_xyz_voxels": native_box(one.box, shape, native),
        "box_lps_mm": {
            "low": [round(v, 3) for v in one.low_mm],
            "high": [round(v, 3) for v in one.high_mm],
        },
    }
