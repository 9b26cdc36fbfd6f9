"""From a CT volume and a model to classes in the volume's grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_covseg.domain.progress import Steps
from napari_covseg.domain.volume import CTVolume
from napari_covseg.inference.axial import predict_slices
from napari_covseg.inference.runner import Prediction, Wanted
from napari_covseg.inference.sliding import predict_volume
from napari_covseg.models.device import Device
from napari_covseg.preprocess.volume_recipe import VolumeRecipe

if TYPE_CHECKING:
    from napari_covseg.models.checkpoint import Model


def predict(
    volume: CTVolume,
    model: Model,
    device: Device,
    flips: str = "none",
    uncertainty: bool = False,
    likelihood: bool = False,
) -> Steps[Prediction]:
    """Classify every voxel of ``volume``, slice by slice or patch by patch as its recipe says.

    One step is a batch of slices or patches, so closing the generator cancels within a batch.
    Equal input gives equal output on one device and number of threads. With ``uncertainty`` the
    result also says how unsure the network is of each voxel, over the same mirrored views; with
    ``likelihood`` how likely a lesion and consolidation are there.

    Raises
    ------
    InputError
        If the volume has no axial plane to speak of.
    ResourceError
        If memory ran out on the CPU too.
    ModelError
        If the network failed on its input.
    """
    wanted = Wanted(uncertainty, likelihood)
    if isinstance(model.recipe, VolumeRecipe):
        return predict_volume(volume, model, model.recipe, device, flips, wanted=wanted)
    return predict_slices(volume, model, model.recipe, device, flips, wanted)
