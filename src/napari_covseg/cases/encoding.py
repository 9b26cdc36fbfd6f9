"""How records are written into the columns of a table, and read back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from napari_covseg.domain.geometry import Geometry, Reorientation


def ranges_from(numbers: Iterable[int]) -> str:
    """Whole numbers as text, runs joined: ``{0, 1, 2, 7}`` becomes ``0-2,7``."""
    parts: list[list[int]] = []
    for number in sorted(set(map(int, numbers))):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def numbers_from(ranges: str) -> frozenset[int]:
    """The numbers that `ranges_from` wrote.

    Raises
    ------
    ValueError
        If it is other text.
    """
    found: set[int] = set()
    for part in filter(None, ranges.split(",")):
        first, dash, last = part.strip().partition("-")
        found.update(range(int(first), int(last if dash else first) + 1))
    return frozenset(found)


def geometry_to_json(geometry: Geometry, to_native: Reorientation) -> dict[str, Any]:
    """An image's canonical grid and the way back to its file, as plain values."""
    return {
        "shape": list(geometry.shape),
        "affine": geometry.affine.tolist(),
        "order": list(to_native.order),
        "flips": list(to_native.flips),
    }


def geometry_from_json(content: dict[str, Any]) -> tuple[Geometry, Reorientation]:
    """What `geometry_to_json` wrote."""
    z, y, x = content["shape"]
    geometry = Geometry((z, y, x), np.array(content["affine"]))
    return geometry, Reorientation(tuple(content["order"]), tuple(content["flips"]))
