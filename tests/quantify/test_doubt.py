import numpy as np
import pytest
from block_lungs import SHAPE, as_map, blocks, measured

from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import Label
from napari_covseg.quantify.doubt import UNSURE_BITS, Doubt

GRID = as_map(blocks()).geometry


def labels_and_probabilities():
    """200 voxels of GGO, half of them sure, beside 50 that nearly were; 100 of consolidation."""
    labels = blocks()
    labels[6, 20:30, 62:72] = Label.GGO
    labels[7, 20:30, 62:72] = Label.GGO
    labels[8, 20:30, 62:72] = Label.CONSOLIDATION
    lesion = np.full(SHAPE, 0.01, np.float32)
    lesion[6, 20:30, 62:72] = 0.9
    lesion[7, 20:30, 62:72] = 0.6
    lesion[8, 20:30, 62:72] = 0.99
    lesion[9, 20:25, 62:72] = 0.3
    lesion[15, 0:5, 0:10] = 0.6  # outside the lungs
    solid = np.zeros(SHAPE, np.float32)
    solid[8, 20:30, 62:72] = 0.6
    return labels, lesion, solid


def test_shifted_decisions_bound_the_percentage():
    labels, lesion, _ = labels_and_probabilities()
    left = measured(labels, doubt=Doubt(GRID, lesion=lesion)).parts["left"]
    assert left.lesions.percent == pytest.approx(100 * 300 / 24000)
    assert left.lesions.percent_range == pytest.approx((100 * 200 / 24000, 100 * 350 / 24000))
    assert left.high_opacity.percent_range == pytest.approx((100 * 100 / 24000, 100 * 100 / 24000))
    assert left.ggo.percent_range is None


def test_classes_have_intervals_where_they_have_probabilities():
    labels, lesion, solid = labels_and_probabilities()
    left = measured(labels, doubt=Doubt(GRID, lesion=lesion, consolidation=solid)).parts["left"]
    # Consolidation at 0.6 is not sure; GGO may be what its lesion leaves: 0.99 - 0.6 = 0.39.
    assert left.consolidation.percent_range == pytest.approx((0.0, 100 * 100 / 24000))
    assert left.ggo.percent_range == pytest.approx((100 * 100 / 24000, 100 * 350 / 24000))


def test_bytes_are_probabilities_too():
    labels, lesion, _ = labels_and_probabilities()
    as_bytes = np.rint(lesion * 255).astype(np.uint8)
    one = measured(labels, doubt=Doubt(GRID, lesion=lesion)).parts
    other = measured(labels, doubt=Doubt(GRID, lesion=as_bytes)).parts
    assert one == other


def test_the_labels_stay_inside_even_where_they_were_corrected_by_hand():
    labels, lesion, _ = labels_and_probabilities()
    found = measured(labels, doubt=Doubt(GRID, lesion=np.zeros_like(lesion))).parts["left"]
    assert found.lesions.percent_range == pytest.approx((0.0, found.lesions.percent))
    found = measured(labels, doubt=Doubt(GRID, lesion=np.ones_like(lesion))).parts["left"]
    assert found.lesions.percent_range == pytest.approx((found.lesions.percent, 100.0))


def test_entropy_leaves_out_or_adds_what_is_unsure():
    labels = blocks()
    labels[6, 20:30, 62:72] = Label.GGO
    bits = np.zeros(SHAPE, np.float32)
    bits[6, 20:24, 62:72] = 0.95  # 40 of the 100
    bits[7, 20:22, 62:72] = 0.82  # 20 healthy ones
    bits[8, 20:22, 62:72] = 0.80  # sure enough
    left = measured(labels, doubt=Doubt(GRID, entropy_bits=bits)).parts["left"]
    expected = (100 * 60 / 24000, 100 * 120 / 24000)
    assert left.lesions.percent_range == pytest.approx(expected)
    assert left.ggo.percent_range == pytest.approx(expected)
    assert pytest.approx(0.8113, abs=1e-4) == UNSURE_BITS


def test_scores_have_intervals():
    labels, lesion, _ = labels_and_probabilities()
    scores = measured(labels, doubt=Doubt(GRID, lesion=lesion)).scores
    assert scores["ct_score_25"].value_range == (1, 1)
    lesion[2:32, 10:50, 10:40] = 0.4  # nearly all of the right lung
    scores = measured(labels, doubt=Doubt(GRID, lesion=lesion)).scores
    assert scores["ct_score_25"].value_range == (1, 16)
    assert scores["ct_score_25"].value == 1


def test_maps_must_fit_and_make_sense():
    with pytest.raises(ValueError, match="grid"):
        Doubt(Geometry.from_spacing((2, 2, 2), (1, 1, 1)), lesion=np.zeros((2, 2, 3)))
    with pytest.raises(ValueError, match="either"):
        Doubt(GRID)
    with pytest.raises(ValueError, match="needs"):
        Doubt(GRID, entropy_bits=np.zeros(SHAPE), consolidation=np.zeros(SHAPE))
