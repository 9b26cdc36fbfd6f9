"""What is done to a picture before a network classifies it; stored with the classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_covseg.preprocess.clahe import equalise

_TILES, _CLIP_LIMIT, _BINS = 8, 0.02, 256


@dataclass(frozen=True, slots=True)
class PictureRecipe:
    """Preparation of a grey picture.

    Parameters
    ----------
    size
        Pixels a side that the picture is scaled to; its aspect ratio is not kept, since that tells
        where a picture comes from rather than what it shows.
    keep
        Fraction of each side, around the middle, that is kept: borders hold captions and marks.
    clahe
        Whether contrast is equalised (`napari_covseg.preprocess.clahe`).

    Raises
    ------
    ValueError
        If the size is not positive or the fraction not in (0, 1].
    """

    size: int = 224
    keep: float = 1.0
    clahe: bool = False

    def __post_init__(self) -> None:
        if self.size < 1 or not 0 < self.keep <= 1:
            raise ValueError(f"not a usable recipe: {self}")

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> PictureRecipe:
        """The recipe that `to_dict` wrote."""
        return cls(int(fields["size"]), float(fields["keep"]), bool(fields["clahe"]))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def central(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """The rows and columns of a picture ``(y, x)`` that are kept."""
        rows, columns = (self._kept(length) for length in shape)
        return rows, columns

    def _kept(self, length: int) -> slice:
        kept = max(1, round(length * self.keep))
        start = (length - kept) // 2
        return slice(start, start + kept)

    def apply(self, grey: NDArray[np.float32]) -> NDArray[np.float32]:
        """Grey ``(y, x)`` in [0, 1] to ``(size, size)`` in [0, 1]."""
        from PIL import Image

        central = np.ascontiguousarray(grey[self.central((grey.shape[0], grey.shape[1]))])
        # The filter widens where it scales down, so that fine texture does not become stripes.
        resized = Image.fromarray(central).resize((self.size,) * 2, Image.Resampling.BICUBIC)
        plane = np.clip(np.asarray(resized, np.float32), 0, 1)
        if self.clahe:
            plane = equalise(plane * 255, _TILES, _CLIP_LIMIT, _BINS) / np.float32(255)
        return plane
