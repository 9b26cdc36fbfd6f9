"""The frames of a DICOM SEG one by one: which segment, where, and of which source slice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_covseg.io.dicom_grid import Place, SeriesGrid, grid_at, stacking_of
from napari_covseg.io.dicom_regrid import spread_out
from napari_covseg.io.dicom_stacks import SAME_POSITION_MM, normal_of
from napari_covseg.io.dicom_values import Vector, first

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_MOST_SPREAD = 2.0


@dataclass(frozen=True, slots=True)
class SegFrame:
    """A frame: ``index`` counts from 0; ``source`` is the slice's SOP instance, or empty.

    ``source_frame`` counts from 1, as DICOM does; None if the source is a file of one slice.
    """

    index: int
    segment: int
    position: Vector | None
    source: str
    source_frame: int | None


def seg_frames(dataset: Dataset) -> list[SegFrame]:
    """What the functional groups say of each frame."""
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
    return [
        _frame(index, [group, *([shared] if shared is not None else [])])
        for index, group in enumerate(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    ]


def _frame(index: int, groups: list[Dataset]) -> SegFrame:
    segment = _item(groups, "SegmentIdentificationSequence")
    place = _item(groups, "PlanePositionSequence")
    derivation = _item(groups, "DerivationImageSequence")
    images = [] if derivation is None else derivation.get("SourceImageSequence") or []
    image = images[0] if images else None
    source_frame = None if image is None else image.get("ReferencedFrameNumber")
    return SegFrame(
        index,
        0 if segment is None else int(segment.ReferencedSegmentNumber),
        None if place is None else first([place], "ImagePositionPatient", 3),
        "" if image is None else str(image.ReferencedSOPInstanceUID),
        None if source_frame is None else int(source_frame),
    )


def _item(groups: list[Dataset], name: str) -> Dataset | None:
    return next((group[name].value[0] for group in groups if group.get(name)), None)


@dataclass(frozen=True, eq=False)
class SlicedSeg:
    """A SEG whose slices are not on a regular grid, resampled as their CT is (nearest slice)."""

    segmentation: Any
    grid: SeriesGrid
    frame_of: dict[tuple[int, int], int]
    """Index of the frame of a segment's slice."""

    @classmethod
    def of(cls, segmentation: Any) -> SlicedSeg | None:
        """None if the slices are on a regular grid, or the SEG does not say what is in each.

        It says so if every segment has a frame at every position: else nobody knows whether a gap
        is one of the scan or a slice without labels.
        """
        regular = segmentation.get_volume_geometry(allow_missing_positions=True) is not None
        if regular or str(segmentation.SegmentationType) != "BINARY":
            return None
        frames = seg_frames(segmentation)
        places = _places(segmentation, frames)
        if not places:
            return None
        along = np.array([place.position for place in places]) @ normal_of(places[0])
        order = np.argsort(along, kind="stable")
        steps = np.diff(along[order], prepend=-np.inf) > SAME_POSITION_MM
        slices = [places[i] for i in order[steps]]
        if len(frames) != len({frame.segment for frame in frames}) * len(slices):
            return None
        where = stacking_of(slices)
        size = int(segmentation.Rows), int(segmentation.Columns)
        field_mm = max(np.multiply(size, where.pixel_mm))
        if len(slices) < 2 or np.ptp(where.offsets_mm, axis=0).max() > _MOST_SPREAD * field_mm:
            return None
        numbers = np.cumsum(steps) - 1
        frame_of = {(frames[i].segment, int(k)): i for i, k in zip(order, numbers, strict=True)}
        return cls(segmentation, grid_at(where, slices[0], size, 1.0), frame_of)

    def mask(self, number: int) -> NDArray[np.bool_]:
        """Where a segment is on the grid, ``(z, y, x)`` in the order of the slices."""
        planes = np.zeros(self.grid.slices, np.bool_)
        for k in range(len(planes)):
            planes[k] = self.segmentation.get_stored_frame(self.frame_of[number, k] + 1)
        return planes if self.grid.stacking is None else spread_out(planes, self.grid.stacking)


def _places(segmentation: Any, frames: list[SegFrame]) -> list[Place]:
    """Where each frame lies; none if the SEG does not say so for all, or they are not parallel."""
    shared = list(segmentation.get("SharedFunctionalGroupsSequence") or [])
    plane = _item(shared, "PlaneOrientationSequence")
    pixel = _item(shared, "PixelMeasuresSequence")
    if plane is None or pixel is None:
        return []
    orientation = first([plane], "ImageOrientationPatient", 6)
    spacing = first([pixel], "PixelSpacing", 2)
    positions = [frame.position for frame in frames if frame.position is not None]
    if orientation is None or spacing is None or len(positions) < len(frames):
        return []
    return [Place(position, orientation, spacing) for position in positions]
