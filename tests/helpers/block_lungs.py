"""Lungs made of blocks, whose every figure can be worked out by hand."""

from __future__ import annotations

import numpy as np

from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.quantify.case import quantify

SHAPE, SPACING = (34, 60, 100), (5.0, 2.0, 2.0)  # 0.02 ml a voxel
RIGHT = (slice(2, 32), slice(10, 50), slice(10, 40))  # 30 x 40 x 30 voxels: 720 ml
LEFT = (slice(2, 32), slice(10, 50), slice(60, 80))  # 30 x 40 x 20 voxels: 480 ml
AIR_HU, LUNG_HU, GGO_HU, SOLID_HU = -1000, -850, -500, 0


def blocks():
    """Right lung at low x (the patient's right), left lung at high x."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[RIGHT], labels[LEFT] = Label.RIGHT_LUNG, Label.LEFT_LUNG
    return labels


def as_map(labels, spacing=SPACING):
    return LabelMap(labels, Geometry.from_spacing(labels.shape, spacing), "case")


def as_volume(labels, spacing=SPACING):
    """A CT in which every label has its density."""
    hu = np.full(labels.shape, AIR_HU, np.int16)
    hu[labels > 0] = LUNG_HU
    hu[labels == Label.GGO] = GGO_HU
    hu[labels == Label.CONSOLIDATION] = SOLID_HU
    return CTVolume(hu, Geometry.from_spacing(labels.shape, spacing), "case")


def measured(labels, *, with_ct=True, **others):
    """The quantification of a label array with `SPACING`."""
    volume = as_volume(labels) if with_ct else None
    return run_to_end(quantify(as_map(labels), volume, **others))
