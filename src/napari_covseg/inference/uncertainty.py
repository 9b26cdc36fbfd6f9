"""How unsure a network is of each voxel: the entropy of what it says on average.

``H = -sum(p ln p) / ln 4``, where ``p`` is the mean over mirrored views of the probabilities of the
four classes (`NetworkClass`). 0: it is sure; 0.5: a coin tossed between two classes; 1: all four
are equally likely. The entropy of a mean distribution is the predictive entropy of Gal (2016),
here with mirrored views as in Wang et al. (2019). It is kept as uint8, 255 for 1.
"""

from __future__ import annotations

from math import log

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from napari_covseg.domain.labels import Label, NetworkClass
from napari_covseg.domain.volume import LabelMap
from napari_covseg.preprocess.coarse import CoarseGrid

ONE = 255
"""What an uncertainty of 1 is in a map."""
RIM_MM = 10.0
"""Lung that a network missed lies beside lung that it found."""
_TINY = 1e-12


def entropy(share: torch.Tensor) -> torch.Tensor:
    """``(n, 4, *spatial)`` probabilities, or their sum over views, to uint8 ``(n, *spatial)``."""
    total = share.sum(dim=1)
    # With p = s / t the sum is ln t - sum(s ln s) / t: no second copy for p.
    nats = (share * share.clamp_min(_TINY).log()).sum(dim=1).div_(-total).add_(total.log())
    return nats.mul_(ONE / log(len(NetworkClass))).round_().clamp_(0, ONE).to(torch.uint8)


def entropy_of_volume(probabilities: NDArray[np.floating]) -> NDArray[np.uint8]:
    """``(4, z, y, x)`` probabilities to ``(z, y, x)``, a slice at a time."""
    found = np.empty(probabilities.shape[1:], np.uint8)
    for z in range(len(found)):
        plane = torch.from_numpy(probabilities[:, z].astype(np.float32))
        found[z] = entropy(plane[None])[0].numpy()
    return found


def only_near_lungs(unsure: NDArray[np.uint8], labels: LabelMap) -> None:
    """Set a map to 0 farther than `RIM_MM` from the lungs, in place.

    Outside the chest nobody asks. Where no lung was found, all stays: that is what is unsure.
    """
    geometry = labels.geometry
    grid = CoarseGrid.of(geometry.shape, geometry.spacing_mm)
    coarse = grid.take(labels.labels)
    lung = (coarse > Label.BACKGROUND) & (coarse < Label.IGNORE)
    if not lung.any():
        return
    near = ndimage.distance_transform_edt(~lung, sampling=grid.spacing_mm) <= RIM_MM
    for z, plane in enumerate(unsure):
        plane *= grid.slice_of(near, z)
