"""The reading room: a crosshair that links three planes, slabs, and distances.

Stands on `viewing`; goes through napari's models, so that it also works in a viewer without a
window, where only what is drawn over the picture is missing.
"""

from __future__ import annotations

import weakref
from collections.abc import Generator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from psygnal import Signal

from napari_covseg.plugin.layers import is_ct
from napari_covseg.plugin.napari_versions import (
    camera_of,
    canvas_position,
    canvas_widget,
    unwrapped,
)
from napari_covseg.plugin.rulers import Ruler, Rulers
from napari_covseg.plugin.slabs import PROJECTIONS, SLICE, Slab
from napari_covseg.plugin.viewing import viewing_of

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_covseg.plugin.crosshair import Crosshair
    from napari_covseg.plugin.panes import Panes

Voxel = tuple[int, int, int]
LINKED_KEY, SLAB_KEY, RULER_KEY = "F8", "F9", "F12"
_STILL_PX = 4.0
_MARGIN = 0.08
"""A point this near to the edge of the picture, in shares of it, is brought to the middle."""

_readings: WeakKeyDictionary[Any, Reading] = WeakKeyDictionary()


def reading_of(viewer: Viewer) -> Reading:
    """The reading room of a viewer, made on the first call."""
    viewer = unwrapped(viewer)
    if viewer not in _readings:
        _readings[viewer] = Reading(viewer)
    return _readings[viewer]


class Reading:
    """The crosshair, the slab and the distances of one viewer (held weakly).

    The crosshair is at napari's own point, so sliders and keys move it too. ``changed`` tells that
    the slab, the side views or the ruler were switched, ``moved`` that point or plane changed,
    ``rulers_changed`` that there are other distances.
    """

    changed = Signal()
    moved = Signal()
    rulers_changed = Signal()

    def __init__(self, viewer: Viewer) -> None:
        self._ref = weakref.ref(viewer)
        self.viewing = viewing_of(viewer)
        self.slab = Slab()
        self.linked = False
        """Whether the other two planes and the crosshair are shown."""
        self.ruling = False
        """Whether drags of the mouse draw distances."""
        self._rulers: dict[Image, Rulers] = {}
        self._crosshair: Crosshair | None = None
        self._panes: Panes | None = None
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.layers.selection.events.active.connect(self._on_active)
        viewer.dims.events.point.connect(self._on_moved)
        camera = camera_of(viewer)
        for event in (camera.events.zoom, camera.events.center):
            event.connect(self._place_crosshair)
        self.viewing.changed.connect(self._on_moved)
        viewer.mouse_drag_callbacks.append(self._on_drag)
        self._bind_keys(viewer)

    @property
    def viewer(self) -> Viewer:
        """The viewer; only callbacks of a living viewer ask for it."""
        viewer = self._ref()
        assert viewer is not None
        return viewer

    # The point

    @property
    def voxel(self) -> Voxel | None:
        """The voxel ``(z, y, x)`` of the CT under the crosshair; None without a CT."""
        ct = self.viewing.ct
        if ct is None or self.viewer.dims.ndim != 3:
            return None
        return self._voxel_at(ct, self.viewer.dims.point)

    def go_to(self, voxel: Voxel, flash: bool = False) -> None:
        """Put the crosshair on a voxel, in whatever plane is shown; ``flash`` rings it."""
        ct = self.viewing.ct
        if ct is None or self.viewer.dims.ndim != 3:
            return
        self.viewer.dims.ndisplay = 2
        world = tuple(float(value) for value in ct.data_to_world(voxel))
        self.viewer.dims.point = world
        self._bring_into_view(world)
        self._place_crosshair()
        if flash and self._crosshair is not None:
            self._crosshair.flash()

    def _voxel_at(self, ct: Image, world: tuple[float, ...]) -> Voxel:
        index = np.rint(np.asarray(ct.world_to_data(world))).astype(int)
        z, y, x = np.clip(index, 0, np.array(ct.data.shape) - 1).tolist()
        return z, y, x

    def _bring_into_view(self, world: tuple[float, ...]) -> None:
        canvas = canvas_widget(self.viewer)
        if canvas is None:
            return
        x, y = canvas_position(self.viewer, world)
        inside = (
            _MARGIN < place / max(1, size) < 1 - _MARGIN
            for place, size in ((x, canvas.width()), (y, canvas.height()))
        )
        if not all(inside):
            camera_of(self.viewer).center = tuple(
                world[axis] for axis in self.viewer.dims.displayed
            )

    def _on_moved(self, _event: Any = None) -> None:
        self._place_crosshair()
        self.moved.emit()

    def _place_crosshair(self, _event: Any = None) -> None:
        ct, viewer = self.viewing.ct, self.viewer
        if self._crosshair is None:
            canvas = canvas_widget(viewer)
            if canvas is None or ct is None:
                return
            from napari_covseg.plugin.crosshair import Crosshair

            self._crosshair = Crosshair(canvas)
        flat = ct is not None and viewer.dims.ndisplay == 2 and viewer.dims.ndim == 3
        at = canvas_position(viewer, viewer.dims.point) if flat else None
        self._crosshair.show_at(at, self.linked)

    def _on_drag(self, viewer: Viewer, event: Any) -> Generator[None, None, None]:
        """A click puts the crosshair there while the side views are shown."""
        mode = getattr(viewer.layers.selection.active, "mode", "pan_zoom")
        ct = self.viewing.ct
        if not self.linked or ct is None or event.button != 1 or event.modifiers:
            return
        if viewer.dims.ndisplay != 2 or str(mode) != "pan_zoom":
            return
        start, still = np.asarray(event.pos, dtype=float), True
        yield
        while event.type == "mouse_move":
            moved = np.hypot(*(np.asarray(event.pos, dtype=float) - start))
            still = still and bool(moved < _STILL_PX)
            yield
        if still:
            self.go_to(self._voxel_at(ct, event.position))

    # The side views

    def set_linked(self, linked: bool) -> None:
        """Show the other two planes and the crosshair, or hide them."""
        if linked == self.linked or (linked and self.viewing.ct is None):
            self.changed.emit()
            return
        self.linked = linked
        if self._panes is None and linked and canvas_widget(self.viewer) is not None:
            from napari_covseg.plugin.panes import Panes

            self._panes = Panes(self)
        if self._panes is not None:
            self._panes.show_docked(linked)
        self._place_crosshair()
        self.changed.emit()

    # Slabs

    def set_slab(self, slab: Slab) -> None:
        """Show slices, or slabs of a thickness, in every plane."""
        self.slab = slab
        self._apply_slab()
        self.changed.emit()

    def _apply_slab(self) -> None:
        dims, ct = self.viewer.dims, self.viewing.ct
        if ct is None or dims.ndim != 3:
            return
        for layer in self.viewer.layers:
            if is_ct(layer):
                layer.projection_mode = PROJECTIONS[self.slab.kind]
        reach = [self.slab.reach(float(mm)) for mm in ct.scale]
        dims.margin_left = tuple(n * mm for (n, _), mm in zip(reach, ct.scale, strict=True))
        dims.margin_right = tuple(n * mm for (_, n), mm in zip(reach, ct.scale, strict=True))
        self.viewing.slab_text = self.slab.text
        self.viewing.write_corner()

    # Distances

    @property
    def rulers(self) -> Rulers | None:
        """The distances over the CT that is looked at; None without a CT."""
        ct = self.viewing.ct
        return None if ct is None else self.rulers_of(ct)

    def rulers_of(self, ct: Image) -> Rulers | None:
        """The distances over a CT; None over a single picture."""
        if ct.ndim != 3:
            return None
        if ct not in self._rulers:
            self._rulers[ct] = Rulers(self.viewer, ct)
            self._rulers[ct].changed.connect(self._on_rulers)
        return self._rulers[ct]

    def drawn(self, ct: Image) -> list[Ruler]:
        """The distances over a CT, none where it was never measured in."""
        return self._rulers[ct].rulers if ct in self._rulers else []

    def _on_rulers(self) -> None:
        self.rulers_changed.emit()
        self.moved.emit()

    def set_ruling(self, ruling: bool) -> None:
        """Draw distances with the mouse, or give it back."""
        rulers = self.rulers
        if rulers is not None and ruling != self.ruling:
            if ruling:
                self.viewer.dims.ndisplay = 2
                rulers.draw()
            # Between the two: selecting the lines' layer begins it, selecting another ends it.
            self.ruling = ruling
            if not ruling:
                rulers.rest()
        self.changed.emit()

    def _on_active(self, event: Any) -> None:
        """Who selects another layer is done with drawing."""
        if self.ruling and (self.rulers is None or event.value is not self.rulers.layer):
            self.ruling = False
            self.changed.emit()

    # What the viewer tells

    def _on_inserted(self, event: Any) -> None:
        if is_ct(event.value) and self.slab.kind != SLICE:
            self._apply_slab()
        self._on_moved()

    def _on_removed(self, event: Any) -> None:
        rulers = self._rulers.pop(event.value, None)
        if rulers is not None and rulers.layer is not None:
            self.viewer.layers.remove(rulers.layer)
        if self.viewing.ct is None:
            self.viewer.dims.margin_left = self.viewer.dims.margin_right = (0.0,) * (
                self.viewer.dims.ndim
            )
            self.set_linked(False)
        self._on_moved()

    def _bind_keys(self, viewer: Viewer) -> None:
        me = weakref.ref(self)

        def bind(key: str, act: Any) -> None:
            def pressed(_viewer: Any) -> None:
                reading = me()
                if reading is not None:
                    act(reading)

            viewer.bind_key(key, pressed, overwrite=True)

        bind(LINKED_KEY, lambda reading: reading.set_linked(not reading.linked))
        bind(SLAB_KEY, lambda reading: reading.set_slab(reading.slab.next()))
        bind(RULER_KEY, lambda reading: reading.set_ruling(not reading.ruling))
