"""Which slices make a volume, and which volume of a folder is the CT to read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from napari_covseg.io.dicom_header import Frame, Image
from napari_covseg.io.dicom_syntax import DECODED_SYNTAXES, syntax_name

SAME_POSITION_MM = 0.01
LARGE_GAP_MM = 25.0
LARGE_GAP_STEPS = 5.0
"""A gap wider than both, in mm and in usual gaps, parts a series: nothing is known in between."""

_SAME_COSINE = 2e-3
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


def normal_of(frame: Frame) -> NDArray[np.float64]:
    """Unit normal of a slice with an orientation: row cosines cross column cosines."""
    cosines = np.array(frame.orientation, dtype=np.float64)
    normal = np.cross(cosines[:3], cosines[3:])
    return np.asarray(normal / np.linalg.norm(normal))


def heights(frames: Sequence[Frame]) -> NDArray[np.float64]:
    """Positions along the first slice's normal in mm, shape ``(n,)``."""
    positions = np.array([frame.position for frame in frames], dtype=np.float64)
    return np.asarray(positions @ normal_of(frames[0]))


def _rank(series: Series) -> tuple:
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
        groups[problem_of(frame), image.rows, image.columns, file].append(frame)
    parts: list[Series] = []
    for (problem, *_), members in groups.items():
        if problem:
            parts.append(Series(uid, tuple(sorted(members, key=_name_order)), problem))
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


def problem_of(frame: Frame) -> str:
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


def _name_order(frame: Frame) -> tuple:
    return (frame.image.member.name, frame.index)


def _stacks(uid: str, frames: list[Frame]) -> list[Series]:
    """Stacks of parallel slices of one size, each position once, without large gaps."""
    series = []
    for parallel in _parallel(frames):
        unique, copies = _without_copies(parallel)
        notes = _counted(
            copies, "slice is a copy of another and was", "slices are copies of others"
        )
        for once in _each_position_once(unique):
            ordered = [once[i] for i in np.argsort(heights(once), kind="stable")]
            series += [Series(uid, tuple(part), notes=notes) for part in _without_gaps(ordered)]
    return series


def _counted(count: int, one: str, many: str) -> tuple[str, ...]:
    if not count:
        return ()
    return (f"1 {one} left out" if count == 1 else f"{count} {many}: left out",)


def _parallel(frames: list[Frame]) -> list[list[Frame]]:
    """Groups of one orientation and pixel size."""
    groups: list[tuple[NDArray, list[Frame]]] = []
    for frame in frames:
        key = np.array([*(frame.orientation or ()), *np.log(frame.spacing or ())])
        for known, members in groups:
            if np.abs(known - key).max() < _SAME_COSINE:
                members.append(frame)
                break
        else:
            groups.append((key, [frame]))
    return [members for _, members in groups]


def _without_copies(frames: list[Frame]) -> tuple[list[Frame], int]:
    """Each instance once (a file may lie there twice), and how many copies were dropped."""
    kept: dict[tuple, Frame] = {}
    for frame in sorted(frames, key=_name_order):
        key = (frame.image.sop_uid or frame.image.member.name, frame.index)
        kept.setdefault(key, frame)
    return list(kept.values()), len(frames) - len(kept)


def _each_position_once(frames: list[Frame]) -> list[list[Frame]]:
    """Part time points or reconstructions: no result holds two slices at one position.

    By the first header value that parts them (time point, acquisition, kernel, ...), else in the
    order of instance numbers, first of each position with first.
    """
    if not _has_doubles(frames):
        return [frames]
    splits = [_by_key(frames, i) for i in range(len(frames[0].keys))]
    clean = [groups for groups in splits if not any(map(_has_doubles, groups))]
    best = min(clean, key=len, default=[])
    # A value that differs from slice to slice parts everything: it tells no time points apart.
    if max(map(len, best), default=0) * 2 >= len(set(_places(frames))):
        return best
    return _by_occurrence(frames)


def _by_key(frames: list[Frame], i: int) -> list[list[Frame]]:
    groups: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        groups[frame.keys[i]].append(frame)
    return list(groups.values())


def _by_occurrence(frames: list[Frame]) -> list[list[Frame]]:
    places = _places(frames)
    order = sorted(range(len(frames)), key=lambda i: (frames[i].number, _name_order(frames[i])))
    seen: Counter[int] = Counter()
    groups: dict[int, list[Frame]] = defaultdict(list)
    for i in order:
        groups[seen[places[i]]].append(frames[i])
        seen[places[i]] += 1
    return list(groups.values())


def _places(frames: list[Frame]) -> list[int]:
    """A number for each slice's position, the same for slices at one position."""
    along = heights(frames)
    order = np.argsort(along, kind="stable")
    steps = np.diff(along[order], prepend=along[order[0]]) > SAME_POSITION_MM
    places = np.empty(len(frames), dtype=int)
    places[order] = np.cumsum(steps)
    return [int(place) for place in places]


def _has_doubles(frames: list[Frame]) -> bool:
    return len(set(_places(frames))) < len(frames)


def _without_gaps(frames: list[Frame]) -> list[list[Frame]]:
    """Part an ordered stack where a gap is far wider than usual."""
    if len(frames) < 3:
        return [frames]
    gaps = np.diff(heights(frames))
    limit = max(LARGE_GAP_MM, LARGE_GAP_STEPS * float(np.median(gaps)))
    cuts = [0, *(np.flatnonzero(gaps > limit) + 1), len(frames)]
    return [frames[start:end] for start, end in pairwise(cuts)]
