"""Where a classifier looks: Grad-CAM (Selvaraju et al. 2017) on its frozen network.

The gradient is taken place by place (Draelos & Carin 2020, "HiResCAM"): for features that are means
over the whole map that is Grad-CAM itself, and for those that are means over the lungs it says, as
Grad-CAM's mean gradient would not, that nothing else counted.

The map is of the log odds of a class against all others, so that it also exists where a head gives
one number for two classes. A few lines of its own, since the gradient is asked for between the
network's map and the trained head, which are no layers of one module; in tests Captum's
LayerGradCam is the reference.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from napari_covseg.models.feature_extractors import Extractor
from napari_covseg.models.image_classifier import ImageClassifier


def grad_cam(
    classifier: ImageClassifier, plane: NDArray[np.float32], code: int
) -> NDArray[np.float32]:
    """What speaks for the class with that code, in a prepared picture ``(size, size)`` in [0, 1].

    Returns
    -------
    float32 ``(size, size)``, 0 to 1 (the strongest place); all 0 where nothing speaks for it.
    """
    extractor = classifier.extractor
    device = next((p.device for p in extractor.parameters()), torch.device("cpu"))
    grey = torch.from_numpy(plane)[None, None].to(device)
    with torch.no_grad():
        maps, beside = extractor.maps(grey)
    maps = maps.float().detach().cpu().requires_grad_()
    features = extractor.from_maps(maps, beside.cpu(), classifier.pooled)
    odds = log_odds(classifier.explain.logits(features).mean(dim=0), code)
    (gradient,) = torch.autograd.grad(odds.sum(), maps)
    heat = (gradient * maps.detach()).sum(dim=1, keepdim=True).relu()
    drawn = _drawn(heat[0, 0], extractor, (plane.shape[0], plane.shape[1]))
    top = float(drawn.max())
    return np.asarray((drawn / top if top > 0 else drawn).numpy(), np.float32)


def _drawn(heat: Tensor, extractor: Extractor, shape: tuple[int, int]) -> Tensor:
    """A map over its picture, each place where it is centred: bilinear between places.

    A network's padding may move its places by half of their distance against an even spread.
    """
    rows, columns = (
        _between(pixels, places, *extractor.centres(pixels, places))
        for pixels, places in zip(shape, heat.shape, strict=True)
    )
    return rows @ heat @ columns.T


def _between(pixels: int, places: int, first: float, step: float) -> Tensor:
    """How much each place counts for each pixel along a side, ``(pixels, places)``; rows sum to 1.

    Pixels beyond the outermost centres take their place's value.
    """
    at = ((torch.arange(pixels) - first) / step).clamp(0, places - 1)
    return (1 - (at[:, None] - torch.arange(places)).abs()).clamp(min=0)


def log_odds(logits: Tensor, code: int) -> Tensor:
    """Of a class against the others: ``(n, classes)`` to ``(n,)``."""
    others = [c for c in range(logits.shape[1]) if c != code]
    return logits[:, code] - logits[:, others].logsumexp(dim=1)


def on_picture(
    heat: NDArray[np.float32], classifier: ImageClassifier, shape: tuple[int, int]
) -> NDArray[np.float32]:
    """A heat map laid over the whole picture ``(y, x)``; 0 where the recipe cut its border off."""
    result = np.zeros(shape, np.float32)
    rows, columns = classifier.recipe.central(shape)
    size = (rows.stop - rows.start, columns.stop - columns.start)
    resized = F.interpolate(
        torch.from_numpy(heat)[None, None], size=size, mode="bilinear", align_corners=False
    )
    result[rows, columns] = resized[0, 0].numpy()
    return result
