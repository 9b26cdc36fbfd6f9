import pytest
import torch
from torch import Tensor, nn

from napari_covseg.domain.errors import ModelError
from napari_covseg.models.infnet2d import InfNet2D, infection
from napari_covseg.models.infnet2d_multi import InfNetMulti2D, PriorUNet2D
from napari_covseg.models.outputs import DeepOutputs, InfNetMultiOutputs


def _small(frozen: bool = False, single_classes: int = 4) -> InfNetMulti2D:
    torch.manual_seed(0)
    return InfNetMulti2D((3, 5, 7), frozen, single_classes, width=4, encoder_width=8)


def _image() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 1, 64, 64)


def _unet_parameters(channels: tuple[int, ...], classes: int, inputs: int) -> int:
    def block(first: int, middle: int, last: int) -> int:
        return 9 * first * middle + 2 * middle + 9 * middle * last + 2 * last

    total, previous = 0, inputs
    for width in channels:
        total += block(previous, width, width)
        previous = width
    for level in range(len(channels) - 2, -1, -1):
        joined = previous + channels[level]
        previous = channels[max(level - 1, 0)]
        total += block(joined, joined // 2, previous)
    return total + previous * classes + classes


def test_it_has_the_parameters_of_both_networks() -> None:
    with torch.device("meta"):
        network = InfNetMulti2D()
    second = sum(p.numel() for p in network.multi.parameters())
    assert second == _unet_parameters((64, 128, 256, 512, 512), 4, 2) == 17_262_596
    assert sum(p.numel() for p in network.parameters()) == second + 31_076_678


@pytest.mark.parametrize("single_classes", [1, 4])
def test_the_second_network_sees_the_image_and_what_the_first_found(single_classes: int) -> None:
    network, image = _small(single_classes=single_classes), _image()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    network.train()(image)  # statistics of this image: its logits are near 0
    network.eval()
    seen: list[Tensor] = []
    network.multi.register_forward_hook(lambda _, given, output: seen.append(given[0]))
    with torch.no_grad():
        network(image)
        expected = infection(network.single(image))
    assert torch.equal(seen[0], torch.cat([image, expected], dim=1))
    assert float(expected.std()) > 1e-3


def test_the_answer_depends_on_what_the_first_network_found() -> None:
    network, image = _small().eval(), _image()
    with torch.no_grad():
        before = network(image)
        network.single.decoder.head.bias[2:] += 2
        assert not torch.allclose(network(image), before, atol=1e-5)


def test_training_gives_the_outputs_of_both_networks() -> None:
    outputs = _small().train()(_image())
    assert isinstance(outputs, InfNetMultiOutputs)
    assert isinstance(outputs, DeepOutputs)
    assert [o.shape[1] for o in outputs] == [4, 4, 4, 4, 4, 1]
    assert outputs.final is outputs.logits
    assert [id(m) for m in outputs.maps] == [id(m) for m in outputs[:5]]
    single = _small(single_classes=1).train()(_image())
    assert [o.shape[1] for o in single] == [4, 1, 1, 1, 1, 1]


def _reached(network: nn.Module) -> bool:
    return any(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in network.parameters())


def test_the_first_network_learns_from_its_own_outputs_only() -> None:
    network = _small().train()
    outputs = network(_image())
    outputs.final.square().mean().backward(retain_graph=True)
    assert _reached(network.multi)
    assert not _reached(network.single)
    outputs.s3.square().mean().backward()
    assert _reached(network.single)


def test_a_frozen_first_network_stays_as_it_is_and_leaves_one_output() -> None:
    network = _small(frozen=True)
    before = {key: value.clone() for key, value in network.single.state_dict().items()}
    logits = network.train()(_image())
    assert isinstance(logits, Tensor)
    logits.square().mean().backward()
    after = network.single.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert all(p.grad is None for p in network.single.parameters())
    assert _reached(network.multi)
    assert network.training
    assert not network.single.training


def test_one_that_is_not_frozen_keeps_statistics() -> None:
    network = _small().train()
    before = network.single.encoder.stem[1].running_mean.clone()
    network(_image())
    assert not torch.equal(network.single.encoder.stem[1].running_mean, before)


def test_a_trained_single_network_is_taken_over() -> None:
    torch.manual_seed(5)
    trained = InfNet2D(width=4, encoder_width=8).eval()
    network, image = _small(frozen=True).eval(), _image()
    assert not torch.allclose(network.single(image), trained(image), atol=1e-3)
    network.load_single(trained.state_dict())
    assert torch.equal(network.single(image), trained(image))


def test_a_single_network_with_other_settings_is_refused_in_one_line() -> None:
    other = InfNet2D("resnet50", 4, 8)
    with pytest.raises(ModelError, match="not those of an infnet2d with the same") as caught:
        _small().load_single(other.state_dict())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("level", range(3))
def test_every_level_of_the_second_network_reaches_the_output(level: int) -> None:
    torch.manual_seed(0)
    network = PriorUNet2D((3, 5, 7), 4, 2)
    network(torch.randn(2, 2, 16, 16)).square().mean().backward()
    gradient = network.encoder[level][0].weight.grad
    assert gradient is not None
    assert float(gradient.abs().sum()) > 0


def test_what_cannot_be_is_refused() -> None:
    for channels in ((4,), (4, 0), (1,) * 7):
        with pytest.raises(ValueError, match="2 to 6 levels"):
            InfNetMulti2D(channels)
    with pytest.raises(ValueError, match="multiples of 32, got"):
        _small().eval()(torch.zeros(1, 1, 32, 48))
