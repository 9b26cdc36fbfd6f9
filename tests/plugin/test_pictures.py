"""A slice as a picture: grey by the window, labels in their colours."""

import numpy as np

from napari_covseg.domain.labels import Label
from napari_covseg.plugin.pictures import Overlay, painted, upright
from napari_covseg.plugin.planes import AXIAL, CORONAL, SAGITTAL


def test_grey_runs_between_the_limits():
    hu = np.array([[-2000, -1000, 0, 500, 1000, 3000]], np.int16)
    assert painted(hu, (-1000, 1000), ())[0, :, 0].tolist() == [0, 0, 127, 191, 255, 255]


def test_labels_lie_over_it_filled_or_as_outlines():
    hu = np.full((5, 5), -1000, np.int16)
    labels = np.zeros((5, 5), np.uint8)
    labels[1:4, 1:4] = Label.GGO
    filled = painted(hu, (-1000, 1000), [Overlay(labels, 1.0, False)])
    assert filled[2, 2].tolist() == [0xFF, 0xB0, 0x00]
    assert filled[0, 0].tolist() == [0, 0, 0]
    half = painted(hu, (-1000, 1000), [Overlay(labels, 0.5, False)])
    assert half[2, 2].tolist() == [127, 88, 0]
    outlined = painted(hu, (-1000, 1000), [Overlay(labels, 1.0, True)])
    assert outlined[2, 2].tolist() == [0, 0, 0]
    assert outlined[1, 1].tolist() == [0xFF, 0xB0, 0x00]


def test_superior_is_up_and_anterior_in_axial_slices():
    rows = np.arange(3)[:, None]
    assert upright(rows, AXIAL)[0, 0] == 0
    assert upright(rows, CORONAL)[0, 0] == 2
    assert upright(rows, SAGITTAL)[0, 0] == 2
