"""Segment a chest CT: from a volume, or from a file to files."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_covseg import __version__
from napari_covseg.domain.errors import CovsegError, InputError, ResourceError, UsageError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.workflows.doubt import FILES_KEY, map_names, ranges, write_maps
from napari_covseg.workflows.origin import VOXELS_KEY, voxels_hash
from napari_covseg.workflows.segment_settings import SegmentSettings

if TYPE_CHECKING:
    from napari_covseg.models.checkpoint import Model
    from napari_covseg.models.device import Device
    from napari_covseg.quantify.volumes import Measurements

P = ParamSpec("P")
R = TypeVar("R")

RESEARCH_USE = "Research use only: not a medical device, not for diagnosis or treatment."


@dataclass(frozen=True, eq=False)
class SegmentResult:
    """A label map in the volume's grid, what it measures, and where it came from.

    ``warnings`` are those of the reader, of the run and about the result, plain sentences.
    ``provenance`` holds plain values for JSON and no patient data. ``unsure`` says how unsure the
    model is of each voxel in or near the lungs, uint8 ``(z, y, x)`` with 255 for 1, if asked for
    (`napari_covseg.inference.uncertainty`). ``likely`` says how likely a lesion is and, of a model
    that tells them apart, how likely a lesion is consolidation, uint8 ``(1 or 2, z, y, x)``; the
    labels as the model drew them are 128 or more.
    """

    labels: LabelMap
    measurements: Measurements
    warnings: tuple[str, ...]
    provenance: dict[str, Any]
    unsure: NDArray[np.uint8] | None = None
    likely: NDArray[np.uint8] | None = None


@dataclass(frozen=True, eq=False)
class SegmentFileResult:
    """The files that `segment_file` wrote, and the result they hold."""

    result: SegmentResult
    labels_path: Path
    json_path: Path
    report: dict[str, Any]


def segment(
    volume: CTVolume,
    settings: SegmentSettings | None = None,
    uncertainty: bool = False,
    likelihood: bool = False,
    model: Model | None = None,
) -> Steps[SegmentResult]:
    """Find lungs, ground-glass opacity and consolidation in a chest CT.

    With ``uncertainty`` also say how unsure the model is, over the mirrored views of ``settings``;
    with ``likelihood`` how likely lesions are, for the ranges in which figures likely lie.
    ``model`` is the one that ``settings`` name, where it has been read already.

    Raises
    ------
    InputError
        If the volume has no axial plane.
    ModelError
        If the model cannot be used.
    ResourceError
        If memory ran out.
    UsageError
        If the device asked for is not there.
    """
    settings = settings or SegmentSettings()
    yield Progress(0, 1, "loading the model")
    with memory():
        from napari_covseg.inference.plausibility import check
        from napari_covseg.inference.postprocess import postprocess
        from napari_covseg.inference.predictor import predict
        from napari_covseg.inference.uncertainty import agree, only_near_lungs
        from napari_covseg.inference.unnamed import unname_lesions
        from napari_covseg.models.device import choose_device
        from napari_covseg.models.zoo import load
        from napari_covseg.quantify.volumes import measure

        device = choose_device(settings.device)
        model = model or load(settings.model)
        prediction = yield from predict(
            volume, model, device, settings.flips, uncertainty, likelihood
        )
        digest = _beside(input_hash, volume)
        cleaned = yield from postprocess(prediction.classes, volume)
        unnamed = unname_lesions(cleaned, model)
        labels = LabelMap.like(volume, cleaned)
        if prediction.unsure is not None:
            only_near_lungs(prediction.unsure, labels)
        likely = prediction.likely
        if likely is not None:
            agree(likely, labels)
            likely = likely if model.tells_lesions_apart else likely[:1]
        yield Progress(0, 1, "measuring")
        doubts = _beside(check, volume, labels)
        measurements = measure(labels)
        warnings = (*volume.warnings, *prediction.warnings, *unnamed, *doubts())
        provenance = _provenance(volume, digest(), model, prediction.device, settings)
    return SegmentResult(labels, measurements, warnings, provenance, prediction.unsure, likely)


def segment_file(
    path: str | Path,
    output: str | Path,
    settings: SegmentSettings | None = None,
    series: str | None = None,
    window: tuple[float, float] | None = None,
    name_case: Callable[[str], str] | None = None,
    uncertainty: bool = False,
    likelihood: bool = False,
) -> Steps[SegmentFileResult]:
    """Segment what ``path`` holds into ``<case>_labels.nii.gz`` and ``<case>.json``.

    Files appear whole or not at all, also when cancelled. With ``uncertainty`` there is
    ``<case>_uncertainty.nii.gz`` too, with ``likelihood`` the maps of `workflows.doubt` and ranges
    in the JSON. ``series`` and ``window`` are those of `read_volume`; ``name_case`` gets the case
    name of the volume and says which one to use.

    Raises
    ------
    InputError
        If the input cannot be read or is unsuitable.
    ResourceError
        If memory or disk ran out, or the output folder cannot be written.
    """
    from napari_covseg.io import read_volume

    output = Path(output)
    make_folder(output)
    yield Progress(0, 1, f"reading {Path(path).name}")
    with memory():
        volume = read_volume(Path(path), series=series, window=window)
    try:
        result = yield from segment(volume, settings, uncertainty, likelihood)
    except (InputError, ResourceError) as error:
        raise type(error)(f"{Path(path).name}: {error}") from error
    name = volume.case if name_case is None else name_case(volume.case)
    yield Progress(0, 1, f"writing {name}_labels.nii.gz")
    return write_result(result, output, name)


def write_result(result: SegmentResult, output: Path, case: str) -> SegmentFileResult:
    """Write ``<case>_labels.nii.gz`` and ``<case>.json``: both, whole, or neither.

    A result that says how unsure the model is has its ``<case>_uncertainty.nii.gz`` as well, one
    that says how likely lesions are the maps of `workflows.doubt`.

    Raises
    ------
    ResourceError, InputError
        If the disk is full; if the folder cannot be written to.
    """
    from napari_covseg.io import write_labels
    from napari_covseg.io.atomic import atomic_file

    report = make_report(result, case)
    labels_path, json_path = output / f"{case}_labels.nii.gz", output / f"{case}.json"
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_file(json_path) as file:
        # Inside, so that the JSON gets its name only when the label map has its own.
        # On the disk before that, so that a full one is noticed in time.
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
        maps: list[Path] = []
        try:
            _write_maps(result, output, case, maps)
            write_labels(result.labels, labels_path)
        except CovsegError:
            for path in maps:
                path.unlink(missing_ok=True)
            raise
    return SegmentFileResult(result, labels_path, json_path, report)


def _write_maps(result: SegmentResult, output: Path, case: str, written: list[Path]) -> None:
    """Write what the result says beside labels; ``written`` gets the paths as they come."""
    from napari_covseg.io.write import write_fractions

    if result.unsure is not None:
        written.append(output / f"{case}_uncertainty.nii.gz")
        write_fractions(result.unsure, result.labels, written[-1])
    if result.likely is not None:
        written += write_maps(result.likely, result.labels, output, case)


def make_report(result: SegmentResult, case: str) -> dict[str, Any]:
    """What the JSON beside a label map says; plain values, no patient data."""
    unsure: dict[str, Any]
    unsure = {} if result.unsure is None else {"uncertainty_file": f"{case}_uncertainty.nii.gz"}
    likely: dict[str, Any] = {}
    if result.likely is not None:
        likely = {"likely_ranges": ranges(result.labels, result.likely)}
        unsure = {**unsure, FILES_KEY: map_names(result.likely, case)}
    return {
        "case": case,
        "labels_file": f"{case}_labels.nii.gz",
        VOXELS_KEY: voxels_hash(result.labels),
        **unsure,
        "measurements": result.measurements.to_dict(),
        **likely,
        "warnings": list(result.warnings),
        "provenance": result.provenance,
        "notice": RESEARCH_USE,
    }


def _beside(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Callable[[], R]:
    """Start ``work`` in a thread: one core is idle while another cleans up; gives its result."""
    pool = ThreadPoolExecutor(1)
    begun = pool.submit(work, *args, **kwargs)
    pool.shutdown(wait=False)
    return begun.result


def _provenance(
    volume: CTVolume, digest: str, model: Model, device: Device, settings: SegmentSettings
) -> dict[str, Any]:
    return {
        "software": "napari-covseg",
        "software_version": __version__,
        "model": {"name": model.name, "version": model.version, "sha256": model.sha256},
        "device": {"name": device.name, "title": device.title, "precision": device.precision},
        # The model's name, not the path it may have been given by: paths can name people.
        "settings": {**asdict(settings), "model": model.name},
        "input": {
            "format": volume.source,
            "sha256": digest,
            "shape_zyx": list(volume.geometry.shape),
            "spacing_zyx_mm": [round(mm, 6) for mm in volume.geometry.spacing_mm],
            "affine_lps": [[float(v) for v in row] for row in volume.geometry.affine],
        },
    }


def input_hash(volume: CTVolume) -> str:
    """SHA-256 of the canonical voxels' type and bytes (z, y, x; little-endian) and the affine."""
    digest = hashlib.sha256()
    digest.update(f"{volume.hu.dtype.name} {volume.geometry.shape}".encode())
    little = volume.hu.dtype.newbyteorder("<")
    for plane in volume.hu:
        digest.update(plane.astype(little, order="C", copy=False).tobytes())
    digest.update(volume.geometry.affine.astype("<f8").tobytes())
    return digest.hexdigest()


def make_folder(folder: Path) -> None:
    """Make an output folder, and see that it can be written to before hours are spent.

    Raises
    ------
    UsageError
        If a file has that name.
    ResourceError
        If it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except FileExistsError as error:
        raise UsageError(f"{folder.name}: is a file; --output expects a folder") from error
    except OSError as error:
        raise ResourceError(
            f"{folder.name}: this folder cannot be written to ({error.strerror}); choose another"
        ) from error


@contextmanager
def memory() -> Generator[None]:
    """Turn `MemoryError` into our own, which says what to do."""
    try:
        yield
    except MemoryError as error:
        raise ResourceError(
            "not enough memory for this volume: close other programs or use a larger machine"
        ) from error
