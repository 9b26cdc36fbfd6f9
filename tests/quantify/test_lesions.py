import numpy as np
import pytest
from block_lungs import as_map, as_volume, blocks, measured
from grids import grid

from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.quantify.case import quantify


def test_number_and_size_of_lesions():
    labels = blocks()
    labels[5:7, 20:30, 62:72] = Label.GGO  # 200 voxels
    labels[7, 20:25, 62:72] = Label.CONSOLIDATION  # 50 more of the same lesion
    labels[20, 20:30, 15:25] = Label.GGO  # 100
    labels[28, 20, 15:17] = Label.GGO  # a speck of 0.04 ml
    found = measured(labels).lesions
    assert (found.count, found.specks, found.touching_edge) == (2, 1, 0)
    first, second = found.listed
    assert (first.number, second.number) == (1, 2)
    assert (first.ml, second.ml) == pytest.approx((5.0, 2.0))
    assert (first.side, second.side) == ("left", "right")
    assert first.consolidation_percent == pytest.approx(20.0)
    assert first.mean_hu == pytest.approx(-400.0)
    assert first.mass_g == pytest.approx((200 * 0.5 + 50) * 0.02)
    assert found.largest == first
    assert second.slice_index == 20
    assert first.middle == (5, 24.5, 66.5)
    assert second.middle == (20, 24.5, 19.5)


def test_bodies_that_touch_by_a_corner_are_one():
    labels = blocks()
    labels[10, 20:24, 20:24] = Label.GGO
    labels[11, 24:28, 24:28] = Label.CONSOLIDATION
    assert measured(labels).lesions.count == 1
    labels[11] = blocks()[11]
    labels[12, 24:28, 24:28] = Label.CONSOLIDATION
    assert measured(labels).lesions.count == 2


def test_position_is_in_patient_millimetres():
    geometry = grid(degrees=(12, -8, 20), shape=(30, 30, 40))
    labels = np.zeros(geometry.shape, np.uint8)
    labels[4:26, 5:25, 5:18], labels[4:26, 5:25, 22:35] = Label.RIGHT_LUNG, Label.LEFT_LUNG
    labels[10:13, 10:15, 24:31] = Label.GGO
    found = run_to_end(quantify(LabelMap(labels, geometry))).lesions
    expected = geometry.affine @ [27.0, 12.0, 11.0, 1.0]
    assert found.largest.position_mm == pytest.approx(tuple(expected[:3]))
    assert found.largest.mean_hu is None


def test_slice_with_most_of_it():
    labels = blocks()
    labels[10, 20:24, 20:24] = Label.GGO
    labels[11, 20:30, 20:30] = Label.GGO
    labels[12, 20:24, 20:24] = Label.GGO
    assert measured(labels).lesions.largest.slice_index == 11


def test_a_single_slice_has_no_edges_above_and_below():
    labels = blocks()[5:6].copy()
    labels[0, 20:30, 20:30] = Label.GGO
    found = measured(labels).lesions
    assert found.largest.touches_edge is False
    assert found.largest.ml == pytest.approx(2.0)


def test_real_hu_of_floats_are_averaged():
    labels = blocks()
    labels[10, 20:30, 20:30] = Label.GGO
    volume = as_volume(labels)
    hu = volume.hu.astype(np.float32)
    hu[10, 20:30, 20:25] = -400.25
    hu[10, 20:30, 25:30] = -600.25
    floats = CTVolume(hu, volume.geometry, "case")
    found = run_to_end(quantify(as_map(labels), floats))
    assert found.lesions.largest.mean_hu == pytest.approx(-500.25)
    assert found.density["ggo"].mean_hu == pytest.approx(-500.0)
