import numpy as np
import pytest
import torch

from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import CTVolume
from napari_covseg.inference.detect import corners_mm, detect_volume
from napari_covseg.models.detector_files import Detector
from napari_covseg.models.device import Device
from napari_covseg.preprocess.recipe import AxialRecipe

CPU = Device("cpu", "CPU")


class BrightSquares(torch.nn.Module):
    """Calls what is at -200 HU GGO and what is at 60 HU consolidation, each body's box and all."""

    def forward(self, images):
        return [self._of(image[0]) for image in images]

    def _of(self, image):
        hu = (image + 1) / 2 * 1500 - 1350
        found = [(1, (hu + 200).abs() < 60, 0.9), (2, (hu - 60).abs() < 60, 0.6)]
        rows = [(label, mask, score) for label, mask, score in found if mask.any()]
        boxes = []
        for _, mask, _ in rows:
            y, x = torch.nonzero(mask, as_tuple=True)
            boxes.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
        masks = torch.stack([m for _, m, _ in rows]) if rows else torch.zeros(0, *image.shape)
        return {
            "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor([label for label, _, _ in rows], dtype=torch.int64),
            "scores": torch.tensor([score for *_, score in rows]),
            "masks": masks[:, None].float(),
        }


def detector(pixel_mm=2.0):
    return Detector("toy", "1", "0" * 64, BrightSquares(), AxialRecipe(pixel_mm), {})


def chest(spacing=(5.0, 2.0, 2.0)):
    """A body of water with lungs; GGO in the patient's left lung, consolidation in the right."""
    hu = np.full((8, 120, 160), -1000, np.int16)
    hu[:, 10:110, 10:150] = 20 - 400  # What is neither air nor any lesion.
    hu[:, 20:100, 20:70] = -850
    hu[:, 20:100, 90:140] = -850
    hu[2:5, 30:50, 100:130] = -200  # High x is the patient's left.
    hu[5:7, 60:70, 30:44] = 60
    return CTVolume(hu, Geometry.from_spacing(hu.shape, spacing, (-160.0, -50.0, 7.0)), "case")


def test_lesions_are_joined_over_slices_with_boxes_in_voxels_and_mm():
    found = run_to_end(detect_volume(chest(), detector(), CPU, 0.5))
    first, second = found.lesions
    assert (first.label, first.number, first.findings) == (Label.GGO, 1, 3)
    assert first.box == (2, 30, 100, 5, 50, 130)
    assert first.voxels == 3 * 20 * 30
    assert first.ml == pytest.approx(3 * 20 * 30 * 0.02)
    assert first.score == pytest.approx(0.9)
    assert first.low_mm == pytest.approx((39.0, 9.0, 14.5))
    assert first.high_mm == pytest.approx((99.0, 49.0, 29.5))
    assert (second.label, second.box) == (Label.CONSOLIDATION, (5, 60, 30, 7, 70, 44))
    assert second.high_mm[0] < 0 < first.low_mm[0]  # Left stays left.
    expected = np.zeros(chest().hu.shape, np.uint8)
    expected[2:5, 30:50, 100:130], expected[5:7, 60:70, 30:44] = Label.GGO, Label.CONSOLIDATION
    np.testing.assert_array_equal(found.labels.labels, expected)
    np.testing.assert_array_equal(found.bodies == 1, expected == Label.GGO)


def test_low_scores_are_left_out():
    found = run_to_end(detect_volume(chest(), detector(), CPU, 0.7))
    assert [one.label for one in found.lesions] == [Label.GGO]
    assert {one.label for one in found.findings} == {Label.GGO}


def test_boxes_come_back_to_the_volumes_own_pixels():
    """The network sees pixels of 3 mm, the volume has 2 mm."""
    found = run_to_end(detect_volume(chest(), detector(3.0), CPU, 0.5))
    ggo = next(one for one in found.lesions if one.label is Label.GGO)
    np.testing.assert_allclose(ggo.box, (2, 30, 100, 5, 50, 130), atol=2)
    boxes = [one.box_yx for one in found.findings if one.label is Label.GGO and one.z in (2, 3, 4)]
    np.testing.assert_allclose(boxes, [(30, 100, 50, 130)] * 3, atol=2.5)


def test_nothing_found_is_an_empty_result():
    empty = chest()
    empty.hu[(empty.hu == -200) | (empty.hu == 60)] = -850
    found = run_to_end(detect_volume(empty, detector(), CPU, 0.5))
    assert found.lesions == ()
    assert not found.labels.labels.any()


def test_corners_follow_an_oblique_grid():
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = (0.6, 0.8, 0), (-0.8, 0.6, 0)
    low, high = corners_mm((0, 0, 0, 1, 1, 2), Geometry((3, 4, 5), affine))
    assert low == pytest.approx((-0.3 - 0.4, -0.4 - 0.3, -0.5))
    assert high == pytest.approx((0.9 + 0.4, 1.2 + 0.3, 0.5))
