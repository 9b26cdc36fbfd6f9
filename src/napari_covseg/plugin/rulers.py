"""Distances: lines in a Shapes layer whose text is their length in mm. No Qt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_covseg.domain.geometry import Geometry
from napari_covseg.plugin.layers import placement_of

if TYPE_CHECKING:
    from napari.layers import Image, Shapes
    from napari.viewer import Viewer

LAYER = "Distances"
COLOUR = "#ffe14d"
_LINE_MM = 0.9


@dataclass(frozen=True, slots=True)
class Ruler:
    """A line between two points, in voxels ``(z, y, x)``, not rounded."""

    start: tuple[float, float, float]
    end: tuple[float, float, float]

    def length_mm(self, geometry: Geometry) -> float:
        """How long it is in the patient: by the affine, so right on any grid and in any plane."""
        step = np.subtract(self.end, self.start)[::-1]
        return float(np.linalg.norm(geometry.affine[:3, :3] @ step))


def length_text(length_mm: float) -> str:
    """One decimal below 100 mm."""
    return f"{length_mm:.1f} mm" if length_mm < 99.95 else f"{length_mm:.0f} mm"


class Rulers:
    """The distances over one CT; ``changed`` tells that there are others, or other lengths.

    Their layer is made when the first one is drawn, and is the user's: lines can be moved, deleted
    and saved with napari's own tools.
    """

    changed = Signal()

    def __init__(self, viewer: Viewer, ct: Image) -> None:
        self._viewer, self.ct = ref(viewer), ct
        self._layer: Shapes | None = None
        self._told: list[str] | None = None
        self._busy = False

    @property
    def layer(self) -> Shapes | None:
        """The layer with the lines; None where there is none."""
        viewer = self._viewer()
        if self._layer is not None and (viewer is None or self._layer not in viewer.layers):
            self._layer = None
        return self._layer

    @property
    def geometry(self) -> Geometry:
        """The CT's grid."""
        placement = placement_of(self.ct)
        assert placement is not None
        return placement.geometry

    @property
    def rulers(self) -> list[Ruler]:
        """All lines there are."""
        layer = self.layer
        return [] if layer is None else [self._ruler(line) for line in _lines(layer)]

    def draw(self) -> Shapes:
        """Let the next drags of the mouse draw lines."""
        layer = self._made()
        layer.current_edge_width = self._width()
        viewer = self._viewer()
        if viewer is not None:
            viewer.layers.selection.active = layer
        layer.mode = "add_line"
        return layer

    def rest(self) -> None:
        """Give the mouse back to the picture."""
        layer, viewer = self.layer, self._viewer()
        if layer is not None:
            layer.mode = "pan_zoom"
        if viewer is not None and self.ct in viewer.layers:
            viewer.layers.selection.active = self.ct

    def add(self, rulers: Iterable[Ruler]) -> None:
        """Add lines, as when a study is opened again."""
        viewer = self._viewer()
        chosen = None if viewer is None else viewer.layers.selection.active
        layer = self._made()
        lines = [np.array([self._data(ruler.start), self._data(ruler.end)]) for ruler in rulers]
        if lines:
            layer.add(lines, shape_type="line", edge_width=self._width(), edge_color=COLOUR)
            self._measure()
        if viewer is not None and chosen in viewer.layers:
            viewer.layers.selection.active = chosen

    def _made(self) -> Shapes:
        if self.layer is not None:
            return self.layer
        from napari.layers import Shapes

        layer = Shapes(
            ndim=3,
            name=LAYER,
            # The CT's own scale: with any other the slider's steps would no more be its slices.
            scale=self.ct.scale,
            translate=self.ct.translate,
            units=("mm", "mm", "mm"),
            axis_labels=self.ct.axis_labels,
            features={"length": np.array([], dtype=object)},
            text={
                "string": "{length}",
                "size": 11,
                "color": COLOUR,
                "anchor": "upper_left",
                "translation": np.zeros(3),
            },
            edge_color=COLOUR,
            edge_width=self._width(),
            face_color="transparent",
            opacity=1.0,
        )
        layer.current_edge_color, layer.current_edge_width = COLOUR, self._width()
        layer.events.data.connect(self._measure)
        layer.events.set_data.connect(self._measure)
        viewer = self._viewer()
        assert viewer is not None
        self._layer = viewer.add_layer(layer)
        return layer

    def _width(self) -> float:
        """Of a line, in voxels: napari stretches it with the grid, so it is right on average."""
        viewer = self._viewer()
        shown = (1, 2) if viewer is None else viewer.dims.displayed[-2:]
        area_mm2 = float(np.prod([self.ct.scale[axis] for axis in shown]))
        return _LINE_MM / float(np.sqrt(area_mm2))

    def _measure(self, _event: Any = None) -> None:
        """Write the lengths beside the lines, where they have changed."""
        layer = self._layer
        if layer is None or self._busy:
            return
        texts = [length_text(ruler.length_mm(self.geometry)) for ruler in self.rulers]
        if texts == self._told:
            return
        self._busy, self._told = True, texts
        try:
            layer.features = {"length": np.array(texts, dtype=object)}
            layer.refresh_text()
        finally:
            self._busy = False
        self.changed.emit()

    def _data(self, voxel: Sequence[float]) -> NDArray[np.float64]:
        layer = self._made()
        world = self.ct.data_to_world(voxel)
        return np.asarray(layer.world_to_data(world), dtype=np.float64)

    def _ruler(self, line: NDArray) -> Ruler:
        layer = self._layer
        assert layer is not None
        ends = [self.ct.world_to_data(layer.data_to_world(point)) for point in line]
        (a, b, c), (d, e, f) = (tuple(float(value) for value in end) for end in ends)
        return Ruler((a, b, c), (d, e, f))


def _lines(layer: Shapes) -> list[NDArray]:
    return [line for line in layer.data if len(line) == 2]
