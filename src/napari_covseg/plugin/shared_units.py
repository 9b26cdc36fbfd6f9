"""One unit for all layers beside a CT: where units differ, napari draws no scale bar in mm."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from weakref import WeakSet

_MM = "mm"


class SharedUnits:
    """Layers that are in pixels lie in mm while a CT is beside them.

    Nothing is moved by it: a pixel was a unit of the world before, and is a mm of it then. Older
    releases of napari, whose layers have no units, are left alone.
    """

    def __init__(self) -> None:
        self._lent: WeakSet[Any] = WeakSet()

    def agree(self, layers: Iterable[Any], beside_ct: bool) -> None:
        """Lend mm to layers without a size, or take it back where no CT is left."""
        for layer in layers:
            units = getattr(layer, "units", None)
            if units is None:
                continue
            if beside_ct and all(str(unit) == "pixel" for unit in units):
                layer.units = (_MM,) * layer.ndim
                self._lent.add(layer)
            elif not beside_ct and layer in self._lent:
                layer.units = ("pixel",) * layer.ndim
                self._lent.discard(layer)
