import numpy as np
import pytest
import torch
from picture_sets import CornerExtractor, corner_classifier

from napari_covseg.inference.grad_cam import _between, grad_cam, log_odds, on_picture
from napari_covseg.models.classifier_heads import LayersHead
from napari_covseg.models.feature_extractors import (
    EXTRACTORS,
    TrainedExtractor,
    _build,
    _ImageNetExtractor,
    lite0_encoder,
)


@pytest.fixture
def plane():
    return np.random.default_rng(0).uniform(0.4, 1, (32, 32)).astype(np.float32)


def test_a_network_that_sees_one_corner_lights_up_that_corner(plane):
    heat = grad_cam(corner_classifier(), plane, code=1)
    assert heat.shape == (32, 32)
    assert heat.max() == 1
    assert heat[:16, :16].sum() > 0.9 * heat.sum()
    assert heat[20:].max() == 0
    assert heat[:, 20:].max() == 0
    # Brightness speaks for "light": for "dark" nothing does.
    assert not grad_cam(corner_classifier(), plane, code=0).any()


def test_what_lies_outside_the_corner_changes_nothing(plane):
    changed = plane.copy()
    changed[16:] = 0
    assert grad_cam(corner_classifier(), changed, 1) == pytest.approx(
        grad_cam(corner_classifier(), plane, 1)
    )
    changed[:8, :8] = 0
    assert not np.allclose(
        grad_cam(corner_classifier(), changed, 1), grad_cam(corner_classifier(), plane, 1)
    )


def test_it_is_captums(plane):
    attr = pytest.importorskip("captum.attr")
    torch.manual_seed(0)
    extractor = TrainedExtractor(lite0_encoder()).eval()
    head = LayersHead((torch.randn(1, 3, 320),), (torch.zeros(1, 3),))

    class Whole(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.extractor = extractor

        def forward(self, grey):
            return log_odds(head.logits(self.extractor(grey)).mean(dim=0), 2)

    grey = torch.from_numpy(np.kron(plane, np.ones((3, 3), np.float32)))[None, None]
    layer = extractor.encoder[-1]
    theirs = attr.LayerGradCam(Whole(), layer).attribute(grey, relu_attributions=True)
    base = corner_classifier(96)
    from dataclasses import replace

    mine = grad_cam(replace(base, extractor=extractor, explain=head), grey[0, 0].numpy(), 2)
    # Places of this network look around pixels 31, 63 and 95, where each counts alone.
    expected = (theirs / theirs.max())[0, 0].detach().numpy()
    assert mine[31::32, 31::32] == pytest.approx(expected, abs=1e-4)
    assert mine.std() > 0.01
    assert mine[47, 31] == pytest.approx((mine[31, 31] + mine[63, 31]) / 2, abs=1e-5)
    assert mine[:32, :32] == pytest.approx(mine[31, 31])


def _seeing_evenly(network):
    """Weights that are alike on both sides: what a place sees is symmetric around its centre."""
    for name, module in list(network.named_modules()):
        if isinstance(module, torch.nn.Conv2d):
            middle = tuple((size - 1) // 2 for size in module.kernel_size)
            torch.nn.init.constant_(module.weight, 0.02 / module.in_channels)
            module.weight.data[:, :, *middle] = 1 / module.in_channels
        elif isinstance(module, torch.nn.MaxPool2d):
            # Of equal pixels the greatest is the first, which is not the middle.
            parent, _, own = name.rpartition(".")
            mean = torch.nn.AvgPool2d(module.kernel_size, module.stride, module.padding)
            setattr(network.get_submodule(parent), own, mean)
    return network.eval()


def _seen_row(maps, channels, shape):
    """Of a place in the middle of a map: its row, and the row of pixels it is centred at."""
    picture = torch.full((1, channels, *shape), 0.5, requires_grad=True)
    found = maps(picture)
    row, column = found.shape[2] // 2, found.shape[3] // 2
    (seen,) = torch.autograd.grad(found[0, :, row, column].sum(), picture)
    along = seen[0].sum(dim=(0, 2)).double()
    return found.shape[2], row, float((along * torch.arange(shape[0])).sum() / along.sum())


def test_places_are_drawn_where_they_look():
    extractor = TrainedExtractor(_seeing_evenly(lite0_encoder())).eval()
    places, row, seen = _seen_row(lambda p: extractor.maps((p + 1) / 2)[0], 1, (640, 64))
    first, step = extractor.centres(640, places)
    assert (first, step) == (31, 32)
    assert seen == pytest.approx(first + row * step, abs=0.2)
    # Spread evenly over the picture it would lie half a place away.
    assert abs(seen - (row + 0.5) * 32) > 14
    shifted = _between(256, 8, first, step)
    assert shifted[[31, 63, 255]].argmax(dim=1).tolist() == [0, 1, 7]
    assert shifted.sum(dim=1) == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "shape"), [("resnet50", (640, 64)), ("inception_resnet_v2", (619, 139))]
)
def test_places_of_the_published_networks_are_drawn_where_they_look(name, shape):
    if name != "resnet50":
        pytest.importorskip("timm")
    entry = EXTRACTORS[name]
    network = _seeing_evenly(_build(entry))
    extractor = _ImageNetExtractor(entry, network, "")
    places, row, seen = _seen_row(network, 3, shape)
    first, step = extractor.centres(shape[0], places)
    assert seen == pytest.approx(first + row * step, abs=0.2)


def test_what_the_features_leave_out_is_dark(plane):
    from dataclasses import replace

    class LungOnly(CornerExtractor):
        def maps(self, grey):
            maps = torch.nn.functional.adaptive_avg_pool2d(grey, 8)
            lung = torch.zeros_like(maps)
            lung[:, :, :, 5:] = 1
            return maps, lung

        def from_maps(self, maps, beside, pooled=True):
            return (maps * beside).mean(dim=(2, 3))

    classifier = replace(corner_classifier(), extractor=LungOnly().eval())
    heat = grad_cam(classifier, plane, 1)
    assert heat[:, 20:].sum() > 0.7 * heat.sum()
    assert heat[:, :16].max() == 0


def test_log_odds_of_two_classes_are_the_difference_of_logits():
    logits = torch.tensor([[0.0, 2.5], [1.0, -1.0]])
    assert log_odds(logits, 1).tolist() == [2.5, -2.0]
    assert log_odds(logits, 0).tolist() == [-2.5, 2.0]


def test_a_map_lies_where_the_recipe_looked(plane):
    from dataclasses import replace

    from napari_covseg.preprocess.pictures import PictureRecipe

    classifier = replace(corner_classifier(), recipe=PictureRecipe(32, keep=0.5))
    whole = on_picture(np.ones((32, 32), np.float32), classifier, (40, 80))
    assert whole[10:30, 20:60].min() == pytest.approx(1)
    assert whole.sum() == pytest.approx(20 * 40)


@pytest.mark.real_data
def test_the_shipped_classifier_looks_at_lungs_more_than_elsewhere(data_dir):
    """Heat in the annotated lungs, against what as many pixels anywhere would hold."""
    nib = pytest.importorskip("nibabel")
    from napari_covseg.io.images import CT_WINDOW_HU
    from napari_covseg.models.image_classifier import read_classifier

    classifier = read_classifier()
    root = data_dir / "covid_ct" / "medseg"
    low, high = CT_WINDOW_HU
    inside, area = [], []
    for case in ("medseg_1", "medseg_6"):
        hu = np.asarray(nib.load(root / "imagesTr" / f"{case}_0000.nii.gz").dataobj, np.float32).T
        labels = np.asarray(nib.load(root / "labelsTr" / f"{case}.nii.gz").dataobj).T
        lung = (labels >= 1) & (labels <= 4)
        for z in np.argsort(lung.sum(axis=(1, 2)))[-12::6]:
            plane = classifier.recipe.apply(np.clip((hu[z] - low) / (high - low), 0, 1))
            mask = classifier.recipe.apply(lung[z].astype(np.float32)) > 0.5
            for code in range(2):
                heat = grad_cam(classifier, plane, code)
                inside.append(heat[mask].sum() / heat.sum())
                area.append(mask.mean())
    assert len(inside) == 8
    assert np.mean(inside) > 1.7 * np.mean(area)
