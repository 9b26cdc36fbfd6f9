import pytest
import torch

from napari_covseg.io import make_phantom, write_volume
from napari_covseg.models.checkpoint import write_checkpoint
from napari_covseg.models.unet2d import UNet2D
from napari_covseg.preprocess.recipe import AxialRecipe


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A small untrained model on disk."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    write_checkpoint(
        folder,
        "tiny",
        UNet2D((4, 8)),
        "unet2d",
        {"channels": [4, 8]},
        AxialRecipe(),
        {"version": "0.1", "licence": "none needed"},
    )
    return folder


@pytest.fixture(scope="session")
def scan(tmp_path_factory):
    """A small phantom as a NIfTI file."""
    phantom = make_phantom((12, 64, 64), (20.0, 5.6, 5.6))
    return write_volume(phantom.volume, tmp_path_factory.mktemp("scan") / "scan_0000.nii.gz")
