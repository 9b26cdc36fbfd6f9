"""A label map to what other programs take: DICOM SEG, SR and RTSTRUCT, NIfTI, NRRD.

DICOM refers to the series the labels were made from; the other formats need no source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_covseg import __version__
from napari_covseg.domain.errors import InputError, ResourceError, UsageError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import LabelMap
from napari_covseg.workflows.origin import origin_of

if TYPE_CHECKING:
    from napari_covseg.io.dicom_maker import Maker, Way
    from napari_covseg.io.dicom_seg_write import WrittenSeg
    from napari_covseg.io.dicom_source import SourceSeries
    from napari_covseg.quantify.volumes import Measurements

FORMATS: Mapping[str, tuple[str, ...]] = {
    "dicom-seg": (".dcm",),
    "dicom-sr": (".dcm",),
    "rtstruct": (".dcm",),
    "nifti": (".nii.gz", ".nii"),
    "nrrd": (".nrrd",),
    "seg-nrrd": (".seg.nrrd",),
}
"""The endings a file of each format may have; the first is given where a folder is named."""

_ENDINGS = {"dicom-seg": "_seg", "dicom-sr": "_sr", "rtstruct": "_rtstruct"}
DICOM = tuple(_ENDINGS)
"""The formats that refer to the series of the labels."""


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """What to write, and what is known of the labels.

    Parameters
    ----------
    format
        One of `FORMATS`.
    series
        UID of the source series, where several hold the labels.
    label_map
        What the numbers of the label file mean, if they are not ours.
    made_by
        ``automatic``, ``corrected`` or ``manual``; None finds out by the JSON beside the labels.
    person
        Who corrected, drew or checked the labels, as DICOM writes names (``Family^Given``).
    """

    format: str
    series: str | None = None
    label_map: Mapping[int, Label] | None = None
    made_by: Way | None = None
    person: str = ""


@dataclass(frozen=True, slots=True)
class Exported:
    """The files written, the one asked for first; warnings are plain sentences."""

    paths: tuple[Path, ...]
    format: str
    case: str
    warnings: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "paths": [str(path) for path in self.paths],
            "format": self.format,
            "case": self.case,
            "warnings": list(self.warnings),
        }


def export(
    labels: str | Path,
    output: str | Path,
    settings: ExportSettings,
    source: str | Path | None = None,
) -> Steps[Exported]:
    """Write a label file in another format.

    ``output`` is a file, or a folder that exists. An SR refers to segments, so a SEG is written
    beside it: ``NAME_seg.dcm`` for ``NAME.dcm``, or for ``NAME_sr.dcm``. With a ``source``, labels
    are checked to lie on its grid, and written on the whole of it.

    Raises
    ------
    UsageError
        If the format or the output's name is wrong, or DICOM is asked for without a source.
    InputError
        If labels or source cannot be read, or do not belong together.
    ResourceError
        If memory or disk do not suffice.
    """
    path, output = Path(labels), Path(output)
    if settings.format not in FORMATS:
        raise UsageError(f"--format {settings.format}: expected one of {', '.join(FORMATS)}")
    if settings.format in DICOM and source is None:
        raise UsageError(f"--format {settings.format} needs --source, the series of the labels")
    if not output.is_dir():
        _check_name(output, settings.format)
    yield Progress(0, 3, f"reading {path.name}")
    try:
        return (
            yield from _export(path, output, settings, None if source is None else Path(source))
        )
    except MemoryError:
        raise ResourceError(f"{path.name}: not enough memory to export it") from None


def _export(
    path: Path, output: Path, settings: ExportSettings, source: Path | None
) -> Steps[Exported]:
    labels = _read(path, settings, source)
    if settings.format not in DICOM or source is None:
        if source is not None:
            yield Progress(1, 3, f"reading {source.name}")
            labels = _on_grid(labels, source, settings.series)
        return (yield from _plain(labels, path, output, settings))
    from napari_covseg.io.dicom_source import open_source
    from napari_covseg.quantify.volumes import lesion_sides, measure

    yield Progress(1, 3, f"reading {source.name}")
    series = open_source(source, labels.geometry, series=settings.series, case=labels.case)
    placed = series.place(labels)
    measured = measure(placed)
    maker, notes = _maker(path, labels, settings)
    target = _target(output, series.case, settings.format, path)
    yield Progress(2, 3, f"writing {target.name}")
    if settings.format == "rtstruct":
        notes = (*notes, *_write_rtstruct(placed, series, target, maker))
        return Exported((target,), settings.format, series.case, (*labels.warnings, *notes))
    seg_path = target if settings.format == "dicom-seg" else _seg_beside(target, path)
    seg = _write_seg(placed, series, seg_path, maker, lesion_sides(placed))
    warnings = (*labels.warnings, *notes, *seg.notes)
    if settings.format == "dicom-seg":
        return Exported((target,), settings.format, series.case, warnings)
    _write_sr(placed, measured, series, seg, target, maker)
    return Exported((target, seg_path), settings.format, series.case, warnings)


def _read(path: Path, settings: ExportSettings, source: Path | None) -> LabelMap:
    """The labels; contours are filled on the scan they were drawn on."""
    from napari_covseg.io import ScanGrid, read_labels, read_volume
    from napari_covseg.io.dicom_rtstruct_file import is_rtstruct

    onto = None
    if source is not None and is_rtstruct(path):
        grid = read_volume(source, series=settings.series).geometry
        onto = ScanGrid(grid, source, settings.series)
    return read_labels(path, label_map=settings.label_map, onto=onto)


def _write_rtstruct(
    labels: LabelMap, series: SourceSeries, path: Path, maker: Maker
) -> tuple[str, ...]:
    from napari_covseg.io.dicom_rtstruct_write import write_rtstruct
    from napari_covseg.quantify.volumes import lesion_sides

    return write_rtstruct(labels, series, path, maker, lesion_sides(labels)).notes


def _write_seg(
    labels: LabelMap, series: SourceSeries, path: Path, maker: Maker, sides: NDArray[np.uint8]
) -> WrittenSeg:
    from napari_covseg.io.dicom_seg_write import write_dicom_seg

    return write_dicom_seg(labels, series, path, maker, sides)


def _write_sr(
    labels: LabelMap,
    measured: Measurements,
    series: SourceSeries,
    seg: WrittenSeg,
    path: Path,
    maker: Maker,
) -> None:
    from napari_covseg.io.dicom_sr import write_dicom_sr
    from napari_covseg.workflows.export_findings import DEFINITIONS, NO_VOLUMES, findings_of

    present = {Label(int(value)) for value in np.unique(labels.labels)}
    findings = findings_of(measured, present, volumes=series.has_volumes)
    comments = (DEFINITIONS, *(() if series.has_volumes else (NO_VOLUMES,)), *seg.notes)
    try:
        write_dicom_sr(findings, series, seg, path, maker, comments)
    except BaseException:
        # An SR that is not there needs no SEG: both, or neither.
        seg.path.unlink(missing_ok=True)
        raise


def _plain(labels: LabelMap, path: Path, output: Path, settings: ExportSettings) -> Steps[Exported]:
    from napari_covseg.io import write_labels

    target = _target(output, labels.case, settings.format, path)
    yield Progress(2, 3, f"writing {target.name}")
    write_labels(labels, target)
    return Exported((target,), settings.format, labels.case, labels.warnings)


def _on_grid(labels: LabelMap, source: Path, series: str | None) -> LabelMap:
    """Labels on the whole of a scan's grid, in the axis order of its file."""
    from napari_covseg.io import read_volume
    from napari_covseg.io.dicom_grid import part_of

    volume = read_volume(source, series=series)
    whole = np.zeros(volume.geometry.shape, np.uint8)
    where = part_of(volume.geometry, labels.geometry)
    if where is None:
        raise InputError(
            f"{source.name}: the labels are not on the grid of this scan; segment the scan itself, "
            "or name the right one"
        )
    whole[where] = labels.labels
    return LabelMap(whole, volume.geometry, labels.case, volume.to_native, labels.warnings)


def _maker(path: Path, labels: LabelMap, settings: ExportSettings) -> tuple[Maker, tuple[str, ...]]:
    """Who made the labels: by the settings, else by the JSON that stands beside a result."""
    from napari_covseg.io.dicom_maker import Maker

    origin = origin_of(path, labels.case, labels)
    known = Maker(
        settings.made_by or "corrected",
        origin.model.get("name", ""),
        origin.model.get("version", ""),
        origin.model.get("sha256", ""),
        str(origin.provenance.get("software_version", "")) or __version__,
        settings.person,
    )
    if settings.made_by is not None:
        return known, ()
    if not origin.known:
        return known, (
            "no result's JSON beside the labels says how they were made: they are marked as "
            "semi-automatic; --made-by says it",
        )
    if not origin.changed:
        return replace(known, way="automatic"), ()
    return known, ("the labels were changed after the model made them: marked as semi-automatic",)


def _check_name(output: Path, format_: str) -> None:
    endings = FORMATS[format_]
    name = output.name.lower()
    if not name.endswith(endings) or (format_ == "nrrd" and name.endswith(".seg.nrrd")):
        raise UsageError(
            f"{output.name}: --format {format_} writes a name in {' or '.join(endings)}, or into a "
            "folder that exists"
        )


def _target(output: Path, case: str, format_: str, labels: Path) -> Path:
    target = output
    if output.is_dir():
        target = output / f"{case}{_ENDINGS.get(format_, '_labels')}{FORMATS[format_][0]}"
    return _not_the_input(target, labels)


def _seg_beside(target: Path, labels: Path) -> Path:
    stem = target.name[: -len(".dcm")].removesuffix(_ENDINGS["dicom-sr"])
    return _not_the_input(target.with_name(f"{stem}{_ENDINGS['dicom-seg']}.dcm"), labels)


def _not_the_input(target: Path, labels: Path) -> Path:
    if target.exists() and target.samefile(labels):
        raise UsageError(f"{target.name}: this is the label file itself; choose another --output")
    return target
