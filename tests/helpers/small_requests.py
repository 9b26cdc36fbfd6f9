"""Requests to segment a small CT by a tiny network, as runs over many CTs make them."""

import shutil

import torch

from napari_covseg.io import make_phantom, write_volume
from napari_covseg.models.checkpoint import write_checkpoint
from napari_covseg.models.unet2d import UNet2D
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.workflows.segment_many import CaseRequest, loaded_model_key
from napari_covseg.workflows.segment_settings import SegmentSettings


def request_maker(folder):
    """Writes the CT into ``folder/in`` by a name; results go to ``folder/out``."""
    torch.manual_seed(0)
    for name in ("model", "in", "out"):
        (folder / name).mkdir()
    write_checkpoint(
        *(folder / "model", "tiny", UNet2D((4, 8)), "unet2d", {"channels": [4, 8]}),
        *(AxialRecipe(), {"version": "0.1", "licence": "none needed"}),
    )
    phantom = make_phantom((12, 64, 64), (20.0, 5.6, 5.6))
    scan = write_volume(phantom.volume, folder / "scan.nii.gz")
    settings = SegmentSettings(model=str(folder / "model"), device="cpu")
    key = loaded_model_key(str(folder / "model"))

    def make(name):
        path = folder / "in" / f"{name}.nii.gz"
        shutil.copy(scan, path)
        return CaseRequest(path, folder / "out", settings, key, case=name)

    return make
