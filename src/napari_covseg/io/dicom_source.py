"""The DICOM series that labels belong to: what a SEG, SR or RTSTRUCT refers to."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io.dicom import scan_series
from napari_covseg.io.dicom_files import open_members, quiet_pydicom
from napari_covseg.io.dicom_grid import SeriesGrid, grid_of, part_of
from napari_covseg.io.dicom_header import Frame, Image
from napari_covseg.io.dicom_series import Series
from napari_covseg.io.dicom_volume import pseudonym
from napari_covseg.io.sniff import Kind, sniff

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_REQUIRED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_MULTIFRAME_CLASSES = ("1.2.840.10008.5.1.4.1.1.2.", "1.2.840.10008.5.1.4.1.1.7.")
"""Enhanced and legacy converted CT, multi-frame secondary capture."""
_PSEUDONYM = re.compile(r"ct-[0-9a-f]{10}$")


@dataclass(frozen=True, eq=False)
class SourceSeries:
    """A series whose grid holds the labels at hand.

    ``header`` is the first slice's, with patient and study: it goes into nothing but DICOM.
    """

    name: str
    case: str
    frames: tuple[Frame, ...]
    grid: SeriesGrid
    header: Dataset = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def geometry(self) -> Geometry:
        """The canonical grid that the series is worked on."""
        return self.grid.geometry

    @property
    def is_multiframe(self) -> bool:
        """Whether the slices are frames of one file, or could be: of a class made for that."""
        return _is_multiframe(self.frames[0].image)

    @property
    def has_volumes(self) -> bool:
        """Whether voxels have a known volume: a single slice without thickness has none."""
        return len(self.frames) > 1 or self.frames[0].thickness is not None

    @property
    def number(self) -> int:
        """The series number, 0 if it has none."""
        return self.frames[0].image.series_number or 0

    def place(self, labels: LabelMap) -> LabelMap:
        """Labels on a part of the grid, on the whole of it; the rest is background.

        Raises
        ------
        InputError
            If their voxels are not voxels of the grid.
        """
        if labels.geometry.same_as(self.geometry):
            return LabelMap(labels.labels, self.geometry, labels.case, warnings=labels.warnings)
        where = part_of(self.geometry, labels.geometry)
        if where is None:
            raise InputError(f"{self.name}: {_other_grid(labels.geometry, self.geometry)}")
        whole = np.zeros(self.geometry.shape, np.uint8)
        whole[where] = labels.labels
        return LabelMap(whole, self.geometry, labels.case, warnings=labels.warnings)

    def to_slices(self, labels: NDArray) -> NDArray:
        """Canonical labels on the slices as stored, ``(n, rows, columns)`` in order of `frames`."""
        return self.grid.to_slices(labels)


def open_source(
    path: str | Path,
    geometry: Geometry,
    *,
    series: str | None = None,
    case: str = "",
    referable: bool = True,
) -> SourceSeries:
    """Find the series that labels on ``geometry`` belong to.

    Parameters
    ----------
    path
        A DICOM folder, zip or file.
    geometry
        The labels' canonical grid: that of the series, or a part of it.
    series
        The series' UID (`list_series`); else the one named by ``case``, else the only one whose
        grid holds the labels.
    case
        The labels' case: the pseudonym of their series, if they were made from DICOM.
    referable
        Whether DICOM is to be written that refers to the series, which must have what that takes.

    Raises
    ------
    InputError
        If the input is not DICOM, no series holds the labels or several do, or the series lacks
        what a reference to it needs. One line says which; it names no patient.
    """
    path = Path(path)
    if (kind := sniff(path)) is not Kind.DICOM:
        raise InputError(
            f"{path.name}: this is {kind.value}, but DICOM SEG, SR and RTSTRUCT refer to the DICOM "
            "series of the scan; name that with --source, or export as nifti, nrrd or seg-nrrd"
        )
    with open_members(path) as members, quiet_pydicom():
        found, _ = scan_series(members, path.name)
        chosen, grid = _choose(found, path.name, geometry, series, case)
        return _source(chosen, grid, path.name, case, referable)


def _choose(
    found: list[Series], name: str, geometry: Geometry, uid: str | None, case: str
) -> tuple[Series, SeriesGrid]:
    loadable = [one for one in found if not one.problem]
    if uid is not None:
        loadable = [one for one in loadable if one.uid == uid.strip()]
    if not loadable:
        which = "CT series can be read here" if uid is None else "readable series here has that UID"
        raise InputError(f"{name}: no {which}; covseg info lists them")
    grids = [(one, grid_of(one.frames)) for one in loadable]
    fitting = [(one, grid) for one, grid in grids if _holds(grid.geometry, geometry)]
    if not fitting:
        nearest = min(grids, key=lambda pair: pair[1].geometry.shape != geometry.shape)
        raise InputError(f"{name}: {_other_grid(geometry, nearest[1].geometry)}")
    named = [(one, grid) for one, grid in fitting if pseudonym(one) == case]
    if len(named or fitting) > 1:
        raise InputError(
            f"{name}: {len(fitting)} series have the grid of the labels; say which one they are of "
            "with --series UID (covseg info lists them)"
        )
    return (named or fitting)[0]


def _holds(whole: Geometry, part: Geometry) -> bool:
    return part.same_as(whole) or part_of(whole, part) is not None


def _other_grid(labels: Geometry, series: Geometry) -> str:
    def written(grid: Geometry) -> str:
        sizes = " x ".join(str(n) for n in grid.shape[::-1])
        spacing = " x ".join(f"{mm:.3g}" for mm in grid.spacing_mm[::-1])
        return f"{sizes} voxels of {spacing} mm"

    if labels.shape == series.shape:
        return "the labels lie elsewhere than the slices of the series; expected the same positions"
    return (
        f"the labels' grid ({written(labels)}) is not that of the series ({written(series)}); "
        "segment the series itself, or name the right one"
    )


def _source(
    series: Series, grid: SeriesGrid, name: str, case: str, referable: bool
) -> SourceSeries:
    header = _read_header(series, name)
    if referable:
        _check_referable(series, header, name)
    own = pseudonym(series)
    notes: tuple[str, ...] = ()
    if _PSEUDONYM.match(case) and case != own:
        notes = (f"the labels are named {case}, this series is {own}: are they of this scan?",)
    return SourceSeries(name, own, series.frames, grid, header, notes)


def _check_referable(series: Series, header: Dataset, name: str) -> None:
    missing = [tag for tag in (*_REQUIRED, "FrameOfReferenceUID") if not header.get(tag)]
    if missing:
        raise InputError(
            f"{name}: the series has no {missing[0]}, which DICOM SEG, SR and RTSTRUCT must "
            "refer to; export as nifti, nrrd or seg-nrrd, or use the series as the scanner sent it"
        )
    image = series.image
    if _is_multiframe(image) and len(series.frames) != image.frames:
        raise InputError(
            f"{name}: its multi-frame files do not hold just the volume's {len(series.frames)} "
            "slices; DICOM SEG, SR and RTSTRUCT need one file with all of them, and no other; "
            "export as nifti, nrrd or seg-nrrd"
        )


def _is_multiframe(image: Image) -> bool:
    return image.is_multiframe or image.sop_class.startswith(_MULTIFRAME_CLASSES)


def _read_header(series: Series, name: str) -> Dataset:
    """The first slice's header; all slices must lie in one frame of reference."""
    from pydicom import dcmread

    header: Dataset | None = None
    frames_of_reference: set[str] = set()
    for frame in {id(frame.image): frame for frame in series.frames}.values():
        try:
            with frame.image.member.open_whole() as file:
                if header is None:
                    header = dcmread(file, stop_before_pixels=True, force=True)
                    read = header
                else:
                    read = dcmread(
                        file,
                        stop_before_pixels=True,
                        force=True,
                        specific_tags=["FrameOfReferenceUID"],
                    )
        except Exception:  # pydicom raises many kinds on damaged input, all meaning this
            raise InputError(f"{name}: a DICOM header is damaged or cut off") from None
        frames_of_reference.add(str(read.get("FrameOfReferenceUID", "")))
    if header is None or len(frames_of_reference) > 1:
        raise InputError(f"{name}: the slices of the series lie in different frames of reference")
    return header
