"""What holds for each of the networks from the papers, at small widths."""

import copy
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from napari_covseg.models.checkpoint import read_checkpoint, write_checkpoint
from napari_covseg.models.fold import fold_batch_norm
from napari_covseg.models.fuse import FusedConv, fuse_activations
from napari_covseg.models.networks import build, entry
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.preprocess.volume_recipe import VolumeRecipe

SMALL: list[tuple[str, dict[str, Any]]] = [
    ("qchc_unet3d", {"channels": [3, 5, 9]}),
    ("qchc_unet3d", {"channels": [3, 5], "quick": False}),
    ("qchc_unet3d", {"channels": [3, 5], "hypercolumns": False}),
    ("attention_unet2d", {"width": 3, "widest": 7}),
    ("attention_unet2d", {"width": 3, "widest": 5, "blocks": 6, "attention": False}),
    ("efficientnet_unet2d", {"decoder": [5, 5, 5, 3, 3]}),
    ("efficientnet_unet2d", {"decoder": [5, 5, 5, 3, 3], "frozen": True}),
    ("unetplusplus2d", {"channels": [3, 5, 7]}),
    ("infnet2d", {"width": 5, "encoder_width": 8}),
    ("infnet2d", {"width": 5, "encoder_width": 4, "encoder": "resnet50"}),
    ("infnet2d_multi", {"channels": [3, 5, 7], "width": 5, "encoder_width": 4}),
    ("infnet2d_multi", {"channels": [3, 5], "width": 5, "encoder_width": 4, "frozen": True}),
]
# One network after the other, each through all tests: `_trained_once` keeps the last one.
each = pytest.mark.parametrize(
    ("name", "arguments"),
    SMALL,
    ids=[f"{name}-{i}" for i, (name, _) in enumerate(SMALL)],
    scope="module",
)


def _network(name: str, arguments: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    return build(name, **arguments)


def _image(name: str) -> Tensor:
    torch.manual_seed(1)
    size = (64, 64) if entry(name).dimensions == 2 else (8, 8, 16)
    return torch.randn(2, 1, *size)


def _outputs(given: Any) -> Iterator[Tensor]:
    yield from [given] if isinstance(given, Tensor) else given


def _trained(name: str, arguments: dict[str, Any]) -> nn.Module:
    """In evaluation mode, with batch statistics that are not 0 and 1."""
    return copy.deepcopy(_trained_once(name, json.dumps(arguments)))


@lru_cache(maxsize=1)
def _trained_once(name: str, arguments: str) -> nn.Module:
    network = _network(name, json.loads(arguments))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
                module.momentum = 0.5
        network.train()(_image(name))
    return network.eval()


@each
def test_gradient_reaches_every_parameter_that_is_trained(
    name: str, arguments: dict[str, Any]
) -> None:
    network = _network(name, arguments).train()
    outputs = network(_image(name))
    torch.stack([o.square().mean() for o in _outputs(outputs)]).sum().backward()
    trained = {k: p for k, p in network.named_parameters() if p.requires_grad}
    dead = [k for k, p in trained.items() if p.grad is None or not float(p.grad.abs().sum()) > 0]
    assert dead == []
    assert all(bool(p.grad.isfinite().all()) for p in trained.values() if p.grad is not None)


@each
def test_a_stored_network_gives_what_it_gave(
    name: str, arguments: dict[str, Any], tmp_path: Path
) -> None:
    network, image = _trained(name, arguments), _image(name)
    recipe = AxialRecipe() if entry(name).dimensions == 2 else VolumeRecipe(())
    about = {"version": "1"}
    card = write_checkpoint(tmp_path, "small", network, name, arguments, recipe, about)
    model = read_checkpoint(card)
    assert model.card["arguments"] == arguments
    with torch.inference_mode():
        expected, found = network(image), model.network(image)
    scale = float(expected.std())
    assert scale > 0
    assert float((found - expected).abs().max()) < 0.02 * scale + 1e-3  # weights in float16
    assert not model.network.training


@each
def test_folding_changes_no_output(name: str, arguments: dict[str, Any]) -> None:
    network, image = _trained(name, arguments), _image(name)
    folded = fold_batch_norm(copy.deepcopy(network))
    with torch.inference_mode():
        torch.testing.assert_close(folded(image), network(image), atol=1e-3, rtol=1e-3)


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fused_activations_change_no_output(
    name: str, arguments: dict[str, Any], dtype: torch.dtype
) -> None:
    plain, image = fold_batch_norm(_trained(name, arguments)), _image(name)
    fused = fuse_activations(copy.deepcopy(plain), dtype)
    assert any(isinstance(module, FusedConv) for module in fused.modules())
    with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        expected = plain(image).float()
        # Twice: weights are laid out at the first call. In bfloat16 sums may be rounded otherwise.
        for _ in range(2):
            torch.testing.assert_close(
                fused(image).float(),
                expected,
                atol=float(expected.std()) * (1e-4 if dtype == torch.float32 else 0.1),
                rtol=0,
            )


@each
def test_it_runs_in_mixed_precision(name: str, arguments: dict[str, Any]) -> None:
    network, image = _network(name, arguments).train(), _image(name)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = network(image)
        torch.stack([o.float().square().mean() for o in _outputs(outputs)]).sum().backward()
    assert all(bool(o.isfinite().all()) for o in _outputs(outputs))
    network = _trained(name, arguments)
    with torch.inference_mode():
        expected = network(image)
        with torch.autocast("cpu", torch.bfloat16):
            found = network(image)
    assert found.dtype == torch.bfloat16
    assert float((found - expected).abs().mean()) < 0.1 * float(expected.std()) + 1e-2


@each
def test_evaluation_gives_one_tensor_that_does_not_depend_on_the_batch(
    name: str, arguments: dict[str, Any]
) -> None:
    network, image = _trained(name, arguments), _image(name)
    with torch.inference_mode():
        both = network(image)
        assert both.shape == (2, 4, *image.shape[2:])
        torch.testing.assert_close(network(image[1:]), both[1:], atol=1e-4, rtol=1e-4)
        assert not torch.allclose(both[0], both[1], atol=1e-4)
