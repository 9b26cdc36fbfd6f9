"""Two scans of one patient: from files to what changed, as JSON, CSV, a label map and a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg import __version__
from napari_covseg.domain.errors import InputError, ResourceError, UsageError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.workflows.change_tables import to_csv, to_json
from napari_covseg.workflows.lobe_choice import LobeChoice
from napari_covseg.workflows.lobes import lobes_of
from napari_covseg.workflows.quantify import ASSUMED
from napari_covseg.workflows.segment import make_folder
from napari_covseg.workflows.segment_settings import SegmentSettings

if TYPE_CHECKING:
    from napari_covseg.domain.lobes import LobeMap
    from napari_covseg.quantify.change import Change, ComparedScans

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
