"""Which slices make a volume, and which volume of a folder is the CT to read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_covseg.io.dicom_header import Frame, Image
from napari_covseg.io.dicom_stacks import heights, name_order, normal_of, stacks
from napari_covseg.io.dicom_syntax import DECODED_SYNTAXES, syntax_name

_LEAST_SLOPE, _MOST_SLOPE, _MOST_OFFSET = 1e-4, 1e3, 1e5
_PLANES = ("sagittal", "coronal", "axial")
_MODALITIES = {
    "CR": "an X-ray", "DX": "an X-ray", "RG": "an X-ray", "PX": "an X-ray", "MG": "a mammogram",
    "XA": "an angiogram", "RF": "a fluoroscopy", "MR": "an MR image", "PT": "a PET image",
    "NM": "a scintigram", "US": "an ultrasound image", "SEG": "a segmentation",
    "OT": "an image of another kind", "SC": "a screen capture",
    "RTDOSE": "a dose map", "RTIMAGE": "a treatment image",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SeriesInfo:
    """A series as a person chooses it.

    ``uid`` is the SeriesInstanceUID; where one series holds several volumes (time points, other
    slice sizes, a multi-frame copy), the others are ``UID/2``, ``UID/3`` and so on. ``plane`` is
    axial, coronal, sagittal or empty, ``spacing_mm`` is ``(z, y, x)`` along slices, rows and
    columns. ``reason`` says why a series is not ``loadable``.
    """

    uid: str
    number: int | None
    description: str
    modality: str
    slices: int
    plane: str
    spacing_mm: tuple[float, float, float] | None
    loadable: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Series:
    """Slices of one volume, in order along their normal; ``problem`` if they make none.

    ``notes`` say what was left out and why.
    """

    uid: str
    frames: tuple[Frame, ...]
    problem: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def image(self) -> Image:
        """The first slice's file, which speaks for the series."""
        return self.frames[0].image

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector across the slices, LPS."""
        return normal_of(self.frames[0])

    @property
    def plane(self) -> str:
        """The patient's plane nearest to the slices', empty where they have no place."""
        if _problem_of_place(self.frames[0]):
            return ""
        return _PLANES[int(np.abs(self.normal).argmax())]

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """``(z, y, x)``; z is the usual distance between slices, or the thickness of a single."""
        first = self.frames[0]
        if first.spacing is None:
            return None
        across = first.thickness or 1.0
        if len(self.frames) > 1 and not self.problem:
            across = float(np.median(np.diff(heights(self.frames))))
        return (across, first.spacing[0], first.spacing[1])

    @property
    def info(self) -> SeriesInfo:
        """What a person sees of it."""
        image = self.image
        return SeriesInfo(
            uid=self.uid,
            number=image.series_number,
            description=image.description,
            modality=image.modality or ("CT" if image.is_ct else ""),
            slices=len(self.frames),
            plane=self.plane,
            spacing_mm=self.spacing_mm,
            loadable=not self.problem,
            reason=self.problem,
        )


def find_series(frames: Iterable[Frame]) -> list[Series]:
    """Sort slices into volumes, the one to read first.

    Loadable before not, axial before others, acquired before derived (reformatted, projected,
    captured from a screen), then by number of voxels. Within a series, slices of other sizes,
    orientations or time points make volumes of their own.
    """
    by_series: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        by_series[frame.image.series_uid].append(frame)
    found = [part for uid, members in by_series.items() for part in _volumes(uid, members)]
    return sorted(found, key=_rank)


def _rank(series: Series) -> tuple[Any, ...]:
    image = series.image
    voxels = len(series.frames) * image.rows * image.columns
    number = image.series_number
    return (
        bool(series.problem),
        not image.is_ct,
        series.plane != "axial",
        image.is_derived,
        -voxels,
        number if number is not None else 1 << 31,
        [int(part) if part.isdigit() else 0 for part in series.uid.replace("/", ".").split(".")],
    )


def _volumes(uid: str, frames: list[Frame]) -> list[Series]:
    """The volumes of one series; the best has the series' own UID."""
    groups: dict[tuple[str, int, int, str], list[Frame]] = defaultdict(list)
    for frame in frames:
        image = frame.image
        file = image.sop_uid if image.is_multiframe else ""
        groups[_problem_of(frame), image.rows, image.columns, file].append(frame)
    parts: list[Series] = []
    for (problem, *_), members in groups.items():
        if problem:
            parts.append(Series(uid, tuple(sorted(members, key=name_order)), problem))
        else:
            parts += _stacks(uid, members)
    parts.sort(key=_rank)
    loadable = sum(not part.problem for part in parts)
    note = f"the series holds {loadable} volumes: the largest was read, the others left out"
    notes = (note,) if loadable > 1 else ()
    return [
        replace(part, uid=f"{uid}/{i + 1}" if i else uid, notes=part.notes + (() if i else notes))
        for i, part in enumerate(parts)
    ]


def _problem_of(frame: Frame) -> str:
    """Why a slice cannot be part of a CT volume, empty if it can."""
    image = frame.image
    if not image.is_ct:
        name = _MODALITIES.get(image.modality, "an image")
        label = f"{name} ({image.modality})" if image.modality else "of no stated modality"
        return f"{label}, not a CT"
    if image.is_localizer:
        return "a localizer (scout), a projection without depth"
    if not image.has_pixels:
        return "there is no pixel data in it"
    if image.rows < 1 or image.columns < 1:
        return "the image size is missing"
    if image.samples != 1:
        return "a colour picture (screen capture), not a CT"
    if image.bits_allocated not in (8, 16, 32):
        return f"{image.bits_allocated} bits a voxel are not read, expected 8, 16 or 32"
    if image.syntax not in DECODED_SYNTAXES:
        return f"compressed as {syntax_name(image.syntax)}, which is not decoded; convert it first"
    if not _LEAST_SLOPE <= abs(frame.slope) <= _MOST_SLOPE or abs(frame.intercept) > _MOST_OFFSET:
        return f"its rescaling (slope {frame.slope:g}, intercept {frame.intercept:g}) gives no HU"
    if frame.unit:
        return f"the values are {frame.unit[:20]!r}, a map computed from a CT, not Hounsfield units"
    return _problem_of_place(frame)


def _problem_of_place(frame: Frame) -> str:
    if frame.spacing is None or min(frame.spacing) <= 0:
        return "the pixel spacing is missing, so nothing can be measured"
    if frame.position is None:
        return "the position in the patient is missing"
    if frame.orientation is None:
        return "the orientation in the patient is missing"
    row, column = np.array(frame.orientation[:3]), np.array(frame.orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if not np.allclose(lengths, 1, atol=1e-2) or abs(row @ column) > 1e-2:
        return "the orientation in the patient is invalid"
    return ""


def _stacks(uid: str, frames: list[Frame]) -> list[Series]:
    parts, copies = stacks(frames)
    notes: tuple[str, ...] = ()
    if copies:
        which = "1 slice is a copy of another" if copies == 1 else f"{copies} slices are copies"
        notes = (f"{which}: left out",)
    return [Series(uid, tuple(part), notes=notes) for part in parts]
