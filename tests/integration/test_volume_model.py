"""A network on volumes is used as one on slices is: by its folder, from library and commands."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from napari_covseg.cli.main import main
from napari_covseg.domain.labels import LUNG_LABELS, NetworkClass
from napari_covseg.domain.progress import run_to_end
from napari_covseg.io import make_phantom, read_labels, write_volume
from napari_covseg.models.checkpoint import write_checkpoint
from napari_covseg.models.unet3d import UNet3D
from napari_covseg.preprocess.steps import ClipHU, Resample, ZScore
from napari_covseg.preprocess.volume_recipe import VolumeRecipe
from napari_covseg.workflows.segment import SegmentSettings, segment

SPACING_MM = (7.5, 2.8, 2.8)
RECIPE = VolumeRecipe((ClipHU(), Resample((7.5, 4.0, 4.0)), ZScore(-500.0, 500.0)))
LUNG_HU = (-925.0, -640.0, -355.0)
"""Where a voxel begins to be lung, is it most of all, and is so no more."""


@pytest.fixture(scope="module")
def phantom():
    """With soft tissue in place of all air that is not lung: thresholds know no better."""
    made = make_phantom((40, 128, 128), SPACING_MM)
    hu = made.volume.hu
    hu = np.where((made.labels.labels == 0) & (hu < -300), np.int16(40), hu)
    return replace(made, volume=replace(made.volume, hu=hu))


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> Path:
    """A U-Net of one level whose weights are set by hand: lung is what is as dark as lung."""
    network = UNet3D((2,)).eval()
    first, first_norm, _, second, second_norm, _ = network.encoder[0]
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    begin, most, _ = ((hu + 500) / 500 for hu in LUNG_HU)
    with torch.no_grad():
        for channel, edge in enumerate((begin, most)):
            first.weight[channel, 0, 1, 1, 1] = 1  # relu(x - edge)
            first_norm.weight[channel], first_norm.bias[channel] = 1, -edge
            second.weight[channel, channel, 1, 1, 1] = 1
            second_norm.weight[channel] = 1
        network.head.weight[NetworkClass.LUNG, :, 0, 0, 0] = torch.tensor([64.0, -128.0])
        network.head.bias[NetworkClass.GGO] = network.head.bias[NetworkClass.CONSOLIDATION] = -99
    folder = tmp_path_factory.mktemp("model")
    about = {"version": "0.1", "patch": [16, 48, 48]}
    write_checkpoint(folder, "by-hand", network, "unet3d", {"channels": [2]}, RECIPE, about)
    return folder


def lung_dice(found, truth, labels):
    a, b = np.isin(found, labels), np.isin(truth, labels)
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("flips", ["none", "all"])
def test_lungs_are_found_on_their_sides(model_folder, phantom, flips):
    settings = SegmentSettings(model=str(model_folder), device="cpu", flips=flips)
    result = run_to_end(segment(phantom.volume, settings))
    found, truth = result.labels.labels, phantom.labels.labels
    assert lung_dice(found, truth, LUNG_LABELS) > 0.9
    for side in (1, 2):
        assert lung_dice(found, truth, [side]) > 0.85
    assert result.labels.geometry is phantom.volume.geometry
    assert result.provenance["model"]["name"] == "by-hand"


def test_the_command_takes_its_folder(model_folder, phantom, tmp_path, capsys):
    scan = write_volume(phantom.volume, tmp_path / "scan_0000.nii.gz")
    out = tmp_path / "out"
    command = ["segment", str(scan), "--output", str(out), "--model", str(model_folder)]
    assert main([*command, "--device", "cpu", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)["results"][0]
    assert report["provenance"]["model"]["name"] == "by-hand"
    found = read_labels(out / "scan_labels.nii.gz").labels
    assert lung_dice(found, phantom.labels.labels, LUNG_LABELS) > 0.9
