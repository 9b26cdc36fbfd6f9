"""Voxels of each class in each lung, kept up to date by edits: the volume is counted once only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.editing.edit import Edit

_N = len(Label)


class Tally:
    """How many voxels have each pair of labels: one of the lungs' layer, one of the lesions'.

    ``pairs[a, b]`` counts voxels with lung label ``a`` and lesion label ``b``. What is no `Label`
    counts as ignored.
    """

    def __init__(self, pairs: NDArray[np.int64]) -> None:
        self.pairs = pairs

    def edit_lesions(self, edit: Edit, lungs: NDArray[np.integer] | None) -> None:
        """Take in an edit of the lesions; ``lungs`` is what lies under them."""
        under = _under(edit, lungs)
        np.subtract.at(self.pairs, (under, _known(edit.before)), 1)
        np.add.at(self.pairs, (under, _known(edit.after)), 1)

    def edit_lungs(self, edit: Edit, lesions: NDArray[np.integer] | None) -> None:
        """Take in an edit of the lungs; ``lesions`` is what lies over them."""
        over = _under(edit, lesions)
        np.subtract.at(self.pairs, (_known(edit.before), over), 1)
        np.add.at(self.pairs, (_known(edit.after), over), 1)

    def by_side(self) -> NDArray[np.int64]:
        """Voxels of each label, lesions over lungs: ``(3, 8)`` for unknown side, left and right.

        A lesion is on the side of the lung under it.
        """
        counts = np.zeros((3, _N), np.int64)
        for lung in range(_N):
            side = lung if lung in (Label.LEFT_LUNG, Label.RIGHT_LUNG) else 0
            counts[side, 1:] += self.pairs[lung, 1:]
            counts[side, lung] += self.pairs[lung, 0]
        return counts


def count(lungs: NDArray[np.integer] | None, lesions: NDArray[np.integer] | None) -> Steps[Tally]:
    """Count two volumes of one shape once, slice by slice; a layer that is not there is all 0."""
    known = lesions if lungs is None else lungs
    if known is None:
        raise ValueError("expected at least one of lungs and lesions")
    pairs = np.zeros(_N * _N, np.int64)
    for z in range(len(known)):
        if z % 16 == 0:
            yield Progress(z, len(known), "counting")
        a = np.uint8(0) if lungs is None else _known(lungs[z])
        b = np.uint8(0) if lesions is None else _known(lesions[z])
        joint = np.asarray(a * np.uint8(_N) + b).ravel()
        pairs += np.bincount(joint, minlength=len(pairs))
    return Tally(pairs.reshape(_N, _N))


def _under(edit: Edit, other: NDArray[np.integer] | None) -> NDArray[np.integer]:
    if other is None:
        return np.zeros(edit.count, np.uint8)
    return _known(other[edit.where])


def _known(labels: NDArray[np.integer]) -> NDArray[np.uint8]:
    return np.asarray(np.minimum(labels, int(Label.IGNORE)), np.uint8)
