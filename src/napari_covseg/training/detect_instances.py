"""Lesions of a slice as instances: each connected body of GGO or consolidation is one."""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
import torch
from numpy.typing import NDArray

from napari_covseg.domain.labels import Label
from napari_covseg.models.mask_rcnn import CLASSES
from napari_covseg.training.dataset import UNLABELLED

UNKNOWN_CODES = (Label.INFECTION, Label.IGNORE, UNLABELLED)
"""Training codes that leave open whether a lesion of which class is there."""
LEAST_PIXELS = 8


@dataclass(frozen=True, eq=False)
class Instances:
    """The lesions of one slice.

    Parameters
    ----------
    boxes
        float32 ``(n, 4)``: x0, y0, x1, y1 in pixels; pixel ``i`` reaches from ``i`` to ``i + 1``.
    labels
        int64 ``(n,)``, of `CLASSES`.
    masks
        bool ``(n, y, x)``.
    ignored
        bool ``(y, x)``: what is there is not known, or too small to count.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    masks: NDArray[np.bool_]
    ignored: NDArray[np.bool_]

    def target(self) -> dict[str, torch.Tensor]:
        """As `LesionRCNN` takes it."""
        return {
            "boxes": torch.from_numpy(self.boxes),
            "labels": torch.from_numpy(self.labels),
            "masks": torch.from_numpy(self.masks.astype(np.uint8)),
            "ignored": torch.from_numpy(self.ignored),
        }


def instances_of(codes: NDArray[np.uint8], least_pixels: int = LEAST_PIXELS) -> Instances:
    """The connected lesions (8 neighbours) of training codes ``(y, x)``, GGO before consolidation.

    Touching bodies of both classes are two lesions. Those of fewer than ``least_pixels``, infection
    of unknown class and what nobody reviewed are ignored: neither lesions nor background.
    """
    ignored = np.isin(codes, UNKNOWN_CODES)
    masks: list[NDArray[np.bool_]] = []
    labels: list[int] = []
    for number, label in CLASSES.items():
        bodies, count = cc3d.connected_components(
            np.ascontiguousarray(codes == label), connectivity=8, return_N=True
        )
        for body in range(1, count + 1):
            mask = bodies == body
            if np.count_nonzero(mask) < least_pixels:
                ignored |= mask
                continue
            masks.append(mask)
            labels.append(number)
    boxes = np.array([box_of(mask) for mask in masks], np.float32).reshape(-1, 4)
    stacked = np.stack(masks) if masks else np.zeros((0, *codes.shape), bool)
    return Instances(boxes, np.array(labels, np.int64), stacked, ignored)


def box_of(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 around a mask ``(y, x)`` that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
