from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from napari_covseg.domain.errors import ModelError
from napari_covseg.models.efficientnet import EfficientNetEncoder
from napari_covseg.models.efficientnet_unet2d import EfficientNetUNet2D
from napari_covseg.models.imagenet import PublishedEncoder, load_imagenet
from napari_covseg.models.infnet2d import InfNet2D
from napari_covseg.models.unet2d import UNet2D

TINY = (4, 4, 4, 4, 4)


def _file_like(encoder: PublishedEncoder) -> dict[str, Tensor]:
    """Random weights as its file would hold them: for three colours, with a classifier."""
    torch.manual_seed(0)
    weights = {"classifier.bias": torch.zeros(1000)}
    for index, (name, module) in enumerate(encoder.published()):
        for field, value in module.state_dict().items():
            shape = list(value.shape)
            if index == 0:
                shape[1] = 3
            random = torch.rand(shape) if value.is_floating_point() else value.clone()
            weights[f"{name}.{field}"] = random
    return weights


def _network() -> EfficientNetUNet2D:
    return EfficientNetUNet2D("b0", decoder=TINY)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".nested.pth"])
def test_weights_are_copied_and_colours_are_summed(tmp_path: Path, suffix: str) -> None:
    network = _network()
    weights = _file_like(network.encoder)
    file = tmp_path / f"tf_efficientnet_b0{suffix}"
    if suffix == ".safetensors":
        save_file(weights, file)
    else:
        torch.save(weights if suffix == ".pth" else {"state_dict": weights}, file)
    head = network.head.weight.clone()
    load_imagenet(network, file)
    found = network.encoder
    stem = found.stem[0].weight
    assert torch.allclose(stem[:, 0], weights["conv_stem.weight"].sum(dim=1))
    assert torch.equal(found.stem[1].running_var, weights["bn1.running_var"])
    last = found.stages[6][0].layers[-2].weight
    assert torch.equal(last, weights["blocks.6.0.conv_pwl.weight"])
    first = found.stages[0][0].layers[0].weight
    assert torch.equal(first, weights["blocks.0.0.conv_dw.weight"])
    squeeze = found.stages[2][1].layers[6].reduce.bias
    assert torch.equal(squeeze, weights["blocks.2.1.se.conv_reduce.bias"])
    assert torch.equal(network.head.weight, head)
    assert network.encoder.stem[0].weight.requires_grad


def test_a_grey_image_gives_what_equal_colours_would(tmp_path: Path) -> None:
    colour, grey = EfficientNetEncoder("b0", inputs=3).eval(), EfficientNetEncoder("b0").eval()
    file = tmp_path / "tf_efficientnet_b0.safetensors"
    save_file(_file_like(grey), file)
    load_imagenet(colour, file)
    load_imagenet(grey, file)
    image = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        first = grey.stem[0](image)
        assert torch.allclose(first, colour.stem[0](image.expand(1, 3, 32, 32)), atol=1e-5)


def test_a_frozen_encoder_takes_them_and_stays_frozen(tmp_path: Path) -> None:
    network = EfficientNetUNet2D("b0", frozen=True, decoder=TINY)
    file = tmp_path / "w.pth"
    weights = _file_like(network.encoder)
    torch.save(weights, file)
    load_imagenet(network, file)
    assert torch.equal(network.encoder.stem[1].weight, weights["bn1.weight"])
    assert not network.encoder.stem[1].weight.requires_grad


@pytest.mark.parametrize("kind", ["res2net50", "resnet50"])
def test_inf_nets_encoders_take_theirs(tmp_path: Path, kind: str) -> None:
    network = InfNet2D(kind, width=4)
    weights = _file_like(network.encoder)
    file = tmp_path / "w.safetensors"
    save_file(weights, file)
    load_imagenet(network, file)
    block = network.encoder.levels[3][2]
    assert torch.equal(block.expand[0].weight, weights["layer4.2.conv3.weight"])


def test_weights_of_another_network_are_refused_and_change_nothing(tmp_path: Path) -> None:
    network = _network()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    wide = _file_like(network.encoder)
    wide["blocks.6.0.conv_pwl.weight"] = torch.zeros(320, 5, 1, 1)
    save_file(wide, tmp_path / "wide.safetensors")
    with pytest.raises(ModelError, match=r"wide.safetensors: .* tf_efficientnet_b0, .*320 x 5 x 1"):
        load_imagenet(network, tmp_path / "wide.safetensors")
    after = network.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_a_file_without_such_weights_is_refused_by_the_first_that_is_missing(
    tmp_path: Path,
) -> None:
    save_file({"features.0.0.weight": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(ModelError) as caught:
        load_imagenet(_network(), tmp_path / "w.safetensors")
    assert str(caught.value) == (
        "w.safetensors: expected the ImageNet weights tf_efficientnet_b0, but conv_stem.weight is "
        "not in it; give the file of that name, or train without ImageNet weights"
    )
    assert str(tmp_path) not in str(caught.value)


def test_what_is_no_file_of_weights_is_refused(tmp_path: Path) -> None:
    network = _network()
    with pytest.raises(ModelError, match=r"^gone.pth: not found; expected the ImageNet weights"):
        load_imagenet(network, tmp_path / "gone.pth")
    for name in ("text.pth", "text.safetensors"):
        (tmp_path / name).write_text("not weights")
        with pytest.raises(ModelError, match=f"^{name}: not readable; expected"):
            load_imagenet(network, tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ModelError, match=r"^list.pth: holds no weights"):
        load_imagenet(network, tmp_path / "list.pth")


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(1, 1), tmp_path / "module.pth")
    with pytest.raises(ModelError, match=r"^module.pth: not readable"):
        load_imagenet(_network(), tmp_path / "module.pth")


def test_networks_without_a_published_encoder_say_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no encoder that ImageNet weights are published for"):
        load_imagenet(UNet2D((4, 8)), tmp_path / "w.pth")
