import numpy as np
import pytest
from block_lungs import SHAPE, as_map, blocks, measured

from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import Label
from napari_covseg.quantify.doubt import Doubt

GRID = as_map(blocks()).geometry
LUNG = 24000  # voxels of the left lung


def of_lung(*voxels):
    return pytest.approx(tuple(100 * many / LUNG for many in voxels))


def labels_and_maps():
    """200 voxels of GGO, half of them sure, beside 50 that nearly were; 100 of consolidation."""
    labels = blocks()
    labels[6:8, 20:30, 62:72] = Label.GGO
    labels[8, 20:30, 62:72] = Label.CONSOLIDATION
    likely = np.zeros((2, *SHAPE), np.uint8)
    likely[0, 6, 20:30, 62:72] = 250
    likely[0, 7, 20:30, 62:72] = 150
    likely[0, 8, 20:30, 62:72] = 252
    likely[0, 9, 20:25, 62:72] = 60
    likely[0, 10, 20:25, 62:72] = 10  # hardly
    likely[1, 8, 20:30, 62:72] = 150
    return labels, likely


def left(labels, likely, **more):
    return measured(labels, doubt=Doubt(GRID, likely, **more)).parts["left"]


def test_shifted_decisions_bound_the_percentage():
    labels, likely = labels_and_maps()
    found = left(labels, likely[:1])
    assert found.lesions.percent == pytest.approx(100 * 300 / LUNG)
    assert found.lesions.percent_range == of_lung(200, 350)
    assert found.high_opacity.percent_range == of_lung(100, 100)
    assert found.ggo.percent_range is None
    assert found.consolidation.percent_range is None


def test_classes_have_ranges_where_the_model_tells_them_apart():
    labels, likely = labels_and_maps()
    found = left(labels, likely)
    assert found.lesions.percent_range == of_lung(200, 350)
    # None of the consolidation is sure, and all of it may be GGO.
    assert found.consolidation.percent_range == of_lung(0, 100)
    assert found.ggo.percent_range == of_lung(100, 350)


def test_a_larger_shift_gives_a_wider_range_and_none_gives_the_labels():
    labels, likely = labels_and_maps()
    assert left(labels, likely, shift=0.0).lesions.percent_range == of_lung(300, 300)
    assert left(labels, likely, shift=1.0).lesions.percent_range == of_lung(200, 300)
    assert left(labels, likely, shift=3.5).lesions.percent_range == of_lung(200, 400)


def test_what_was_corrected_is_in_doubt_no_more():
    labels, likely = labels_and_maps()
    labels[7, 20:30, 62:72] = Label.LEFT_LUNG  # no lesion, after all
    found = left(labels, likely)
    assert found.lesions.percent_range == of_lung(200, 250)
    labels[9, 20:25, 62:72] = Label.CONSOLIDATION  # but one here
    found = left(labels, likely)
    assert found.lesions.percent_range == of_lung(250, 250)
    assert found.consolidation.percent_range == of_lung(50, 150)
    labels[8, 20:30, 62:72] = Label.GGO  # and this is not consolidation
    found = left(labels, likely)
    assert found.consolidation.percent_range == of_lung(50, 50)
    assert found.ggo.percent_range == of_lung(200, 200)
    assert found.lesions.percent_range == of_lung(250, 250)


def test_a_painted_infection_of_unknown_class_is_a_lesion_for_certain():
    labels, likely = labels_and_maps()
    labels[8, 20:30, 62:72] = Label.INFECTION
    found = left(labels, likely)
    assert found.consolidation.percent_range == of_lung(0, 0)
    assert found.lesions.percent_range == of_lung(200, 350)


def test_reviewed_slices_are_in_doubt_no_more():
    labels, likely = labels_and_maps()
    reviewed = np.zeros(SHAPE[0], bool)
    reviewed[7] = True
    assert left(labels, likely, reviewed=reviewed).lesions.percent_range == of_lung(300, 350)
    reviewed[:] = True
    found = left(labels, likely, reviewed=reviewed)
    assert found.lesions.percent_range == of_lung(300, 300)
    assert found.ggo.percent_range == of_lung(200, 200)


def test_scores_have_ranges():
    labels, likely = labels_and_maps()
    scores = measured(labels, doubt=Doubt(GRID, likely)).scores
    assert scores["ct_score_25"].value_range == (1, 1)
    likely[0, 2:32, 10:50, 10:40] = 100  # nearly all of the right lung
    scores = measured(labels, doubt=Doubt(GRID, likely)).scores
    assert scores["ct_score_25"].value_range == (1, 16)
    assert scores["ct_score_25"].value == 1
    assert scores["ct_severity_score"].value_range[1] > scores["ct_severity_score"].value


def test_maps_must_fit():
    grid = Geometry.from_spacing((2, 2, 2), (1, 1, 1))
    with pytest.raises(ValueError, match="grid"):
        Doubt(grid, np.zeros((1, 2, 2, 3), np.uint8))
    with pytest.raises(ValueError, match="one or two"):
        Doubt(grid, np.zeros((3, 2, 2, 2), np.uint8))
    with pytest.raises(ValueError, match="bytes"):
        Doubt(grid, np.zeros((1, 2, 2, 2), np.float32))
    with pytest.raises(ValueError, match="slice"):
        Doubt(grid, np.zeros((1, 2, 2, 2), np.uint8), np.zeros(3, bool))
