"""How unsure a network is of each voxel: the entropy of what it says on average.

``H = -sum(p ln p) / ln 4``, where ``p`` is the mean over mirrored views of the probabilities of the
four classes (`NetworkClass`). 0: it is sure; 0.5: a coin tossed between two classes; 1: all four
are equally likely. The entropy of a mean distribution is the predictive entropy of Gal (2016),
here with mirrored views as in Wang et al. (2019). It is kept as uint8, 255 for 1.

`likelihood` keeps what the entropy throws away: how likely a lesion is, and how likely it is that a
lesion is consolidation. `agree` makes these two say what the label map says.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from napari_covseg.domain.labels import LESION_LABELS, Label, NetworkClass
from napari_covseg.domain.volume import LabelMap
from napari_covseg.preprocess.coarse import CoarseGrid

ONE = 255
"""What an uncertainty of 1 is in a map."""
YES = 128
"""From here on a probability in a map says yes: 0.5, rounded to a byte."""
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


def likelihood(share: torch.Tensor) -> torch.Tensor:
    """How likely a lesion is, and how likely a lesion is consolidation.

    ``(n, 4, *spatial)`` probabilities, or their sum over views, to uint8 ``(n, 2, *spatial)``.
    """
    solid = share[:, NetworkClass.CONSOLIDATION]
    lesion = share[:, NetworkClass.GGO] + solid
    both = torch.stack((lesion / share.sum(dim=1), solid / lesion.clamp_min(_TINY)), dim=1)
    return both.mul_(ONE).round_().clamp_(0, ONE).to(torch.uint8)


def likelihood_of_volume(
    probabilities: NDArray[np.floating], restore: Callable[[NDArray], NDArray[np.float32]]
) -> NDArray[np.uint8]:
    """`likelihood` of ``(4, z, y, x)`` probabilities, brought to another grid by ``restore``.

    One map at a time: as floats on the grid of a scan they are large.
    """
    found = []
    for kind in range(2):
        here = np.empty(probabilities.shape[1:], np.float32)
        for z in range(len(here)):
            plane = torch.from_numpy(probabilities[:, z].astype(np.float32))
            here[z] = likelihood(plane[None])[0, kind].numpy()
        found.append(restore(here).round().astype(np.uint8))
    return np.stack(found)


def agree(likely: NDArray[np.uint8], labels: LabelMap) -> None:
    """Make `likelihood` ``(2, z, y, x)`` say what ``labels`` of the same model say, in place.

    Postprocessing drops specks, and a lesion need not be likelier than lung and background
    together. So that the maps alone tell what the model decided, a lesion that stands has at least
    `YES`, lung less, and what lies outside the lungs 0; likewise consolidation and GGO.
    """
    for z, plane in enumerate(labels.labels):
        lesion, solid = likely[:, z]
        sick = np.isin(plane, LESION_LABELS)
        np.maximum(lesion, YES, out=lesion, where=sick)
        np.minimum(lesion, YES - 1, out=lesion, where=~sick)
        lesion[(plane == Label.BACKGROUND.value) | (plane >= Label.IGNORE.value)] = 0
        np.maximum(solid, YES, out=solid, where=plane == Label.CONSOLIDATION.value)
        np.minimum(solid, YES - 1, out=solid, where=plane == Label.GGO.value)
        solid[lesion == 0] = 0


def only_near_lungs(unsure: NDArray[np.uint8], labels: LabelMap) -> None:
    """Set a map to 0 farther than `RIM_MM` from the lungs, in place.

    Outside the chest nobody asks. Where no lung was found, all stays: that is what is unsure.
    """
    geometry = labels.geometry
    grid = CoarseGrid.of(geometry.shape, geometry.spacing_mm)
    coarse = grid.take(labels.labels)
    lung = (coarse > Label.BACKGROUND.value) & (coarse < Label.IGNORE.value)
    if not lung.any():
        return
    near = ndimage.distance_transform_edt(~lung, sampling=grid.spacing_mm) <= RIM_MM
    for z, plane in enumerate(unsure):
        plane *= grid.slice_of(near, z)
