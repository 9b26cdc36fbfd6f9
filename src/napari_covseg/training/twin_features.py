"""The extractor that classifiers are trained on: those of `models`, or one that needs ImageNet."""

from __future__ import annotations

from pathlib import Path

import torch

from napari_covseg.domain.errors import UsageError
from napari_covseg.models.feature_extractors import (
    TWIN,
    Extractor,
    covseg_extractor,
    load_extractor,
)


def extractor_for_training(name: str, weights: Path | None = None) -> Extractor:
    """As `load_extractor`, and ``covseg+imagenet``, whose ImageNet weights the extra train brings.

    Raises
    ------
    UsageError, ModelError
        As of `load_extractor`; if the extra is not installed.
    """
    if name != TWIN:
        return load_extractor(name, weights)
    if weights is not None:
        raise UsageError(f"the features of {name} take no file of weights; leave it out")
    from napari_covseg.models.twin_extractor import TwinExtractor
    from napari_covseg.models.unet_lite import UNetLite
    from napari_covseg.training.pretrained import imagenet_weights, load_encoder

    first, second = covseg_extractor(), UNetLite()
    load_encoder(second, imagenet_weights())
    with torch.no_grad():
        for value in second.encoder.state_dict().values():
            if value.ndim > 1:
                # As they are kept: features are then the same when the classifier is read again.
                value.copy_(value.half())
    twin = TwinExtractor(first.network, second.encoder, first.sha256)
    return twin.eval().requires_grad_(False)
