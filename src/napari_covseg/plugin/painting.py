"""napari's own brush, eraser, bucket and polygon, kept within the limits of a correction.

napari's tools end in ``layer.paint``, ``layer.fill`` and ``layer.paint_polygon``. These three are
replaced on the layer itself, so that its cursor, its sizes, its keys and its history stay napari's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_covseg.editing.brush import brush, lasso
from napari_covseg.editing.edit import Edit
from napari_covseg.editing.lesions import flood

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_covseg.editing.canvas import Canvas

_REPLACED = ("paint", "fill", "paint_polygon")


class Guard:
    """Keeps the painting on a layer within limits until `close`.

    Parameters
    ----------
    layer
        The layer.
    canvas
        Gives the layer's labels with the limits of now.
    order
        Gives the order of the displayed axes of now; the last two are painted along.
    commit
        Takes each edit, and whether the picture is to be refreshed.
    """

    def __init__(
        self,
        layer: Labels,
        canvas: Callable[[], Canvas],
        order: Callable[[], Sequence[int]],
        commit: Callable[[Edit, bool], None],
    ) -> None:
        self.layer = layer
        self._canvas, self._order, self._commit = canvas, order, commit
        for name in _REPLACED:
            setattr(layer, name, getattr(self, f"_{name}"))

    def close(self) -> None:
        """Give the layer napari's own ways back."""
        for name in _REPLACED:
            self.layer.__dict__.pop(name, None)

    def _axes(self) -> tuple[int, ...]:
        return tuple(sorted(self._order()[-self.layer.n_edit_dimensions :]))

    def _across(self) -> int | None:
        """The axis that slices lie across; None where painting goes through all three."""
        painted = self._axes()
        return next((axis for axis in range(3) if axis not in painted), None)

    def _paint(self, coord: Sequence[float], new_label: int, refresh: bool = True) -> None:
        z, y, x = (int(np.round(c)) for c in coord)
        edit = brush(self._canvas(), (z, y, x), self.layer.brush_size, int(new_label), self._axes())
        self._commit(edit, refresh)

    def _fill(self, coord: Sequence[float], new_label: int, refresh: bool = True) -> None:
        canvas = self._canvas()
        z, y, x = (int(np.round(c)) for c in coord)
        if all(0 <= p < n for p, n in zip((z, y, x), canvas.shape, strict=True)):
            self._commit(flood(canvas, (z, y, x), int(new_label), self._across()), refresh)

    def _paint_polygon(self, points: Any, new_label: int) -> None:
        axis = self._across()
        if axis is None:
            raise NotImplementedError("an outline can be filled in a slice only")
        corners = np.asarray(points, dtype=float)
        across = [other for other in range(3) if other != axis]
        index = int(np.round(corners[0, axis]))
        if 0 <= index < self._canvas().shape[axis]:
            edit = lasso(self._canvas(), axis, index, corners[:, across], int(new_label))
            self._commit(edit, True)
