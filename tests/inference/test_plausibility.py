import numpy as np
import pytest

from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import Label
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.inference.plausibility import check
from napari_covseg.io import make_phantom


def ellipsoids(shape=(80, 100, 130)):
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    labels = np.zeros(shape, np.uint8)
    for label, cx, rx in ((Label.RIGHT_LUNG, 42, 20), (Label.LEFT_LUNG, 88, 18)):
        inside = ((z - 40) / 36) ** 2 + ((y - 50) / 34) ** 2 + ((x - cx) / rx) ** 2 < 1
        labels[inside] = label
    return labels


def case(labels, lung_hu=-820, spacing=(3.0, 2.5, 2.5)):
    geometry = Geometry.from_spacing(labels.shape, spacing)
    hu = np.where(labels > 0, lung_hu, 40).astype(np.int16)
    volume = CTVolume(hu, geometry, "case")
    return volume, LabelMap.like(volume, labels)


def test_whole_lungs_give_no_warning():
    assert check(*case(ellipsoids())) == ()


def test_phantom_gives_no_warning():
    phantom = make_phantom((60, 128, 128), (5.0, 2.5, 2.5))
    assert check(phantom.volume, phantom.labels) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a * 0, "No lung was found"),
        (lambda a: a[40:41], "single slice"),
        (lambda a: a[35:50], "covers 45 mm"),
        (lambda a: np.where(a == Label.LEFT_LUNG, 0, a), "No air-filled left lung"),
        (lambda a: np.where(a == Label.RIGHT_LUNG, 0, a), "No air-filled right lung"),
        (lambda a: a[:45], "at the top"),
        (lambda a: a[40:], "at the bottom"),
        (lambda a: a[22:62], "at the top and the bottom"),
        (lambda a: a[:, :, 35:], "at the sides"),
        (lambda a: a[:, 30:], "at the sides"),
    ],
)
def test_what_is_wrong_is_said(change, words):
    warnings = check(*case(change(ellipsoids()).astype(np.uint8)))
    assert [w for w in warnings if words in w], warnings
    assert all(w.endswith(".") for w in warnings)


def test_very_unequal_lungs_are_told():
    labels = ellipsoids()
    middle = slice(26, 54)
    part = labels[middle].copy()
    labels[(labels == Label.RIGHT_LUNG)] = 0
    labels[middle][:, :, :42][part[:, :, :42] == Label.RIGHT_LUNG] = Label.RIGHT_LUNG
    labels[:, :45][labels[:, :45] == Label.RIGHT_LUNG] = 0
    labels[:, 58:][labels[:, 58:] == Label.RIGHT_LUNG] = 0
    (warning,) = check(*case(labels))
    assert warning.startswith("The left lung found is ")
    assert "the right one is small or opaque" in warning
    diseased = ellipsoids()
    diseased[:30][diseased[:30] == Label.RIGHT_LUNG] = Label.GGO
    diseased[30:, :, :40][diseased[30:, :, :40] == Label.RIGHT_LUNG] = Label.GGO
    assert check(*case(diseased)) == ()  # most of the right lung is GGO, not lost


def test_small_lungs():
    warnings = check(*case(ellipsoids(), spacing=(1.5, 0.9, 0.9)))
    assert any("little for an adult" in w for w in warnings)


@pytest.mark.parametrize(("hu", "warned"), [(-700, False), (-310, False), (-100, True), (40, True)])
def test_dense_lungs(hu, warned):
    warnings = check(*case(ellipsoids(), lung_hu=hu))
    assert any("denser than" in w for w in warnings) is warned


def test_round_field_of_view_that_cuts_the_lungs():
    labels = ellipsoids()
    y, x = np.ogrid[:100, :130]
    outside = (y - 50) ** 2 + (x - 65) ** 2 > 38**2
    labels[:, outside] = 0
    volume, label_map = case(labels)
    volume.hu[:, outside] = -1024
    assert any("at the sides" in w for w in check(volume, label_map))


def test_coarse_pixels_and_thick_slices():
    warnings = check(*case(ellipsoids(), spacing=(12.0, 3.0, 3.0)))
    assert any("3.0 mm large" in w for w in warnings)
    assert any("12.0 mm apart" in w for w in warnings)
