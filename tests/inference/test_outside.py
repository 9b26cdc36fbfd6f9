import numpy as np
import pytest
from scipy import ndimage

from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.inference.outside import without_outside_air
from napari_covseg.inference.postprocess import postprocess
from napari_covseg.io import read_volume


def enclosed(air):
    """Air of a slice that does not reach the picture's edge."""
    parts, _ = ndimage.label(air)
    edge = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    return air & ~np.isin(parts, edge)


def patient(lung_hu: int = -850):
    """Trunk with two lungs, air of -1000 around it, a sheet 3 mm thick beside the trunk."""
    hu = np.full((10, 60, 90), -1000, np.int16)
    hu[:, 8:52, 16:74] = 40
    hu[:, 14:46, 22:40] = lung_hu
    hu[:, 14:46, 50:68] = lung_hu
    hu[:, 5:55, 6] = 20
    return hu


def test_air_beside_the_trunk_goes_and_the_lungs_stay():
    hu = patient()
    lung = hu == -850
    found = lung.copy()
    found[2:6, 20:34, 8:15] = True  # between sheet and trunk
    assert np.array_equal(without_outside_air(found, hu), lung)
    assert found.sum() > lung.sum()


@pytest.mark.parametrize("lung_hu", [-850, -990])
def test_lungs_cut_by_the_picture_stay_however_dark(lung_hu):
    hu = patient(lung_hu)[:, 14:46, 22:68]  # the lungs reach the edge on three sides
    lung = hu == lung_hu
    assert np.array_equal(without_outside_air(lung, hu), lung)


def test_lungs_as_thin_as_air_stay_inside_the_trunk():
    hu = patient(lung_hu=-980)
    assert np.array_equal(without_outside_air(hu == -980, hu), hu == -980)


@pytest.mark.real_data
def test_clothes_do_not_swap_or_merge_the_lungs(data_dir):
    """Folds beside this patient hold air; once taken for lung, they became a lung's other half."""
    volume = read_volume(data_dir / "volumes" / "lungdx_A0001_L_256.nii.gz")
    air = volume.hu < -500
    classes = np.stack([enclosed(plane) for plane in air]).astype(np.uint8)
    flank = np.zeros(air.shape, bool)
    flank[2:8, 100:190, 8:22] = flank[28:36, 100:190, 8:22] = True
    classes |= flank & air
    labels = run_to_end(postprocess(classes, volume))
    left, right = (
        float((labels == side).sum()) * volume.geometry.voxel_ml
        for side in (Label.LEFT_LUNG, Label.RIGHT_LUNG)
    )
    assert 1900 < left < 2900
    assert 2600 < right < 3700
    assert not labels[flank].any()
