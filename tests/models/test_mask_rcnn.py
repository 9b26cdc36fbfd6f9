import json

import numpy as np
import pytest
import torch

from napari_covseg.domain.errors import ModelError
from napari_covseg.models.detector_files import read_detector, write_detector
from napari_covseg.models.mask_rcnn import (
    ANCHOR_RATIOS,
    ANCHOR_SIZES,
    LesionRCNN,
    covered_share,
    leave_out,
)
from napari_covseg.preprocess.recipe import AxialRecipe

SMALL = {"channels": 8, "representation": 16, "mask_channels": 8}


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def test_parameters_and_settings_of_the_paper():
    network = LesionRCNN()
    assert parameters(network) == 16_397_544
    anchors = network.rpn.anchor_generator
    assert anchors.sizes == (ANCHOR_SIZES,) * 5 == ((2, 4, 8, 16, 32),) * 5
    assert anchors.aspect_ratios == (ANCHOR_RATIOS,) * 5
    assert anchors.num_anchors_per_location() == [30] * 5
    assert network.rpn.nms_thresh == 0.75
    assert (network.roi_heads.nms_thresh, network.roi_heads.score_thresh) == (0.5, 0.05)
    for sampler in (network.rpn.fg_bg_sampler, network.roi_heads.fg_bg_sampler):
        assert sampler.batch_size_per_image == 256


def test_resnet50_has_its_width():
    assert parameters(LesionRCNN(backbone="resnet50", mask_channels=256)) > 26_000_000
    with pytest.raises(ValueError, match="expected one of resnet18"):
        LesionRCNN(backbone="resnet101")


def test_the_smallest_anchor_is_two_pixels():
    cells = LesionRCNN(**SMALL).rpn.anchor_generator.cell_anchors[0]
    areas = ((cells[:, 2] - cells[:, 0]) * (cells[:, 3] - cells[:, 1])).numpy()
    assert areas.max() == pytest.approx(32**2, rel=0.1)
    assert len(cells) == 30


def test_pictures_keep_their_size_and_grey_is_every_colour():
    network = LesionRCNN(**SMALL).eval()
    image = torch.rand(1, 64, 96) * 2 - 1
    batch, _ = network.transform([((image + 1) / 2).expand(3, -1, -1)])
    assert batch.image_sizes == [(64, 96)]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = ((image + 1) / 2 - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(batch.tensors[0], expected)


def test_the_share_of_a_box_that_a_mask_covers():
    where = torch.zeros(10, 12, dtype=torch.bool)
    where[2:6, 3:9] = True
    boxes = torch.tensor(
        [[3.0, 2, 9, 6], [0, 0, 3, 2], [3, 2, 9, 10], [-5, -5, 6, 4], [7, 7, 7, 7]]
    )
    expected = [1.0, 0.0, 0.5, 6 / 24, 0.0]
    np.testing.assert_allclose(covered_share(boxes, where).numpy(), expected, atol=1e-6)


def test_background_where_nobody_knows_is_left_out_but_one_stays():
    ignored = torch.zeros(8, 8, dtype=torch.bool)
    ignored[:, :4] = True
    boxes = torch.tensor([[0.0, 0, 4, 8], [4, 0, 8, 8], [0, 0, 4, 4], [1, 1, 6, 6]])
    labels = torch.tensor([0.0, 0.0, 1.0, 0.0])
    leave_out(labels, boxes, ignored)
    assert labels.tolist() == [-1, 0, 1, -1]
    alone = torch.tensor([0, 0])
    leave_out(alone, boxes[[0, 3]], ignored)
    assert alone.tolist() == [-1, 0]


def test_losses_are_numbers_where_all_is_unknown_and_where_all_is_clean():
    torch.manual_seed(0)
    network = LesionRCNN(**SMALL)
    nothing = {
        "boxes": torch.zeros(0, 4),
        "labels": torch.zeros(0, dtype=torch.int64),
        "masks": torch.zeros(0, 64, 64, dtype=torch.uint8),
    }
    images = [torch.zeros(1, 64, 64), torch.zeros(1, 64, 64)]
    targets = [
        nothing | {"ignored": torch.full((64, 64), all_of_it)} for all_of_it in (True, False)
    ]
    losses = network(images, targets)
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_boxes_keep_their_digits_in_half_precision():
    torch.manual_seed(0)
    network = LesionRCNN(**SMALL).eval()
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        (found,) = network([torch.rand(1, 64, 256) * 2 - 1])
    boxes = found["boxes"]
    assert boxes.dtype == torch.float32
    assert not torch.equal(boxes, boxes.bfloat16().float())


def test_a_detector_comes_back_from_disk(tmp_path):
    torch.manual_seed(1)
    network = LesionRCNN(**SMALL).eval()
    recipe = AxialRecipe(pixel_mm=1.8)
    card = write_detector(tmp_path, "toy", network, SMALL, recipe, {"version": "1"})
    again = read_detector(tmp_path)
    assert (again.name, again.recipe) == ("toy", recipe)
    image = torch.rand(1, 64, 64) * 2 - 1
    with torch.no_grad():
        (before,), (after,) = network([image]), again.network([image])
    assert len(before["scores"]) > 0
    torch.testing.assert_close(before["scores"], after["scores"], atol=2e-3, rtol=0)
    said = json.loads(card.read_text())
    assert said["classes"] == ["background", "ggo", "consolidation"]
    card.write_text(json.dumps(said | {"sha256": "0" * 64}))
    with pytest.raises(ModelError, match=r"toy\.json: the weights are not those of this card"):
        read_detector(tmp_path)
    card.write_text(json.dumps(said | {"arguments": {"colour": "red"}}))
    with pytest.raises(ModelError, match="not a readable model card"):
        read_detector(tmp_path)
