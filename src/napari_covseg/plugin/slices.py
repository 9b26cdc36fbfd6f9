"""Which axial slices of a CT were reviewed, and which were painted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_covseg.domain.labels import LESION_LABELS
from napari_covseg.editing.edit import Edit


class Slices:
    """The axial slices of a volume of this ``(z, y, x)`` shape; ``changed`` tells of marks.

    ``reviewed`` says of each slice whether somebody looked at it and left it right, ``lesions``
    whether it holds a lesion. ``painted`` holds for each lesion label the slices painted with it,
    and where.
    """

    changed = Signal()

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._size = shape[1:]
        self.reviewed: NDArray[np.bool_] = np.zeros(shape[0], bool)
        self.lesions: NDArray[np.bool_] = np.zeros(shape[0], bool)
        self.painted: dict[int, dict[int, NDArray[np.bool_]]] = {}

    def mark(self, z: int, reviewed: bool = True) -> None:
        """Mark a slice as reviewed, or take the mark away."""
        if self.reviewed[z] != reviewed:
            self.reviewed[z] = reviewed
            self.changed.emit()

    def take_reviewed(self, reviewed: NDArray[np.bool_]) -> None:
        """Take all marks from elsewhere."""
        self.reviewed[:] = reviewed
        self.changed.emit()

    def next_unreviewed(self, z: int) -> int | None:
        """The next slice above ``z`` that was not reviewed, else the lowest one; None if none."""
        left = np.flatnonzero(~self.reviewed)
        if not len(left):
            return None
        above = left[left > z]
        return int(above[0] if len(above) else left[0])

    def look_for_lesions(self, labels: NDArray[np.integer], part: slice = slice(None)) -> None:
        """See which slices of ``part`` hold a lesion in ``labels``, ``(z, y, x)``."""
        for z in range(*part.indices(len(self.lesions))):
            self.lesions[z] = labels[z].any()

    def note(self, edit: Edit, shown: int) -> None:
        """An edit made in the axial plane: a slice that was painted was looked at.

        What changes several slices at once, or one that is not shown, says nothing of the kind.
        """
        part = edit.box[0]
        if part.stop - part.start != 1:
            return
        z, value = part.start, int(edit.after[0])
        if value in LESION_LABELS and (edit.after == value).all():
            slices = self.painted.setdefault(value, {})
            if z not in slices:
                slices[z] = np.zeros(self._size, bool)
            slices[z][edit.where[1:]] = True
        if z == shown:
            self.mark(z)

    def forget_painted(self, value: int) -> None:
        """Start anew with what was painted with a label."""
        self.painted.pop(value, None)
        self.changed.emit()
