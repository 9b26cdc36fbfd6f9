"""The five lobes by lungmask's networks, step by step as its own ``LMInferer`` goes.

Its functions do the cropping, the resizing and the cleaning up; here they go in batches of slices,
with progress, on the device that was chosen. The arithmetic is float32, as there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_covseg.domain.errors import ModelError, ResourceError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import CTVolume
from napari_covseg.inference.runner import is_out_of_memory
from napari_covseg.models.device import Device, choose_device
from napari_covseg.models.lungmask_weights import LobeNetworks

_SIZE_PX = 256
_MOST_HU, _LEAST_HU = 600, -1024
_BATCH = {"cpu": 4}
_GPU_BATCH = 20


def predict_lobes(
    volume: CTVolume, networks: LobeNetworks, device: Device
) -> Steps[NDArray[np.uint8]]:
    """`Lobe` of each voxel, uint8 ``(z, y, x)``, 0 outside the lungs.

    What the network for lobes leaves out of the lungs takes the lobe beside it, and what it finds
    outside them goes, where there is a network that fills gaps.

    Raises
    ------
    ModelError
        If a network fails on the volume.
    ResourceError
        If memory ran out.
    """
    from lungmask import utils

    found = yield from _one(volume.hu, networks.lobes, device, "finding lobes")
    if networks.fill is None:
        return found
    lungs = yield from _one(volume.hu, networks.fill, device, "finding lungs")
    yield Progress(0, 1, "filling the lobes")
    gap = int(found.max()) + 1
    found[(found == 0) & (lungs > 0)] = gap
    found[lungs == 0] = 0
    fused: NDArray[np.uint8] = utils.postprocessing(found, spare=[gap], disable_tqdm=True)
    return fused


def _one(
    hu: NDArray[Any], network: nn.Module, device: Device, doing: str
) -> Steps[NDArray[np.uint8]]:
    """What one network finds, cleaned up, on the volume's grid."""
    from lungmask import utils

    small: list[NDArray[np.uint8]] = []
    boxes: list[NDArray[np.intp]] = []
    batch, done = _BATCH.get(device.kind, _GPU_BATCH), 0
    network = network.to(device.name)
    while done < len(hu):
        yield Progress(done, len(hu), f"{doing} on {device.title}")
        slices, box = utils.preprocess(hu[done : done + batch], resolution=[_SIZE_PX, _SIZE_PX])
        try:
            small.append(_classes(slices, network, device))
        except (RuntimeError, MemoryError) as error:
            batch, device = _after(error, batch, device)
            network = network.to(device.name)
            continue
        boxes += box
        done += len(slices)
    yield Progress(done, len(hu), "cleaning up")
    cleaned = utils.postprocessing(np.concatenate(small), disable_tqdm=True)
    return np.stack(
        [
            utils.reshape_mask(plane, box, hu.shape[1:]).astype(np.uint8)
            for plane, box in zip(cleaned, boxes, strict=True)
        ]
    )


def _classes(slices: NDArray[Any], network: nn.Module, device: Device) -> NDArray[np.uint8]:
    """The likeliest class of each pixel of slices in HU, both ``(n, y, x)``."""
    scaled = (np.minimum(slices, _MOST_HU) - _LEAST_HU) / (_MOST_HU - _LEAST_HU)
    inputs = torch.as_tensor(scaled[:, None], dtype=torch.float32, device=device.name)
    with torch.inference_mode():
        classes = network(inputs).argmax(dim=1)
    return np.asarray(classes.to(torch.uint8).cpu().numpy())


def _after(error: RuntimeError | MemoryError, batch: int, device: Device) -> tuple[int, Device]:
    """What to go on with when a batch failed: a smaller one, then the CPU."""
    if not is_out_of_memory(error):
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"lungmask failed on {device.title}: {reason}") from error
    if device.kind == "cuda":
        torch.cuda.empty_cache()
    if batch > 1:
        return batch // 2, device
    if device.kind == "cpu":
        raise ResourceError(
            "not enough memory to find the lobes: close other programs, or use a machine with more"
        ) from error
    return _BATCH["cpu"], choose_device("cpu")
