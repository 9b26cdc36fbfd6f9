"""The phantom is the ground truth of other tests, so its own truth is tested here."""

import hashlib

import numpy as np
import pytest
from scipy import ndimage

from napari_covseg.domain.labels import Label
from napari_covseg.io.phantom import Phantom, make_phantom

COARSE = ((60, 128, 128), (5.0, 2.8, 2.8))


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom()


def _middle_mm(phantom: Phantom, mask: np.ndarray) -> np.ndarray:
    """LPS position (x, y, z) of the middle of a mask."""
    index = np.array([np.mean(axis) for axis in np.nonzero(mask)])[::-1]
    return (phantom.volume.geometry.affine @ [*index, 1.0])[:3]


def _median(phantom: Phantom, label: Label) -> float:
    return float(np.median(phantom.volume.hu[phantom.labels.labels == label]))


def test_grid_is_canonical_and_centred(phantom: Phantom) -> None:
    geometry = phantom.volume.geometry
    assert geometry.shape == (120, 256, 256)
    assert geometry.spacing_mm == pytest.approx((2.5, 1.4, 1.4))
    assert geometry.is_canonical
    assert geometry.corners_mm().mean(axis=0) == pytest.approx([0, 0, 0], abs=1e-9)
    assert phantom.labels.geometry.same_as(geometry)
    assert phantom.volume.hu.dtype == np.int16


def test_volumes_are_the_labels(phantom: Phantom) -> None:
    labels = phantom.labels.labels
    assert set(np.unique(labels)) == {0, 1, 2, 3, 4}
    assert set(phantom.volumes_ml) == {
        Label.LEFT_LUNG,
        Label.RIGHT_LUNG,
        Label.GGO,
        Label.CONSOLIDATION,
    }
    for label, volume_ml in phantom.volumes_ml.items():
        assert volume_ml == pytest.approx((labels == label).sum() * 2.5 * 1.4 * 1.4 / 1000)


def test_volumes_are_those_of_a_chest(phantom: Phantom) -> None:
    ml = phantom.volumes_ml
    assert 3500 < sum(ml.values()) < 6000
    assert 300 < ml[Label.GGO] < 600
    assert 60 < ml[Label.CONSOLIDATION] < 250


def test_hu_of_each_label(phantom: Phantom) -> None:
    assert -880 < _median(phantom, Label.LEFT_LUNG) < -820
    assert -880 < _median(phantom, Label.RIGHT_LUNG) < -820
    assert -650 < _median(phantom, Label.GGO) < -450
    assert -50 < _median(phantom, Label.CONSOLIDATION) < 50


def test_hu_around_the_lungs(phantom: Phantom) -> None:
    hu = phantom.volume.hu
    assert hu.min() >= -1024
    assert np.median(hu[:, :10]) == pytest.approx(-1000, abs=5)
    assert 700 > np.percentile(hu, 99.9) > 350
    noise = hu[:, :10, 50:200].std()
    assert 10 < noise < 30


def test_gravity_makes_the_back_of_the_lung_denser(phantom: Phantom) -> None:
    hu, labels = phantom.volume.hu, phantom.labels.labels
    right = labels == Label.RIGHT_LUNG
    front, back = right.copy(), right.copy()
    front[:, 110:], back[:, :150] = False, False
    assert np.median(hu[back]) - np.median(hu[front]) > 15


def test_sides_are_the_patients(phantom: Phantom) -> None:
    labels = phantom.labels.labels
    left = _middle_mm(phantom, labels == Label.LEFT_LUNG)
    right = _middle_mm(phantom, labels == Label.RIGHT_LUNG)
    assert left[0] > 50
    assert right[0] < -50
    ml = phantom.volumes_ml
    assert ml[Label.RIGHT_LUNG] > 1.15 * ml[Label.LEFT_LUNG]


def test_heart_is_left_and_liver_right(phantom: Phantom) -> None:
    hu = ndimage.uniform_filter(phantom.volume.hu.astype(np.float32), 5)
    blood = np.abs(hu - 42) < 6
    heart = np.zeros_like(blood)
    heart[34:50, 60:140, 40:216] = True
    assert _middle_mm(phantom, blood & heart)[0] > 10
    liver = np.abs(hu[:16] - 58) < 4
    count = liver.sum(axis=(0, 1))
    assert count[:118].sum() > 5 * count[138:].sum()


def test_lesions_are_asymmetric_and_behind(phantom: Phantom) -> None:
    for label in (Label.GGO, Label.CONSOLIDATION):
        lesion = phantom.labels.labels == label
        on_left = lesion[:, :, 128:].sum()
        assert on_left > 1.5 * lesion[:, :, :128].sum() > 0
        assert _middle_mm(phantom, lesion)[1] > 25


def test_table_is_behind_the_back(phantom: Phantom) -> None:
    column = ndimage.uniform_filter1d(phantom.volume.hu[60, :, 128].astype(np.float32), 2)
    body = np.flatnonzero(column > -300)
    below = column[212:222]
    assert body.max() < 211
    assert -800 < below.max() < -300


def test_trachea_is_air_and_not_lung(phantom: Phantom) -> None:
    inside = phantom.volume.hu[95:110, 132:140, 125:129]
    assert np.median(inside) < -950
    assert not phantom.labels.labels[95:110, 132:140, 125:129].any()


def test_lungs_are_two_bodies(phantom: Phantom) -> None:
    _, count = ndimage.label(phantom.labels.labels == Label.RIGHT_LUNG)
    lungs, _ = ndimage.label(phantom.labels.labels > 0)
    sizes = np.sort(np.bincount(lungs.ravel())[1:])[::-1]
    assert count >= 1
    assert sizes[:2].sum() > 0.999 * sizes.sum()


def test_same_seed_same_bytes_and_another_seed_other_bytes() -> None:
    def digest(seed: int) -> tuple[str, str]:
        made = make_phantom(*COARSE, seed=seed)
        return (
            hashlib.sha256(made.volume.hu.tobytes()).hexdigest(),
            hashlib.sha256(made.labels.labels.tobytes()).hexdigest(),
        )

    first, again, other = digest(0), digest(0), digest(1)
    assert first == again
    assert first[0] != other[0]
    assert first[1] != other[1]


def test_another_grid_samples_the_same_body(phantom: Phantom) -> None:
    coarse = make_phantom(*COARSE)
    for label, volume_ml in phantom.volumes_ml.items():
        assert coarse.volumes_ml[label] == pytest.approx(volume_ml, rel=0.12)


def test_a_small_window_holds_no_lesion_outside_it() -> None:
    middle = make_phantom((4, 16, 16), (2.5, 1.4, 1.4))
    assert middle.volume.hu.shape == (4, 16, 16)
    assert middle.volumes_ml[Label.CONSOLIDATION] == 0


def test_a_single_slice() -> None:
    slice_ = make_phantom((1, 128, 128), (5.0, 2.8, 2.8))
    assert slice_.volumes_ml[Label.RIGHT_LUNG] > 0
    assert slice_.volume.hu.shape == (1, 128, 128)
