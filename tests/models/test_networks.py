import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import nn

from napari_covseg import models
from napari_covseg.domain.errors import ModelError
from napari_covseg.domain.labels import NetworkClass
from napari_covseg.models.networks import NETWORKS, build, entry


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_one_file_whose_arguments_have_defaults(name: str) -> None:
    found = NETWORKS[name]
    assert found.name == name
    assert (Path(models.__file__).parent / f"{found.module}.py").is_file()
    assert "\n" not in found.description
    factory = getattr(import_module(f"napari_covseg.models.{found.module}"), found.factory)
    for parameter in inspect.signature(factory).parameters.values():
        assert parameter.default is not inspect.Parameter.empty, parameter.name


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_gives_a_logit_for_each_class_and_voxel(name: str) -> None:
    network = build(name).eval()
    size = (64, 96) if entry(name).dimensions == 2 else (16, 32, 16)
    with torch.inference_mode():
        assert network(torch.zeros(1, 1, *size)).shape == (1, len(NetworkClass), *size)


def test_arguments_reach_the_network() -> None:
    network = build("unet2d", channels=[4, 8], classes=2)
    assert network(torch.zeros(1, 1, 8, 8)).shape == (1, 2, 8, 8)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert convolutions[0].out_channels == 4


@pytest.mark.parametrize("name", ["unet9d", "", None, ["unet2d"], "__class__"])
def test_unknown_names_are_refused_with_what_there_is(name: object) -> None:
    with pytest.raises(ModelError, match=r"is not known \(known: unet2d, ") as caught:
        build(name)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("arguments", [{"depth": 3}, {"channels": [4, -8]}, {"channels": "wide"}])
def test_arguments_that_do_not_fit_are_refused_in_one_line(arguments: dict[str, object]) -> None:
    for name in ("unet2d", "unet3d"):
        with pytest.raises(ModelError, match=f"do not fit network '{name}': ") as caught:
            build(name, **arguments)
        assert "\n" not in str(caught.value)


def test_the_names_can_be_listed_without_torch() -> None:
    code = (
        "import sys; from napari_covseg.models.networks import NETWORKS; "
        "assert 'unet3d' in NETWORKS; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
