"""Lesions out of a segmentation network: each connected body that it sees in a slice is one.

Nothing has to be trained for it, so the shipped network finds lesions, too. It answers as
`LesionRCNN` does.
"""

from __future__ import annotations

from collections.abc import Sequence

import cc3d
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_covseg.domain.labels import NetworkClass
from napari_covseg.models.mask_rcnn import CLASSES

LEAST_PIXELS = 8
"""Smaller bodies are left out, as lesions are that teach detectors."""


class LesionBodies(nn.Module):
    """A segmentation network of axial slices as a detector.

    Called with pictures ``(1, h, w)`` in [-1, 1], height and width multiples of 32; gives a dict a
    picture as `LesionRCNN` in evaluation: the connected bodies (8 neighbours) of GGO and of
    consolidation, the highest score first. The score is the mean probability of its class over the
    body; masks are 0 or 1.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        """See the class."""
        return [self._of_one(image) for image in images]

    def _of_one(self, image: Tensor) -> dict[str, Tensor]:
        shares = self.network(image[None].float()).float().softmax(dim=1)[0].cpu().numpy()
        best = shares.argmax(axis=0)
        found: list[tuple[float, int, NDArray[np.bool_]]] = []
        for number, label in CLASSES.items():
            channel = NetworkClass[label.name]
            bodies, count = cc3d.connected_components(
                np.ascontiguousarray(best == channel), connectivity=8, return_N=True
            )
            for body in range(1, count + 1):
                mask = bodies == body
                if np.count_nonzero(mask) >= LEAST_PIXELS:
                    found.append((float(shares[channel][mask].mean()), number, mask))
        found.sort(key=lambda one: -one[0])
        masks = (
            np.stack([mask for *_, mask in found]) if found else np.zeros((0, *best.shape), bool)
        )
        answer = {
            "boxes": np.array([_box(mask) for mask in masks], np.float32).reshape(-1, 4),
            "labels": np.array([label for _, label, _ in found], np.int64),
            "scores": np.array([score for score, *_ in found], np.float32),
            "masks": masks[:, None].astype(np.float32),
        }
        return {name: torch.from_numpy(value).to(image.device) for name, value in answer.items()}


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
