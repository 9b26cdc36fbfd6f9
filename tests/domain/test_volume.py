"""Volumes and label maps hold what they say; progress runs to its end."""

import numpy as np
import pytest

from napari_covseg.domain import errors
from napari_covseg.domain.geometry import Geometry, Reorientation
from napari_covseg.domain.labels import (
    ALLOWED_CLASSES,
    LUNG_LABELS,
    Label,
    NetworkClass,
    label_by_name,
)
from napari_covseg.domain.progress import Progress, run_to_end
from napari_covseg.domain.volume import CTVolume, LabelMap

GRID = Geometry.from_spacing((2, 3, 4), (2, 1, 1))


def test_a_volume_refuses_voxels_that_do_not_fit():
    with pytest.raises(ValueError, match="do not fit"):
        CTVolume(np.zeros((2, 3, 5), np.int16), GRID, "c")
    with pytest.raises(ValueError, match="int16 or float32"):
        CTVolume(np.zeros(GRID.shape), GRID, "c")
    with pytest.raises(ValueError, match="uint8"):
        LabelMap(np.zeros(GRID.shape, np.int16), GRID)
    with pytest.raises(ValueError, match="do not fit"):
        LabelMap(np.zeros((1, 3, 4), np.uint8), GRID)


def test_labels_like_a_volume_go_back_the_same_way():
    how = Reorientation((1, 0, 2), (True, False, False))
    volume = CTVolume(np.zeros(GRID.shape, np.int16), GRID, "case", how)
    labels = LabelMap.like(volume, np.zeros(GRID.shape, np.uint8))
    assert labels.geometry is GRID
    assert labels.to_native == how
    assert labels.case == "case"


def test_label_values_are_a_contract():
    values = {label.name: int(label) for label in Label}
    assert values == {
        "BACKGROUND": 0,
        "LEFT_LUNG": 1,
        "RIGHT_LUNG": 2,
        "GGO": 3,
        "CONSOLIDATION": 4,
        "INFECTION": 5,
        "LUNG": 6,
        "IGNORE": 7,
    }
    assert tuple(map(int, LUNG_LABELS)) == (1, 2, 3, 4, 5, 6)
    assert Label.GGO.title == "GGO"
    assert Label.LEFT_LUNG.title == "Left lung"


def test_names_of_other_schemes():
    assert label_by_name(" Left_Lung ") is Label.LEFT_LUNG
    assert label_by_name("infection") is Label.INFECTION
    with pytest.raises(KeyError):
        label_by_name("liver")


def test_a_partial_label_allows_several_classes():
    assert ALLOWED_CLASSES[Label.INFECTION] == (NetworkClass.GGO, NetworkClass.CONSOLIDATION)
    assert set(ALLOWED_CLASSES[Label.IGNORE]) == set(NetworkClass)
    assert set(ALLOWED_CLASSES) == set(Label)


def test_run_to_end_reports_every_step_and_returns_the_result():
    def work():
        yield Progress(0, 2, "first")
        yield Progress(1, 2, "second")
        return 42

    seen = []
    assert run_to_end(work(), seen.append) == 42
    assert [step.message for step in seen] == ["first", "second"]
    assert run_to_end(work()) == 42


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("UsageError", 2),
        ("InputError", 3),
        ("ResourceError", 4),
        ("ModelError", 5),
        ("Cancelled", 130),
    ],
)
def test_exit_codes_are_a_contract(kind, code):
    assert getattr(errors, kind)("x").exit_code == code
