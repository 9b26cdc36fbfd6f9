import pytest
import torch

from napari_covseg.models.checkpoint import write_checkpoint
from napari_covseg.models.unet2d import UNet2D
from napari_covseg.preprocess.recipe import AxialRecipe


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A small untrained model on disk."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    network = UNet2D((4, 8))
    write_checkpoint(
        folder, "tiny", network, "unet2d", {"channels": [4, 8]}, AxialRecipe(), {"version": "0.1"}
    )
    return folder
