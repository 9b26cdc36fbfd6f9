"""A detector on one prepared slice."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_covseg.metrics.detection import Found
from napari_covseg.models.device import Device
from napari_covseg.models.lesion_bodies import LesionBodies
from napari_covseg.models.mask_rcnn import LesionRCNN

MASK_FROM = 0.5
"""The probability from which a pixel belongs to a mask."""
MULTIPLE = 32
"""Height and width that the network is run on are multiples of this."""


def detect_in_slice(
    network: LesionRCNN | LesionBodies, grey: NDArray[np.uint8], device: Device
) -> Found:
    """What an evaluating network finds in a slice, uint8 ``(y, x)``, on its grid."""
    height, width = grey.shape
    image = torch.from_numpy(grey.astype(np.float32)).div_(127.5).sub_(1)
    down, right = -height % MULTIPLE, -width % MULTIPLE
    image = nn.functional.pad(image[None], (0, right, 0, down), value=-1.0)
    with torch.inference_mode(), autocast(device):
        (found,) = network([image.to(device.name)])
    return Found(
        found["boxes"].float().cpu().numpy().clip(0, [width, height] * 2),
        found["labels"].cpu().numpy(),
        found["scores"].float().cpu().numpy(),
        (found["masks"][:, 0, :height, :width] >= MASK_FROM).cpu().numpy(),
    )


def autocast(device: Device) -> AbstractContextManager[Any]:
    """Half precision on CUDA; regions and the arithmetic of boxes lose too much of it elsewhere."""
    precision = precision_of(device)
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.kind, getattr(torch, precision))


def precision_of(device: Device) -> str:
    """What a detector computes in."""
    return device.precision if device.kind == "cuda" else "float32"
