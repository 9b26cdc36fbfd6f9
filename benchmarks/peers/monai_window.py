"""Our networks in MONAI's sliding windows, the way its tutorials and bundles put a network there.

Dictionary transforms, `SliceInferer` or `SlidingWindowInferer`, softmax, `Invertd`, argmax.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer, SliceInferer, SlidingWindowInferer
from monai.transforms import (
    Activationsd,
    AsDiscreted,
    Compose,
    Invertd,
    NormalizeIntensityd,
    ScaleIntensityRanged,
    Spacingd,
)

from benchmarks.peers.work import Labels
from napari_covseg.domain.volume import CTVolume
from napari_covseg.models.device import choose_device
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.preprocess.steps import ClipHU, Resample, ZScore
from napari_covseg.preprocess.volume_recipe import VolumeRecipe

if TYPE_CHECKING:
    from napari_covseg.models.checkpoint import Model

SLICES_AT_ONCE = 4


def segment(volume: CTVolume, model: Model, device: str, autocast: bool = False) -> Labels:
    """Classes by a slice-wise or a volume-wise network, as its recipe says.

    ``autocast`` runs the network in the precision that ours has on this device, which MONAI leaves
    to who uses it; without it, float32.
    """
    chosen = choose_device(device)
    place = torch.device(chosen.name)
    prepare = Compose([*_intensity(model), _spacing(volume, model)])
    data = prepare({"image": _image(volume, place)})
    precision = getattr(torch, chosen.precision)
    casting = torch.autocast(chosen.kind, precision) if autocast else nullcontext()
    with torch.inference_mode(), casting:
        network = model.network.to(place)
        inferer = _inferer(model, tuple(data["image"].shape[1:]))
        data["pred"] = inferer(data["image"][None], network)[0].float()
    finish = Compose(
        [
            Activationsd(keys="pred", softmax=True),
            Invertd(keys="pred", transform=prepare, orig_keys="image", nearest_interp=False),
            AsDiscreted(keys="pred", argmax=True),
        ]
    )
    labels: Labels = finish(data)["pred"][0].to(torch.uint8).cpu().numpy()
    return labels


def _image(volume: CTVolume, place: torch.device) -> MetaTensor:
    affine = np.diag([*volume.geometry.spacing_mm, 1.0])
    # Read-only voxels make PyTorch warn; int16 becomes float32 in the first transform.
    return MetaTensor(torch.tensor(volume.hu)[None].to(place), affine=torch.from_numpy(affine))


def _intensity(model: Model) -> list[Any]:
    if isinstance(model.recipe, AxialRecipe):
        low, high = model.recipe.window_hu
        return [ScaleIntensityRanged("image", low, high, -1.0, 1.0, clip=True)]
    clip, grey = _step(model.recipe, ClipHU), _step(model.recipe, ZScore)
    return [
        ScaleIntensityRanged("image", clip.low, clip.high, clip.low, clip.high, clip=True),
        NormalizeIntensityd("image", subtrahend=grey.mean, divisor=grey.std),
    ]


def _spacing(volume: CTVolume, model: Model) -> Spacingd:
    if isinstance(model.recipe, AxialRecipe):
        z_mm = volume.geometry.spacing_mm[0]
        pixdim = (z_mm, model.recipe.pixel_mm, model.recipe.pixel_mm)
    else:
        pixdim = _step(model.recipe, Resample).spacing_mm
    # float32, where MONAI's default is float64: faster, and exact enough.
    return Spacingd("image", pixdim=pixdim, mode="bilinear", dtype=np.float32)


def _inferer(model: Model, shape: tuple[int, ...]) -> Inferer:
    if isinstance(model.recipe, AxialRecipe):
        n = model.recipe.multiple
        window = tuple(-(-size // n) * n for size in shape[1:])
        return SliceInferer(
            0, roi_size=window, sw_batch_size=SLICES_AT_ONCE, overlap=0.25, cval=-1.0
        )
    card = model.card
    air = (_step(model.recipe, ClipHU).low - _step(model.recipe, ZScore).mean) / _step(
        model.recipe, ZScore
    ).std
    return SlidingWindowInferer(
        card["patch"], 1, overlap=card["overlap"], mode=card["weighting"], cval=air
    )


def _step(recipe: VolumeRecipe, kind: type) -> Any:
    return next(step for step in recipe.steps if isinstance(step, kind))
