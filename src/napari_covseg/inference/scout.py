"""Which slices can hold lung: a few are looked at first, and most of neck and belly is left out.

Lungs are tall. Between two slices without any, with further ones without any beyond them, there is
none either. What is skipped is background, as the network would have said of all but specks, which
are dropped later.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SCOUT_MM = 8.0
"""Scouts stand at most so far apart; so far beyond the last lung all slices are looked at."""


def scouts(count: int, slice_mm: float) -> NDArray[np.intp]:
    """The slices to look at first, of ``count`` which stand ``slice_mm`` apart."""
    step = max(1, int(SCOUT_MM / slice_mm))
    return np.arange(min(step // 2, count - 1), count, step)


def near_lung(
    count: int, looked_at: NDArray[np.intp], found: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """The other slices that can hold lung, in order; all of them where no scout found any.

    ``found`` says of each slice of ``looked_at`` whether there is lung in it.
    """
    others = np.setdiff1d(np.arange(count), looked_at)
    if not found.any():
        return others
    padded = np.pad(found, 1)
    near = np.pad(padded[:-2] | padded[1:-1] | padded[2:], 1)
    above = np.searchsorted(looked_at, others)
    return others[near[above] | near[above + 1]]
