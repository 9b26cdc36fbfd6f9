"""Compare predicted label maps with references: every case of two folders, one by one."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_covseg.domain.errors import CovsegError, InputError, ResourceError, UsageError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io.atomic import write_json
from napari_covseg.io.dicom_rtstruct_file import is_rtstruct
from napari_covseg.io.inputs import VOLUME_SUFFIXES, is_label_name
from napari_covseg.io.labels import ScanGrid, label_case_name, read_labels
from napari_covseg.io.sniff import readable
from napari_covseg.metrics.overlap import CLASSES, count_classes, joint_histogram
from napari_covseg.metrics.surface import class_distances
from napari_covseg.workflows.scores import CaseScores, Evaluation, SurfaceFigures

_SUFFIXES = (*VOLUME_SUFFIXES, ".dcm")


@dataclass(frozen=True)
class EvaluateSettings:
    """How files are read and cases are grouped.

    Parameters
    ----------
    label_map
        What the references' numbers mean; None: ``dataset.json``, names in the file, or ours.
    prediction_label_map
        The same for the predictions.
    patients
        CSV with the columns ``case`` and ``patient``; cases of one patient are averaged first.
        None: each case is a patient.
    lung_reference
        False if the references mark no healthy lung; then the lungs get no value. True: found
        out for each case.
    surface
        Whether to measure how far surfaces lie apart: seconds for a CT of 512x512x300.
    tolerance_mm
        What the normalised surface Dice takes for close enough, in mm.

    Raises
    ------
    UsageError
        If the tolerance is negative or no number.
    """

    label_map: Mapping[int, Label] | None = None
    prediction_label_map: Mapping[int, Label] | None = None
    patients: Path | None = None
    lung_reference: bool = True
    surface: bool = True
    tolerance_mm: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance_mm < math.inf:
            raise UsageError(
                f"the surfaces' tolerance is {self.tolerance_mm:g} mm; expected 0 or more"
            )


def evaluate(
    predictions: Path, references: Path, settings: EvaluateSettings | None = None
) -> Steps[Evaluation]:
    """Score every case that both folders have; each bad case is an error of its own.

    Files are matched by case: their names without suffix, ``_0000`` and ``_labels``. A prediction
    on another grid than its reference is an error: nothing is resampled. Contours (RTSTRUCT) of one
    of them are filled on the grid of the other.

    Raises
    ------
    InputError
        If a folder or the patients' file cannot be read, or no case is in both folders.
    """
    settings = settings or EvaluateSettings()
    patients = read_patients(settings.patients) if settings.patients else {}
    predicted, expected = label_files(predictions), label_files(references)
    cases = sorted(set(predicted) & set(expected))
    if not cases:
        raise InputError(
            f"{predictions.name}, {references.name}: no case in both; names must agree but for "
            f"_labels (such as {_example(predicted)} and {_example(expected)})"
        )
    scores: list[CaseScores] = []
    errors: dict[str, CovsegError] = {}
    for done, case in enumerate(cases):
        yield Progress(done, len(cases), f"comparing {case}")
        try:
            scores.append(_score(case, predicted[case], expected[case], settings))
        except CovsegError as error:
            errors[case] = error
    yield Progress(len(cases), len(cases), "compared")
    return Evaluation(
        tuple(scores),
        patients,
        errors,
        tuple(sorted(set(expected) - set(predicted))),
        tuple(sorted(set(predicted) - set(expected))),
        settings.tolerance_mm if settings.surface else None,
    )


def write_evaluation(result: Evaluation, path: Path) -> Path:
    """Write `Evaluation.to_json`; makes the folder.

    Raises
    ------
    InputError, ResourceError
        If it cannot be written.
    """
    return write_figures(result.to_json(), path)


def write_figures(content: Mapping[str, Any], path: Path) -> Path:
    """Write figures as JSON; makes the folder.

    Raises
    ------
    InputError, ResourceError
        If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ResourceError(
            f"{path.parent.name}: this folder cannot be made ({reason}); choose another"
        ) from None
    return write_json(path, content)


def read_patients(path: Path) -> dict[str, str]:
    """Case to patient, from a CSV with these columns (others are left alone).

    Raises
    ------
    InputError
        If it cannot be read, a column is missing, or a case has two patients.
    """
    patients: dict[str, str] = {}
    with readable(path):
        try:
            rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
        except (UnicodeDecodeError, csv.Error):
            raise InputError(f"{path.name}: not a CSV text file") from None
    if not rows or not {"case", "patient"} <= rows[0].keys():
        raise InputError(f"{path.name}: expected a CSV with the columns case and patient")
    for row in rows:
        case, patient = (row["case"] or "").strip(), (row["patient"] or "").strip()
        if patient and patients.setdefault(case, patient) != patient:
            raise InputError(f"{path.name}: case {case} has two patients")
    return patients


def label_files(folder: Path) -> dict[str, list[Path]]:
    """Case to its label files (more than one is an error of that case).

    Of a case's files those named as labels count, if any is: its CT may lie beside them.

    Raises
    ------
    InputError
        If it is no folder, or holds no such file.
    """
    with readable(folder):
        if not folder.is_dir():
            raise NotADirectoryError(20, "expected a folder of label files")
        files = sorted(p for p in folder.iterdir() if p.name.lower().endswith(_SUFFIXES))
    found: dict[str, list[Path]] = {}
    for file in files:
        if not file.name.startswith("."):
            found.setdefault(label_case_name(file), []).append(file)
    if not found:
        raise InputError(f"{folder.name}: no label file in this folder")
    named = {case: [file for file in files if is_label_name(file)] for case, files in found.items()}
    return {case: named[case] or files for case, files in found.items()}


def _score(
    case: str, predicted: list[Path], expected: list[Path], settings: EvaluateSettings
) -> CaseScores:
    for files in (predicted, expected):
        if len(files) > 1:
            names = ", ".join(file.name for file in files)
            raise InputError(f"{case}: several files of one case in a folder ({names})")
    prediction, reference = _read_pair(predicted[0], expected[0], settings)
    _check_grids(case, prediction, reference)
    histogram = joint_histogram(prediction.labels, reference.labels)
    counts = count_classes(histogram, None if settings.lung_reference else False)
    warnings = [
        *(f"prediction: {warning}" for warning in prediction.warnings),
        *(f"reference: {warning}" for warning in reference.warnings),
    ]
    surfaces = {}
    if settings.surface:
        asked = [name for name, found in counts.items() if found is not None]
        surfaces = _surfaces(prediction, reference, asked, settings.tolerance_mm)
        if not reference.geometry.orthogonal:
            warnings.append("surface distances are approximate: they take right angles for granted")
    return CaseScores(case, counts, reference.geometry.voxel_ml, tuple(warnings), surfaces)


def _read_pair(
    predicted: Path, expected: Path, settings: EvaluateSettings
) -> tuple[LabelMap, LabelMap]:
    """Prediction and reference; contours of one are filled on the grid of the other."""
    maps = settings.prediction_label_map, settings.label_map
    if is_rtstruct(predicted):
        reference = read_labels(expected, label_map=maps[1])
        onto = ScanGrid(reference.geometry)
        return read_labels(predicted, label_map=maps[0], onto=onto), reference
    prediction = read_labels(predicted, label_map=maps[0])
    onto = ScanGrid(prediction.geometry)
    return prediction, read_labels(expected, label_map=maps[1], onto=onto)


def _surfaces(
    prediction: LabelMap, reference: LabelMap, asked: Iterable[str], tolerance_mm: float
) -> dict[str, SurfaceFigures]:
    classes = [one for one in CLASSES if one.name in asked]
    spacing_mm = reference.geometry.spacing_mm
    found = class_distances(prediction.labels, reference.labels, spacing_mm, classes)
    return {
        name: SurfaceFigures(apart.hausdorff_mm(), apart.dice(tolerance_mm))
        for name, apart in found
    }


def _check_grids(case: str, prediction: LabelMap, reference: LabelMap) -> None:
    ours, theirs = prediction.geometry, reference.geometry
    if ours.same_as(theirs):
        return
    if ours.shape != theirs.shape:
        what = f"{_sizes(ours.shape)} and {_sizes(theirs.shape)} voxels"
    else:
        apart = float(abs(ours.corners_mm() - theirs.corners_mm()).max())
        what = f"up to {apart:.2f} mm apart"
    raise InputError(
        f"{case}: prediction and reference lie on different grids ({what}); expected the same "
        "grid, nothing is resampled"
    )


def _sizes(shape: Iterable[int]) -> str:
    """A ``(z, y, x)`` shape as one reads it, x first."""
    return " x ".join(map(str, reversed(tuple(shape))))


def _example(files: Mapping[str, list[Path]]) -> str:
    return next(iter(files.values()))[0].name
