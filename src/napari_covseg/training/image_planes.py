"""Prepared pictures for training: read when they are asked for, kept as far as memory goes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_covseg.io.images import read_picture
from napari_covseg.preprocess.pictures import PictureRecipe

_HELD_BYTES = 2 << 30
_READERS = 4


class PreparedPictures:
    """Pictures as uint8 planes; the first 2 GiB that were asked for stay in memory."""

    def __init__(self, paths: Sequence[Path], recipe: PictureRecipe) -> None:
        self._paths, self._recipe = paths, recipe
        self._held: dict[int, NDArray[np.uint8]] = {}
        self._room = _HELD_BYTES // recipe.size**2

    def batch(self, places: NDArray[np.intp]) -> Tensor:
        """Pictures ``(n, 1, size, size)`` in [-1, 1].

        Raises
        ------
        InputError
            If one cannot be read.
        """
        with ThreadPoolExecutor(_READERS) as pool:
            planes = np.stack(list(pool.map(self._plane, map(int, places))))
        return torch.from_numpy(planes)[:, None].float() / 127.5 - 1

    def _plane(self, place: int) -> NDArray[np.uint8]:
        if place in self._held:
            return self._held[place]
        grey = self._recipe.apply(read_picture(self._paths[place]).grey)
        plane = np.asarray(np.rint(grey * 255), np.uint8)
        if len(self._held) < self._room:
            self._held[place] = plane
        return plane
