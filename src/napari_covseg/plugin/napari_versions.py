"""The places where napari's versions differ (0.5.6 to 0.9), so that nothing else has to know."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer
    from qtpy.QtWidgets import QWidget

    from napari_covseg.editing.edit import Edit


def unwrapped(viewer: Any) -> Any:
    """The viewer behind the proxy that napari hands to plugins."""
    return getattr(viewer, "__wrapped__", viewer)


def camera_of(viewer: Viewer) -> Any:
    """The camera model: under ``scene`` from napari 0.9 on."""
    viewer = unwrapped(viewer)
    return viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera


def canvas_widget(viewer: Viewer) -> QWidget | None:
    """The Qt widget that pictures are drawn on; None without a window."""
    window = getattr(unwrapped(viewer), "window", None)
    qt_viewer = getattr(window, "_qt_viewer", None)
    return getattr(getattr(qt_viewer, "canvas", None), "native", None)


def remove_layers(viewer: Viewer, layers: Iterable[Layer]) -> None:
    """Take out those layers that are there; together, where napari can.

    Newer ones collect garbage after each removal, which takes a second where PyTorch is loaded.
    """
    here = [layer for layer in layers if layer in viewer.layers]
    if not here:
        return
    with getattr(viewer.layers, "batched_update", nullcontext)():
        for layer in here:
            # Whoever hears that one has gone may take another out.
            if layer in viewer.layers:
                viewer.layers.remove(layer)


def remove_drawn(viewer: Viewer, layers: Iterable[Layer]) -> None:
    """`remove_layers`, and draw what is left.

    The graphics driver may crash where all layers go and others come before anything was drawn.
    """
    remove_layers(viewer, layers)
    canvas = canvas_widget(viewer)
    if canvas is not None:
        canvas.repaint()


def show_scale_bar(viewer: Viewer, shown: bool) -> None:
    """A scale bar in mm: its unit is the layers' from napari 0.7 on, before that its own."""
    viewer = unwrapped(viewer)
    if hasattr(viewer, "canvas"):
        viewer.canvas.overlays.scale_bar.visible = shown
        return
    viewer.scale_bar.unit = "mm" if shown else None
    viewer.scale_bar.visible = shown


def set_black_canvas(viewer: Viewer, black: bool) -> None:
    """A black surround for CT, whatever the theme; back to the theme's colour otherwise."""
    viewer = unwrapped(viewer)
    colour = "black" if black else None
    if hasattr(viewer, "canvas"):
        viewer.canvas.background_color_override = colour
        return
    qt_viewer = getattr(getattr(viewer, "window", None), "_qt_viewer", None)
    if qt_viewer is not None:
        qt_viewer.canvas.background_color_override = colour


def set_orientation(viewer: Viewer, depth: str, vertical: str, horizontal: str) -> None:
    """Which way the displayed axes grow; before napari 0.6 only the vertical one can be turned."""
    camera = camera_of(viewer)
    if hasattr(camera, "orientation"):
        camera.orientation = (depth, vertical, horizontal)
        return
    qt_viewer = getattr(getattr(unwrapped(viewer), "window", None), "_qt_viewer", None)
    if qt_viewer is not None:
        flip = (False, vertical == "down", False)
        qt_viewer.canvas.camera._2D_camera.flip = flip


def edit_of_atom(atom: Any) -> Edit:
    """What one entry of a Labels layer's history changed.

    Up to napari 0.8 every entry is positions, labels before and labels after; later brushes keep
    a box, a mask (None for all of it), the labels under it, and the new label.
    """
    from napari_covseg.editing.edit import changed_in, of_voxels

    if len(atom) == 3:
        where, before, after = atom
        return of_voxels(tuple(np.asarray(axis) for axis in where), np.asarray(before), after)
    box, mask, before, after = atom
    return changed_in(box, mask, before, after)


def canvas_position(viewer: Viewer, world: tuple[float, ...]) -> tuple[float, float]:
    """Where a point in napari's coordinates is on the canvas, in pixels from its upper left."""
    camera, canvas = camera_of(viewer), canvas_widget(viewer)
    size = (0, 0) if canvas is None else (canvas.width(), canvas.height())
    vertical, horizontal = (world[axis] for axis in unwrapped(viewer).dims.displayed[-2:])
    center = camera.center[-2:]
    down = (vertical - center[0]) * camera.zoom
    right = (horizontal - center[1]) * camera.zoom
    orientation = getattr(camera, "orientation", ("away", "down", "right"))
    if str(orientation[1]) == "up":
        down = -down
    return size[0] / 2 + right, size[1] / 2 + down


def forget_worker(viewer: weakref.ref[Any], worker: weakref.ref[Any]) -> None:
    """Take a worker that has ended from napari's list of tasks, which keeps each to the end."""
    window = getattr(unwrapped(viewer()), "window", None)
    tasks = getattr(getattr(window, "_task_status_manager", None), "_tasks", {})
    for key, task in list(tasks.items()):
        owner = getattr(getattr(task, "_cancel_callback", None), "__self__", None)
        if owner is not None and owner is worker():
            del tasks[key]
