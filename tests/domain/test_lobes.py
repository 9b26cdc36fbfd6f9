import numpy as np
import pytest

from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import Label
from napari_covseg.domain.lobes import Lobe, LobeMap, lobe_by_name


@pytest.mark.parametrize(
    ("name", "lobe"),
    [
        ("left upper lobe", Lobe.LEFT_UPPER),
        ("lung_lower_lobe_left", Lobe.LEFT_LOWER),
        ("left_superior_lobe", Lobe.LEFT_UPPER),
        ("Superior lobe of right lung", Lobe.RIGHT_UPPER),
        ("Right Middle Lobe", Lobe.RIGHT_MIDDLE),
        ("Inferior lobe, right", Lobe.RIGHT_LOWER),
        ("RML", Lobe.RIGHT_MIDDLE),
        (" lul ", Lobe.LEFT_UPPER),
    ],
)
def test_names_of_lobes(name, lobe):
    assert lobe_by_name(name) == lobe


@pytest.mark.parametrize(
    "name", ["left lung", "upper lobe", "left middle lobe", "left or right upper lobe", "", "vein"]
)
def test_what_names_no_lobe(name):
    with pytest.raises(KeyError):
        lobe_by_name(name)


def test_sides_and_titles():
    assert [lobe.side for lobe in Lobe] == [Label.LEFT_LUNG] * 2 + [Label.RIGHT_LUNG] * 3
    assert Lobe.RIGHT_MIDDLE.title == "Right middle lobe"


def test_a_map_holds_lobes_only():
    geometry = Geometry.from_spacing((1, 2, 2), (1, 1, 1))
    with pytest.raises(ValueError, match="got 6"):
        LobeMap(np.full((1, 2, 2), 6, np.uint8), geometry)
    with pytest.raises(ValueError, match="uint8"):
        LobeMap(np.zeros((1, 2, 2), np.int16), geometry)
    with pytest.raises(ValueError, match="fit"):
        LobeMap(np.zeros((2, 2, 2), np.uint8), geometry)
