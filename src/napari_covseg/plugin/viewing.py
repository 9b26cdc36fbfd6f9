"""How a CT behaves in the viewer: planes, wheel, window and level, keys, and what is written on it.

Attached to a viewer when the first CT opens or a widget of this plugin does; it acts only while
the viewer shows a CT of this plugin. Everything goes through napari's models, so it also works
in a viewer without a window, where only the texts on the picture are missing.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from psygnal import Signal

from napari_covseg.plugin.layers import AXES, dress, is_ct, placement_of
from napari_covseg.plugin.napari_versions import (
    camera_of,
    canvas_widget,
    set_black_canvas,
    set_orientation,
    show_scale_bar,
    unwrapped,
)
from napari_covseg.plugin.planes import AXIAL, CORONAL, SAGITTAL, Plane, upright
from napari_covseg.plugin.readout import readout
from napari_covseg.plugin.shared_units import SharedUnits
from napari_covseg.plugin.window_level import PRESET_KEYS, PRESETS, Window

if TYPE_CHECKING:
    from napari.layers import Image, Labels
    from napari.viewer import Viewer

    from napari_covseg.plugin.overlays import Hud

OVERLAY_KEY = "H"
PLANE_KEYS = {"Axial": "F5", "Coronal": "F6", "Sagittal": "F7"}
ZOOM_PER_NOTCH = 1.15
_FILLED = 0.95

_attached: WeakKeyDictionary[Any, Viewing] = WeakKeyDictionary()


def viewing_of(viewer: Viewer) -> Viewing:
    """The viewing aids of a viewer, attached on the first call."""
    viewer = unwrapped(viewer)
    if viewer not in _attached:
        _attached[viewer] = Viewing(viewer)
    return _attached[viewer]


def attach_to_current_viewer() -> None:
    """Attach to the viewer that is about to get a CT; does nothing where there is none."""
    from napari import current_viewer

    viewer = current_viewer()
    if viewer is not None and threading.current_thread() is threading.main_thread():
        viewing_of(viewer)


class Viewing:
    """The viewing aids of one viewer (held weakly, so that it can be closed).

    ``changed`` tells that the plane or the visibility of the overlay changed.
    """

    changed = Signal()

    def __init__(self, viewer: Viewer) -> None:
        self._ref = weakref.ref(viewer)
        self._plane = AXIAL
        self._active = False
        self._scrolled = 0.0
        self._units = SharedUnits()
        self._patient_shown = False
        self._hud: Hud | None = None
        self.slab_text: Callable[[float], str] = lambda spacing_mm: ""
        """What is said beside the slice's number, by the distance of slices in mm."""
        viewer.layers.events.inserted.connect(self._on_layers)
        viewer.layers.events.removed.connect(self._on_layers)
        viewer.dims.events.order.connect(self._on_order)
        viewer.dims.events.ndisplay.connect(self._on_order)
        viewer.dims.events.point.connect(self._on_point)
        viewer.mouse_wheel_callbacks.insert(0, self._on_wheel)
        viewer.mouse_drag_callbacks.append(self._on_drag)
        viewer.mouse_move_callbacks.append(self._on_move)
        self._bind_keys(viewer)
        for layer in viewer.layers:
            self._greet(layer)
        self._on_layers()

    @property
    def viewer(self) -> Viewer:
        """The viewer; only callbacks of a living viewer ask for it."""
        viewer = self._ref()
        assert viewer is not None
        return viewer

    @property
    def ct(self) -> Image | None:
        """The CT that is looked at: the selected one, else the topmost visible one."""
        layers = self.viewer.layers
        chosen = layers.selection.active
        if chosen is not None and is_ct(chosen):
            return chosen
        cts = [layer for layer in layers if is_ct(layer)]
        shown = [layer for layer in cts if layer.visible]
        return (shown or cts or [None])[-1]

    @property
    def plane(self) -> Plane:
        """The plane that is shown."""
        return self._plane

    def set_plane(self, plane: Plane) -> None:
        """Show axial, coronal or sagittal slices."""
        if self.ct is not None and self.viewer.dims.ndim == 3:
            self.viewer.dims.ndisplay = 2
            self.viewer.dims.order = plane.order

    def set_preset(self, name: str) -> None:
        """Set the window of every CT to a preset (`PRESETS`)."""
        self.set_window(PRESETS[name])

    def set_window(self, window: Window) -> None:
        """Set the window of every CT."""
        for layer in self.viewer.layers:
            if is_ct(layer):
                layer.contrast_limits = window.limits
        self._write_window()

    def overlay_shown(self) -> bool | None:
        """Whether any of the label layers is visible; None where there is none."""
        layers = self._label_layers()
        return any(layer.visible for layer in layers) if layers else None

    def toggle_overlay(self) -> None:
        """Hide the label layers, or show them again."""
        shown = not self.overlay_shown()
        for layer in self._label_layers():
            layer.visible = shown

    def go_to_slice(self, z: int) -> None:
        """Show axial slice ``z`` (index into the CT's array) of the CT that is looked at."""
        layer = self.ct
        if layer is None:
            return
        self.set_plane(AXIAL)
        self.viewer.dims.set_point(0, float(layer.translate[0] + z * layer.scale[0]))

    def fit(self, layer: Image) -> None:
        """Show the whole of one layer; napari's own way fails for a picture beside a CT."""
        viewer, canvas = self.viewer, canvas_widget(self.viewer)
        missing = viewer.dims.ndim - layer.ndim
        axes = [axis - missing for axis in viewer.dims.displayed]
        if canvas is None or viewer.dims.ndisplay != 2 or min(axes) < 0:
            viewer.reset_view()
            return
        low, high = np.asarray(layer.extent.world)[:, axes]
        size = high - low + np.asarray(layer.scale)[axes]
        camera = camera_of(viewer)
        camera.center = tuple((low + high) / 2)
        camera.zoom = _FILLED * min(canvas.height() / size[0], canvas.width() / size[1])

    def _label_layers(self) -> list[Labels]:
        from napari.layers import Labels

        return [
            layer
            for layer in self.viewer.layers
            if isinstance(layer, Labels) and placement_of(layer) is not None
        ]

    def _on_layers(self, event: Any = None) -> None:
        if event is not None and event.type == "inserted":
            self._greet(event.value)
        has_ct = self.ct is not None
        self._units.agree(self.viewer.layers, has_ct)
        if has_ct and not self._active:
            self._activate()
        elif not has_ct and self._active:
            self._deactivate()
        self._write_all()

    def _greet(self, layer: Any) -> None:
        if placement_of(layer) is None:
            return
        if is_ct(layer):
            layer.events.contrast_limits.connect(self._write_window)
            layer.events.visible.connect(self._write_all)
        else:
            dress(layer)
            layer.events.visible.connect(self._on_visible)

    def _on_visible(self) -> None:
        self._write_all()
        self.changed.emit()

    def _activate(self) -> None:
        from napari.components._viewer_mouse_bindings import dims_scroll

        viewer = self.viewer
        self._active = True
        canvas = canvas_widget(viewer)
        if self._hud is None and canvas is not None:
            from napari_covseg.plugin.overlays import Hud

            self._hud = Hud(canvas)
        if dims_scroll in viewer.mouse_wheel_callbacks:
            viewer.mouse_wheel_callbacks.remove(dims_scroll)
        set_black_canvas(viewer, True)
        if viewer.dims.ndim == 3:
            viewer.dims.axis_labels = AXES
        self._on_order()

    def _deactivate(self) -> None:
        from napari.components._viewer_mouse_bindings import dims_scroll

        self._active = False
        self.viewer.mouse_wheel_callbacks.append(dims_scroll)
        set_black_canvas(self.viewer, False)
        set_orientation(self.viewer, "towards", "down", "right")

    def _on_order(self) -> None:
        dims = self.viewer.dims
        if not self._active or dims.ndim != 3:
            return
        self._plane = upright(tuple(dims.order), self._plane)
        if tuple(dims.order) != self._plane.order:
            dims.order = self._plane.order
            return
        set_orientation(self.viewer, *self._plane.growth)
        self._write_all()
        if self._hud is not None:
            self._hud.set_text("readout", "")
        self.changed.emit()

    def _on_point(self) -> None:
        self.write_corner()
        if self._hud is None or not self._hud.text("readout"):
            return
        # The cursor stays where it is, over another slice.
        dims, world = self.viewer.dims, list(self.viewer.cursor.position)
        for axis in dims.not_displayed:
            world[axis] = dims.point[axis]
        self._hud.set_text("readout", self.readout(tuple(world)))

    def _on_wheel(self, viewer: Viewer, event: Any) -> None:
        """Slices by the wheel, zoom by Ctrl and the wheel; in 3D napari's own zoom."""
        if not self._active or viewer.dims.ndisplay != 2 or "Alt" in event.modifiers:
            return
        notches = float(event.delta[1])
        event.handled = True
        if "Control" in event.modifiers:
            self._zoom(event, ZOOM_PER_NOTCH**notches)
            return
        self._scrolled += notches
        steps = int(self._scrolled)
        self._scrolled -= steps
        axis = viewer.dims.order[0]
        up = 1 if self._plane is AXIAL else -1
        viewer.dims.set_current_step(axis, viewer.dims.current_step[axis] + up * steps)

    def _zoom(self, event: Any, factor: float) -> None:
        camera = camera_of(self.viewer)
        center = np.asarray(camera.center)[-2:]
        cursor = np.asarray(event.position)[list(self.viewer.dims.displayed)]
        camera.zoom *= factor
        camera.center = tuple(center + (cursor - center) * (1 - 1 / factor))

    def _on_drag(self, viewer: Viewer, event: Any) -> Generator[None, None, None]:
        """Window and level by dragging with the right button, unless a layer is being painted."""
        layer = self.ct
        painting = getattr(viewer.layers.selection.active, "mode", "pan_zoom") != "pan_zoom"
        if event.button != 2 or layer is None or painting or viewer.dims.ndisplay != 2:
            return
        camera = camera_of(viewer)
        start = Window.of_limits(*layer.contrast_limits)
        origin = np.asarray(event.pos, dtype=float)
        panned, camera.mouse_pan = camera.mouse_pan, False
        try:
            yield
            while event.type == "mouse_move":
                right, down = np.asarray(event.pos, dtype=float) - origin
                self.set_window(start.dragged(right, -down))
                yield
        finally:
            camera.mouse_pan = panned

    def _on_move(self, viewer: Viewer, event: Any) -> None:
        if self._hud is not None and self._patient_shown:
            self._hud.set_text("readout", self.readout(event.position))

    def readout(self, world: tuple[float, ...]) -> str:
        """HU, label and LPS position at a point in napari's world coordinates; '' outside."""
        layer = self.ct
        return "" if layer is None else readout(layer, self._label_layers(), world)

    def _write_all(self) -> None:
        """What is said of the patient is said while a CT or labels of one are seen.

        Over a picture that hides them its sides and its millimetres would be wrong.
        """
        placed = (layer for layer in self.viewer.layers if placement_of(layer) is not None)
        shown = self._active and any(layer.visible for layer in placed)
        if shown != self._patient_shown:
            self._patient_shown = shown
            show_scale_bar(self.viewer, shown)
        if self._hud is None:
            return
        flat = shown and self.viewer.dims.ndisplay == 2
        self._hud.set_letters(*(self._plane.edges if flat else ("", "", "", "")))
        self.write_corner()
        self._write_window()
        if not shown:
            self._hud.set_text("readout", "")

    def write_corner(self) -> None:
        """Write plane, slice and slab on the picture."""
        if self._hud is None:
            return
        layer = self.ct
        dims = self.viewer.dims
        flat = self._patient_shown and dims.ndisplay == 2 and dims.ndim == 3
        if layer is None or not flat:
            self._hud.set_text("corner", "")
            return
        axis = self._plane.order[0]
        count = layer.data.shape[axis]
        index = round(float((dims.point[axis] - layer.translate[axis]) / layer.scale[axis]))
        slab = self.slab_text(float(layer.scale[axis]))
        text = f"{self._plane.name} {min(max(index, 0), count - 1) + 1} / {count}"
        self._hud.set_text("corner", f"{text}   {slab}".strip())

    def _write_window(self) -> None:
        layer = self.ct if self._hud is not None and self._patient_shown else None
        text = "" if layer is None else str(Window.of_limits(*layer.contrast_limits))
        if self._hud is not None:
            self._hud.set_text("window", text)

    def _bind_keys(self, viewer: Viewer) -> None:
        me = weakref.ref(self)

        def bind(key: str, act: Any) -> None:
            def pressed(_viewer: Any) -> None:
                viewing = me()
                if viewing is not None:
                    act(viewing)

            viewer.bind_key(key, pressed, overwrite=True)

        for name, key in PRESET_KEYS.items():
            bind(key, lambda viewing, name=name: viewing.set_preset(name))
        for plane in (AXIAL, CORONAL, SAGITTAL):
            bind(PLANE_KEYS[plane.name], lambda viewing, plane=plane: viewing.set_plane(plane))
        bind(OVERLAY_KEY, lambda viewing: viewing.toggle_overlay())
