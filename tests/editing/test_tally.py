"""Counts kept by edits are those of counting anew."""

import numpy as np
import pytest

from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import LabelMap
from napari_covseg.editing.edit import changed, whole
from napari_covseg.editing.tally import count
from napari_covseg.quantify.volumes import measure


def test_edits_keep_the_counts_right(lungs):
    rng = np.random.default_rng(5)
    lesions = np.zeros_like(lungs)
    tally = run_to_end(count(lungs, lesions))
    for turn in range(12):
        mask = rng.random(lungs.shape) < 0.05
        on_lungs = turn % 3 == 2
        array = lungs if on_lungs else lesions
        values = rng.integers(0, 3, array.shape) if on_lungs else rng.choice([0, 3, 4], array.shape)
        edit = changed(array, whole(array.shape), mask, values)
        if turn % 4 == 3:
            edit.apply(array)
            edit, array_after = edit.reverse, array
            array_after[edit.where] = edit.after
            continue  # done and undone: nothing to count
        edit.apply(array)
        if on_lungs:
            tally.edit_lungs(edit, lesions)
        else:
            tally.edit_lesions(edit, lungs)
        np.testing.assert_array_equal(tally.pairs, run_to_end(count(lungs, lesions)).pairs)
    assert tally.pairs.sum() == lungs.size


def test_sides_are_those_of_measuring(lungs):
    lesions = np.zeros_like(lungs)
    lesions[4:8, 10:20, 8:14], lesions[5, 10:20, 40:50] = 3, 4
    joined = np.where(lesions > 0, lesions, lungs)
    measured = measure(LabelMap(joined, Geometry.from_spacing(lungs.shape, (5.0, 1.0, 1.0))))
    counts = run_to_end(count(lungs, lesions)).by_side()
    ml = measured.voxel_ml
    assert counts[Label.LEFT_LUNG, Label.CONSOLIDATION] * ml == pytest.approx(
        measured.left.consolidation_ml
    )
    assert counts[Label.RIGHT_LUNG, Label.GGO] * ml == pytest.approx(measured.right.ggo_ml)
    assert counts[Label.LEFT_LUNG, 1:7].sum() * ml == pytest.approx(measured.left.lung_ml)
    assert counts[0, 1:].sum() == 0
    lesions[0, 0, 0] = 3  # outside the lung
    assert run_to_end(count(lungs, lesions)).by_side()[0, 3] == 1


def test_a_layer_may_be_missing_and_strange_labels_are_ignored(lungs):
    tally = run_to_end(count(None, lungs))
    assert tally.pairs[0, 1] == (lungs == 1).sum()
    assert run_to_end(count(lungs, None)).pairs[2, 0] == (lungs == 2).sum()
    strange = lungs.astype(np.int32) * 100
    assert run_to_end(count(strange, None)).pairs[Label.IGNORE, 0] == (lungs > 0).sum()
    edit = changed(strange, whole(lungs.shape), lungs == 1, 9)
    tally = run_to_end(count(None, strange))
    tally.edit_lesions(edit, None)
    assert tally.pairs[0, Label.IGNORE] == (lungs > 0).sum()
    with pytest.raises(ValueError, match="at least one"):
        run_to_end(count(None, None))
