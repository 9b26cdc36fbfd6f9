"""A map of uncertainty added up by slice and region, and kept in a store."""

import nibabel as nib
import numpy as np
import pytest
from small_stores import MODEL, new_store

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.geometry import Geometry, Reorientation
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io.fractions import read_fractions
from napari_covseg.io.write import write_fractions
from napari_covseg.workflows.uncertainty import (
    REGIONS,
    case_uncertainty,
    keep_map,
    map_path,
    uncertainty_map,
)

SHAPE = (9, 20, 40)
GRID = Geometry.from_spacing(SHAPE, (10.0, 5.0, 5.0))
VOXEL_ML = 0.25


@pytest.fixture
def labels():
    """A left lung (x to the left) and a right one, equal in every slice; GGO in the left."""
    array = np.zeros(SHAPE, np.uint8)
    array[:, 5:15, 4:16] = 2
    array[:, 5:15, 24:36] = 1
    array[8, 5:10, 24:36] = 3
    return LabelMap(array, GRID)


def test_what_is_uncertain_is_counted_where_it_lies(labels):
    unsure = np.zeros(SHAPE, np.uint8)
    unsure[1, 5:9, 24:30] = 255  # left, lower third
    unsure[4, 5:9, 4:10] = 51  # right, middle third
    unsure[7, 3:5, 26:36] = 102  # just outside the left lung, upper third
    found = case_uncertainty(unsure, labels)
    expected = np.zeros(9)
    expected[[1, 4, 7]] = 24 * VOXEL_ML, 24 * 0.2 * VOXEL_ML, 20 * 0.4 * VOXEL_ML
    np.testing.assert_allclose(found.by_slice_ml, expected, atol=1e-9)
    assert found.total_ml == pytest.approx(expected.sum())
    assert found.most == 1
    third = 3 * 120  # lung voxels in a third of one side
    regions = {"left lower": 24 / third, "right middle": 4.8 / third, "left upper": 8 / third}
    assert found.by_region == pytest.approx({name: regions.get(name, 0.0) for name in REGIONS})
    assert found.lesions == pytest.approx(
        {name: 60 / third if name == "left upper" else 0.0 for name in REGIONS}
    )


def test_a_score_for_the_queue(labels):
    unsure = np.zeros(SHAPE, np.uint8)
    unsure[6, 5, 30] = 255
    score = case_uncertainty(unsure, labels).score("case_0001", MODEL)
    assert (score.case, score.model, score.slice) == ("case_0001", MODEL, 6)
    assert score.value == pytest.approx(VOXEL_ML)
    assert len(score.features) == 12
    assert score.features[2] == pytest.approx(1 / 6)  # lesions, left upper
    assert score.features[6 + 2] == pytest.approx(1 / 360)
    assert score.detail["uncertain_ml"] == VOXEL_ML


def test_more_uncertainty_is_more_benefit_and_none_is_none(labels):
    values = [
        case_uncertainty(np.full(SHAPE, level, np.uint8), labels).total_ml for level in (0, 60, 90)
    ]
    assert values[0] == 0 < values[1] < values[2]
    assert case_uncertainty(np.zeros(SHAPE, np.uint8), labels).most is None


def test_where_no_lung_was_found_what_is_unsure_still_counts():
    empty = LabelMap(np.zeros(SHAPE, np.uint8), GRID)
    unsure = np.zeros(SHAPE, np.uint8)
    unsure[2, 4, :8] = 255
    found = case_uncertainty(unsure, empty)
    assert found.total_ml == pytest.approx(8 * VOXEL_ML)
    assert found.most == 2
    assert set(found.by_region.values()) == {0.0}


def test_maps_lie_in_the_file_as_fractions_on_its_own_grid(tmp_path):
    turned = LabelMap(np.zeros(SHAPE, np.uint8), GRID, "", Reorientation(flips=(True, False, True)))
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, SHAPE, np.uint8)
    path = write_fractions(values, turned, tmp_path / "map.nii.gz")
    image = nib.load(path)
    seen = image.get_fdata().T[::-1, :, ::-1]
    np.testing.assert_allclose(seen, values / 255, atol=1e-6)
    np.testing.assert_array_equal(read_fractions(path, GRID), values)
    other = Geometry.from_spacing(SHAPE, (9.0, 5.0, 5.0))
    with pytest.raises(InputError, match=r"map\.nii\.gz: expected a map of 0 to 1"):
        read_fractions(path, other)


def test_the_store_keeps_maps_by_model_and_does_not_mind_losing_them(tmp_path):
    store = new_store(tmp_path / "store")
    volume = store.image("case_0001")
    values = np.random.default_rng(0).integers(0, 256, volume.hu.shape, np.uint8)
    assert uncertainty_map(store, "case_0001", MODEL) is None
    keep_map(store, "case_0001", MODEL, values, LabelMap.like(volume, values * 0))
    np.testing.assert_array_equal(uncertainty_map(store, "case_0001", MODEL), values)
    assert uncertainty_map(store, "case_0001", "b" * 64) is None
    assert store.verify() == []
    path = map_path(store, "case_0001", MODEL)
    assert path.relative_to(store.folder).as_posix() == "uncertainty/aaaaaaaaaaaa/case_0001.nii.gz"
    path.write_bytes(path.read_bytes()[:60])
    assert uncertainty_map(store, "case_0001", MODEL) is None
    path.unlink()
    assert uncertainty_map(store, "case_0001", MODEL) is None
    with pytest.raises(InputError, match="case_0009"):
        uncertainty_map(store, "case_0009", MODEL)
