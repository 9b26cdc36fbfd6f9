"""Our own inference, as the peers are asked for it: voxels in memory to classes in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.peers.work import Labels
from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import CTVolume
from napari_covseg.inference.predictor import predict
from napari_covseg.models.device import choose_device

if TYPE_CHECKING:
    from napari_covseg.models.checkpoint import Model


def segment(volume: CTVolume, model: Model, device: str) -> Labels:
    """What `covseg segment` does before postprocessing."""
    return run_to_end(predict(volume, model, choose_device(device))).classes
