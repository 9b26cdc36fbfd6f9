"""Two scans of one patient: from files to what changed, as JSON, CSV, a label map and a page."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg import __version__
from napari_covseg.domain.change import ChangeLabel
from napari_covseg.domain.errors import InputError, ResourceError, UsageError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.io.csv_cells import csv_cell
from napari_covseg.workflows.lobe_choice import LobeChoice
from napari_covseg.workflows.lobes import lobes_of
from napari_covseg.workflows.quantify import ASSUMED
from napari_covseg.workflows.segment import RESEARCH_USE, make_folder
from napari_covseg.workflows.segment_settings import SegmentSettings

if TYPE_CHECKING:
    from napari_covseg.domain.lobes import LobeMap
    from napari_covseg.quantify.change import Change, ComparedScans

COLUMNS = ("case", "prior", "group", "name", "figure", "value", "unit", "fit", "note")
"""``fit`` is the verdict on the registration, in every row that rests on it."""
FORMATS = ("html", "json", "csv")


@dataclass(frozen=True, slots=True)
class ScanFiles:
    """A scan: its CT and, if it has been segmented, its labels.

    Parameters
    ----------
    ct
        A DICOM folder, zip or file, or a NIfTI, NRRD or MetaImage file.
    labels
        Its label map; without it the CT is segmented.
    series
        The DICOM series instance UID; without it the largest axial series.
    label_map
        What the numbers in the label file mean, if they are not ours.
    """

    ct: Path
    labels: Path | None = None
    series: str | None = None
    label_map: Mapping[int, Label] | None = None


@dataclass(frozen=True, slots=True)
class ChangeSettings:
    """How two scans are compared.

    Parameters
    ----------
    deformable
        Whether the lungs are also bent onto each other.
    interval_days
        Days from prior to current; None takes it from the studies' dates, where both are DICOM.
    window
        ``(low, high)`` HU that black and white stand for, for CTs that are not in HU.
    lobes
        Where the current scan's lobes come from.
    segment
        How a CT without labels is segmented.
    """

    deformable: bool = False
    interval_days: int | None = None
    window: tuple[float, float] | None = None
    lobes: LobeChoice = field(default_factory=LobeChoice)
    segment: SegmentSettings = field(default_factory=SegmentSettings)


@dataclass(frozen=True, eq=False)
class ChangeFiles:
    """What was written, and the change it holds."""

    paths: tuple[Path, ...]
    change: Change

    def to_json(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"paths": [str(path) for path in self.paths], **to_json(self.change)}


def change_files(
    current: ScanFiles, prior: ScanFiles, output: Path, settings: ChangeSettings | None = None
) -> Steps[ChangeFiles]:
    """Compare two scans and write ``<case>_change`` as .html, .json, .csv and .nii.gz.

    Labels that had to be made are kept beside them, as ``covseg segment`` writes them.

    Raises
    ------
    InputError
        If a file cannot be read, has no lungs, or labels do not belong to their CT.
    ModelError
        If a CT has to be segmented and the model cannot be used.
    ResourceError
        If memory or disk ran out.
    UsageError
        If both scans are the same file.
    """
    settings = settings or ChangeSettings()
    same_files = current.ct.resolve() == prior.ct.resolve()
    if same_files and (current.series or "") == (prior.series or ""):
        raise UsageError(
            f"{current.ct.name}: current and prior are the same scan; expected two (of one folder, "
            "name the series with --series and --prior-series)"
        )
    make_folder(output)
    try:
        return (yield from _change_files(current, prior, output, settings))
    except MemoryError:
        raise ResourceError(f"{current.ct.name}: not enough memory to compare the scans") from None


def _change_files(
    current: ScanFiles, prior: ScanFiles, output: Path, settings: ChangeSettings
) -> Steps[ChangeFiles]:
    volume, labels = yield from _scan(current, output, settings, "")
    taken = volume.case
    before, before_labels = yield from _scan(prior, output, settings, taken)
    lobes = yield from lobes_of(volume, settings.lobes, settings.segment.device)
    compared = yield from compare(
        (volume, labels),
        (before, before_labels),
        settings.deformable,
        lobes,
        settings.interval_days,
    )
    notes = _patient_notes(current, prior)
    change = replace(compared.change, warnings=(*notes, *compared.change.warnings))
    compared = replace(compared, change=change)
    paths = yield from write_change(compared, (volume, labels), before, output, volume.case)
    return ChangeFiles(paths, change)


def compare(
    current: tuple[CTVolume, LabelMap],
    prior: tuple[CTVolume, LabelMap],
    deformable: bool = False,
    lobes: LobeMap | None = None,
    interval_days: int | None = None,
) -> Steps[ComparedScans]:
    """Compare two scans that were read: each a CT with its labels.

    Without ``interval_days`` it is taken from the days of the scans, where both are known.

    Raises
    ------
    InputError
        If there is no lung in one of them, or labels do not belong to their CT.
    """
    from napari_covseg.quantify.change import compare_scans

    if interval_days is None:
        interval_days = days_between(prior[0], current[0])
    given = [warning for volume, _ in (current, prior) for warning in volume.warnings]
    compared = yield from compare_scans(
        current[1],
        prior[1],
        current[0],
        prior[0],
        lobes=lobes,
        deformable=deformable,
        interval_days=interval_days,
        spacing_known=not any(ASSUMED in warning for warning in given),
    )
    said = [
        f"{which}: {warning}"
        for which, (volume, _) in (("Current", current), ("Prior", prior))
        for warning in volume.warnings
    ]
    change = replace(compared.change, warnings=(*compared.change.warnings, *said))
    return replace(compared, change=change)


def write_change(
    compared: ComparedScans,
    current: tuple[CTVolume, LabelMap],
    prior_ct: CTVolume,
    folder: Path,
    name: str,
) -> Steps[tuple[Path, ...]]:
    """Write the page, JSON, CSV and the map of change; every file whole or not at all.

    Raises
    ------
    ResourceError, InputError
        If a file cannot be written.
    """
    from napari_covseg.io import write_labels
    from napari_covseg.io.atomic import atomic_file, write_json

    change = compared.change
    yield Progress(0, 2, "drawing the page")
    page = _page(compared, current, prior_ct)
    yield Progress(1, 2, f"writing {name}_change")
    html, table = folder / f"{name}_change.html", folder / f"{name}_change.csv"
    for path, text in ((html, page), (table, to_csv(change))):
        with atomic_file(path) as file:
            file.write(text.encode(errors="replace"))
    plain = write_json(folder / f"{name}_change.json", to_json(change))
    map_ = LabelMap(change.map, current[1].geometry, name, current[0].to_native)
    written = write_labels(map_, folder / f"{name}_change.nii.gz")
    yield Progress(2, 2, f"writing {name}_change")
    return html, plain, table, written


def to_json(change: Change) -> dict[str, Any]:
    """All of it with what the figures rest on; plain values, no NaN, no patient data."""
    from napari_covseg.quantify import lesion_changes, registration

    return {
        "version": __version__,
        **change.to_dict(),
        "map_labels": {label.name.lower(): int(label) for label in ChangeLabel},
        "choices": {
            "working_grid_mm": registration.WORKING_MM,
            "good_from": {"lung_dice": registration.GOOD_DICE, "surface_mm": registration.GOOD_MM},
            "fair_from": {"lung_dice": registration.FAIR_DICE, "surface_mm": registration.FAIR_MM},
            "matched_from_overlap": lesion_changes.OVERLAP_SHARE,
            "matched_within_mm": lesion_changes.NEAR_MM,
            "grown_from_percent": lesion_changes.GROWN_PERCENT,
        },
        "notice": RESEARCH_USE,
    }


def to_csv(change: Change) -> str:
    """One row for each figure, with the columns `COLUMNS`; empty where there is none."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    both = {"case": change.case, "prior": change.prior_case}
    for row in _rows(change):
        cells = {**both, **dict.fromkeys(COLUMNS[2:], ""), **row}
        writer.writerow({key: csv_cell(value) for key, value in cells.items()})
    return text.getvalue()


def _rows(change: Change) -> Iterator[dict[str, Any]]:
    fit = change.registration
    rests = {"fit": fit.verdict}
    pair = {"group": "pair", "name": "scans"}
    yield {**pair, "figure": "interval", "value": change.interval_days, "unit": "days"}
    yield {**pair, **rests, "figure": "lung_dice", "value": fit.lung_dice}
    yield {**pair, **rests, "figure": "surface", "value": fit.surface_mm, "unit": "mm"}
    yield from _scan_rows(change)
    for row in (*_region_rows(change), *_lesion_rows(change)):
        yield {**row, **rests}


def _scan_rows(change: Change) -> Iterator[dict[str, Any]]:
    """Each scan by itself, whatever the registration."""
    for when, measured in (("current", change.current), ("prior", change.prior)):
        for side, one in measured.to_dict().items():
            for figure, value in one.items() if isinstance(one, dict) else ():
                name, _, unit = figure.rpartition("_")
                if unit in ("ml", "percent"):
                    place = {"group": f"{when}_scan", "name": side, "figure": name}
                    yield {**place, "value": value, "unit": unit.replace("percent", "%")}


def _region_rows(change: Change) -> Iterator[dict[str, Any]]:
    for group, parts in (("part", change.parts), (f"lobe_{change.lobes_from}", change.lobes)):
        for name, one in parts.items():
            place = {"group": group, "name": name}
            yield {**place, "figure": "lung", "value": one.lung_ml, "unit": "ml"}
            for kind in ("ggo", "consolidation", "lesions"):
                for figure, value in asdict(getattr(one, kind)).items():
                    unit = {"ml": "ml", "points": "points"}.get(figure.rsplit("_", 1)[1], "%")
                    yield {**place, "figure": f"{kind}_{figure}", "value": value, "unit": unit}
            for state, amount in one.states.items():
                yield {**place, "figure": state, "value": amount.ml, "unit": "ml"}
                yield {**place, "figure": state, "value": amount.percent, "unit": "%"}


def _lesion_rows(change: Change) -> Iterator[dict[str, Any]]:
    for number, lesion in enumerate(change.lesions.listed, start=1):
        note = f"{lesion.kind} {lesion.trend}".strip()
        place = {"group": "lesion", "name": str(number), "note": note}
        for figure, unit in (
            *(("prior_ml", "ml"), ("current_ml", "ml"), ("change_ml", "ml")),
            ("change_percent", "%"),
        ):
            yield {**place, "figure": figure, "value": getattr(lesion, figure), "unit": unit}


def _page(compared: ComparedScans, current: tuple[CTVolume, LabelMap], prior_ct: CTVolume) -> str:
    from napari_covseg.reports.change_page import change_document
    from napari_covseg.reports.change_pictures import change_picture, views_of
    from napari_covseg.reports.document_html import document_html

    volume, labels = current
    change, mapping = compared.change, compared.registration.mapping
    poor = change.registration.verdict == "poor"
    picture = change_picture(views_of(labels, volume, prior_ct, mapping, change.map), poor=poor)
    return document_html(change_document(change, picture, __version__, "change between two scans"))


def _scan(
    files: ScanFiles, output: Path, settings: ChangeSettings, taken: str
) -> Steps[tuple[CTVolume, LabelMap]]:
    """A CT and its labels, read or made; a prior of the current's name gets another."""
    from napari_covseg.io import ScanGrid, read_labels, read_volume
    from napari_covseg.workflows import segment as workflow

    yield Progress(0, 1, f"reading {files.ct.name}")
    volume = read_volume(files.ct, series=files.series, window=settings.window)
    if volume.case == taken:
        volume = replace(volume, case=f"{volume.case}_prior")
    if files.labels is not None:
        yield Progress(0, 1, f"reading {files.labels.name}")
        onto = ScanGrid(volume.geometry, files.ct, files.series)
        labels = read_labels(files.labels, label_map=files.label_map, onto=onto)
        if not labels.geometry.same_as(volume.geometry):
            raise InputError(
                f"{files.labels.name}: not on the grid of {files.ct.name}; name the labels of this "
                "scan, or leave them out to segment it"
            )
        return volume, replace(labels, case=volume.case)
    try:
        result = yield from workflow.segment(volume, settings.segment)
    except (InputError, ResourceError) as error:
        raise type(error)(f"{files.ct.name}: {error}") from error
    workflow.write_result(result, output, volume.case)
    return volume, result.labels


def days_between(prior: CTVolume, current: CTVolume) -> int | None:
    """Days from prior to current, where both say when they were taken."""
    if prior.taken is None or current.taken is None:
        return None
    return (current.taken - prior.taken).days


def _patient_notes(current: ScanFiles, prior: ScanFiles) -> tuple[str, ...]:
    """A warning if both headers name a patient, and not the same one."""
    from napari_covseg.io.dicom_patient import dicom_patient_id
    from napari_covseg.io.sniff import Kind, sniff

    if any(sniff(one.ct) is not Kind.DICOM for one in (current, prior)):
        return ()
    patients = {dicom_patient_id(one.ct, one.series) for one in (current, prior)}
    if len(patients) > 1 and all(patients):
        return ("By their DICOM headers the two scans are not of one patient.",)
    return ()
