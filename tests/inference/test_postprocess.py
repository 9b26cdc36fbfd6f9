from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import Label, NetworkClass
from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import CTVolume
from napari_covseg.inference.postprocess import SPECK_MM2, postprocess
from napari_covseg.io import read_volume

SHAPE, SPACING = (40, 120, 160), (2.5, 2.0, 2.0)
RIGHT_AT, LEFT_AT = (20, 60, 45), (20, 60, 118)


def ball(centre, radius, shape=SHAPE):
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    (cz, cy, cx), (rz, ry, rx) = centre, radius if isinstance(radius, tuple) else (radius,) * 3
    return ((z - cz) / rz) ** 2 + ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1


RIGHT_LUNG = ball(RIGHT_AT, (16, 40, 28))
LEFT_LUNG = ball(LEFT_AT, (15, 38, 24))


def lungs():
    classes = np.zeros(SHAPE, np.uint8)
    classes[RIGHT_LUNG | LEFT_LUNG] = NetworkClass.LUNG
    return classes


def clean(classes, spacing=SPACING):
    hu = np.where(classes > 0, -800, 40).astype(np.int16)
    volume = CTVolume(hu, Geometry.from_spacing(classes.shape, spacing), "case")
    return run_to_end(postprocess(classes, volume))


def test_lungs_get_their_sides_and_nothing_else_changes():
    labels = clean(lungs())
    assert np.array_equal(labels == Label.RIGHT_LUNG, RIGHT_LUNG)
    assert np.array_equal(labels == Label.LEFT_LUNG, LEFT_LUNG)


def test_mirrored_scan_swaps_sides():
    labels = clean(lungs()[..., ::-1].copy())
    assert np.array_equal(labels == Label.LEFT_LUNG, RIGHT_LUNG[..., ::-1])
    assert np.array_equal(labels == Label.RIGHT_LUNG, LEFT_LUNG[..., ::-1])


@pytest.mark.parametrize("spacing", [(1.0, 0.7, 0.7), (8.0, 1.4, 1.4), (3.0, 3.0, 3.0)])
def test_sides_at_other_spacings(spacing):
    labels = clean(lungs(), spacing)
    assert np.array_equal(labels == Label.RIGHT_LUNG, RIGHT_LUNG)
    assert np.array_equal(labels == Label.LEFT_LUNG, LEFT_LUNG)


def test_lesions_keep_their_class():
    classes = lungs()
    ggo, dense = ball((20, 50, 45), (5, 9, 9)), ball((18, 70, 118), (4, 8, 6))
    classes[ggo], classes[dense] = NetworkClass.GGO, NetworkClass.CONSOLIDATION
    labels = clean(classes)
    assert np.array_equal(labels == Label.GGO, ggo)
    assert np.array_equal(labels == Label.CONSOLIDATION, dense)
    assert np.array_equal(labels == Label.RIGHT_LUNG, RIGHT_LUNG & ~ggo)


def test_hole_of_any_size_enclosed_by_lung_becomes_lung():
    classes = lungs()
    hole = ball(RIGHT_AT, (9, 22, 16))  # 44 cm2 across
    classes[hole] = NetworkClass.BACKGROUND
    assert np.array_equal(clean(classes) == Label.RIGHT_LUNG, RIGHT_LUNG)


def test_small_hole_through_many_slices_is_closed_and_a_large_one_stays():
    """A vessel is filled in each slice; the open tunnel of 8 cm2 is no hole."""
    classes = lungs()
    z, y, x = np.ogrid[:40, :120, :160]
    vessel = ((y - 60) ** 2 + (x - 45) ** 2 < 4**2) & (z >= 0)
    tunnel = ((y - 60) ** 2 + (x - 118) ** 2 < 8**2) & (z >= 0)
    classes[vessel | tunnel] = NetworkClass.BACKGROUND
    labels = clean(classes)
    middle = slice(10, 30)
    assert (labels[middle][(vessel & RIGHT_LUNG)[middle]] == Label.RIGHT_LUNG).all()
    assert (labels[middle][(tunnel & LEFT_LUNG)[middle]] == 0).all()


def test_what_touching_lungs_enclose_is_no_hole():
    """The heart between lungs that touch in front and behind stays outside."""
    classes = lungs()
    classes[18:22, 28:32, 45:118] = NetworkClass.LUNG
    classes[18:22, 88:92, 45:118] = NetworkClass.LUNG
    labels = clean(classes)
    assert (labels[20, 50:70, 78:90] == 0).all()


def test_specks_become_lung_and_larger_lesions_stay():
    classes = lungs()
    # 0.05 ml are 5 voxels of 2.5 x 2 x 2 mm.
    classes[20, 60, 40:44] = NetworkClass.GGO  # 4 voxels
    classes[25, 60, 40:45] = NetworkClass.CONSOLIDATION  # 5 voxels
    labels = clean(classes)
    assert (labels[20, 60, 40:44] == Label.RIGHT_LUNG).all()
    assert (labels[25, 60, 40:45] == Label.CONSOLIDATION).all()
    assert np.isin(labels, (Label.GGO, Label.CONSOLIDATION)).sum() == 5


def test_a_lesion_of_both_classes_counts_as_one():
    classes = lungs()
    classes[20, 60, 40:43] = NetworkClass.GGO
    classes[20, 60, 43:46] = NetworkClass.CONSOLIDATION
    labels = clean(classes)
    assert (labels == Label.GGO).sum() == 3
    assert (labels == Label.CONSOLIDATION).sum() == 3


def test_specks_in_a_single_slice_are_judged_by_area():
    classes = lungs()[20:21]
    few = int(SPECK_MM2 / 4)  # voxels of 2 x 2 mm below the limit
    classes[0, 50, 40 : 40 + few] = NetworkClass.GGO
    classes[0, 70, 40 : 41 + few] = NetworkClass.GGO
    labels = clean(classes)
    assert (labels[0, 50] == Label.GGO).sum() == 0
    assert (labels[0, 70] == Label.GGO).sum() == few + 1


def test_bodies_that_are_no_lung_are_dropped_with_their_lesions():
    classes = lungs()
    bowel = ball((3, 10, 80), (2, 5, 5))
    classes[bowel] = NetworkClass.GGO
    classes[38, 5:7, 5:7] = NetworkClass.CONSOLIDATION
    labels = clean(classes)
    assert np.array_equal(labels > 0, RIGHT_LUNG | LEFT_LUNG)
    assert not np.isin(labels, (Label.GGO, Label.CONSOLIDATION)).any()


def test_detached_piece_beside_a_lung_is_kept_with_its_side():
    classes = lungs()
    piece = ball((20, 103, 45), (6, 4, 9))  # 2 voxels behind the right lung
    classes[piece] = NetworkClass.LUNG
    labels = clean(classes)
    assert (labels[piece] == Label.RIGHT_LUNG).all()


def test_consolidated_lobe_between_aerated_parts_stays_lung_on_its_side():
    classes = lungs()
    lobe = LEFT_LUNG & (np.arange(SHAPE[0])[:, None, None] < 20)
    classes[lobe] = NetworkClass.CONSOLIDATION
    labels = clean(classes)
    assert (labels[lobe] == Label.CONSOLIDATION).all()
    assert (labels[LEFT_LUNG & ~lobe] == Label.LEFT_LUNG).all()


def test_touching_lungs_are_told_apart():
    classes = lungs()
    classes[10:30, 40:44, 45:118] = NetworkClass.LUNG
    classes[10:30, 80:85, 45:118] = NetworkClass.LUNG
    labels = clean(classes)
    assert (labels[RIGHT_LUNG] == Label.RIGHT_LUNG).mean() > 0.995
    assert (labels[LEFT_LUNG] == Label.LEFT_LUNG).mean() > 0.995


@pytest.mark.parametrize(("lung", "side"), [(RIGHT_LUNG, 2), (LEFT_LUNG, 1)])
def test_one_lung_only(lung, side):
    classes = np.where(lung, np.uint8(NetworkClass.LUNG), np.uint8(0))
    hu = np.full(SHAPE, -1000, np.int16)
    hu[np.broadcast_to(ball((20, 60, 80), (999, 58, 78)), SHAPE)] = 40
    hu[lung] = -800
    volume = CTVolume(hu, Geometry.from_spacing(SHAPE, SPACING), "one")
    labels = run_to_end(postprocess(classes, volume))
    assert np.array_equal(labels, np.where(lung, side, 0))


def test_nothing_found_gives_an_empty_map():
    labels = clean(np.zeros(SHAPE, np.uint8))
    assert labels.shape == SHAPE
    assert not labels.any()


def test_thin_lung_between_coarse_samples_keeps_a_side():
    """Thin parts of a lung are narrower than a step of the coarse grid."""
    shape, spacing = (30, 200, 300), (1.0, 0.5, 0.5)
    classes = np.zeros(shape, np.uint8)
    classes[5:25, 60:140, 50:100] = NetworkClass.LUNG
    classes[5:25, 60:140, 190:240] = NetworkClass.LUNG
    classes[5:25, 140:160, 50:52] = NetworkClass.LUNG  # 1 mm wide, 10 mm long
    labels = clean(classes, spacing)
    assert (labels[5:25, 140:148, 50:52] == Label.RIGHT_LUNG).all()


def test_progress_is_told_and_closing_stops():
    volume = CTVolume(np.zeros(SHAPE, np.int16), Geometry.from_spacing(SHAPE, SPACING), "case")
    steps = list(postprocess(lungs(), volume))
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert steps[-1].done == steps[-1].total
    running = postprocess(lungs(), volume)
    next(running)
    running.close()


def test_same_input_same_output():
    classes = lungs()
    classes[10:30, 40:44, 45:118] = NetworkClass.LUNG
    assert np.array_equal(clean(classes), clean(classes.copy()))


def test_holes_are_closed_like_scipy_does():
    """Reference: binary_fill_holes on each lung, for holes enclosed in three dimensions."""
    rng = np.random.default_rng(0)
    classes = lungs()
    classes[rng.random(SHAPE) < 0.02] = NetworkClass.BACKGROUND
    labels = clean(classes)
    kept = ndimage.binary_opening((classes > 0) & RIGHT_LUNG)
    filled = ndimage.binary_fill_holes(kept)
    assert (labels[filled & ~kept] > 0).mean() > 0.99


@pytest.mark.real_data
def test_sides_of_a_real_chest(data_dir):
    """Chest Imaging Platform: regions 9 to 11 are thirds of the left lung, 12 to 14 of the right.

    The scan is taken as it is, mirrored, and with one lung or one slice only.
    """
    folder = data_dir / "volumes" / "cip_ct64"
    volume = read_volume(folder / "ct-64.nrrd")
    regions = sitk.GetArrayFromImage(sitk.DICOMOrient(sitk.ReadImage(folder / "lm-64.nrrd"), "LPS"))
    third = regions & 255
    truth = np.select([(third > 8) & (third < 12), (third > 11) & (third < 15)], [1, 2], 0)
    truth = truth.astype(np.uint8)
    assert ((truth == 1).sum(), (truth == 2).sum()) == (30766, 34858)
    mirrored = replace(volume, hu=volume.hu[..., ::-1])
    for lungs_, scan in (
        (truth, volume),
        (np.where(truth == 1, truth, 0), volume),
        (np.where(truth == 2, truth, 0), volume),
        (np.array([0, 2, 1], np.uint8)[truth[..., ::-1]], mirrored),
    ):
        classes = (lungs_ > 0).astype(np.uint8)
        labels = run_to_end(postprocess(classes, scan))
        assert np.array_equal(labels[lungs_ > 0], lungs_[lungs_ > 0])
    for z in np.flatnonzero((truth > 0).sum(axis=(1, 2)) > 100):
        one = Geometry((1, *truth.shape[1:]), volume.geometry.affine)
        scan = CTVolume(volume.hu[z : z + 1], one, "slice")
        labels = run_to_end(postprocess((truth[z : z + 1] > 0).astype(np.uint8), scan))
        inside = truth[z] > 0
        assert (labels[0][inside] == truth[z][inside]).mean() > 0.98, z
