"""Going from slice to slice on 512x512x300, with every panel open and without, in turns.

    python -m benchmarks.view_speed [--slices N]

Two viewers show the same arrays as the same layers (CT, lungs, lesions); one of them has this
plugin's workspace. A change of slice is timed from setting it to the drawn picture.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from statistics import median
from typing import Any

from benchmarks.common import Row
from benchmarks.in_viewer import SHAPE, SPACING_MM, InViewer

LIMIT = 1.1


def measure(slices: int) -> dict[str, float]:
    """Medians in seconds, and the median of the ratios of neighbouring changes."""
    import napari
    from qtpy.QtWidgets import QApplication

    from napari_covseg.io import make_phantom
    from napari_covseg.plugin.layers import ct_layer, label_layers
    from napari_covseg.plugin.workspace import open_workspace

    phantom = make_phantom(SHAPE, SPACING_MM)
    made = [ct_layer(phantom.volume), *label_layers(phantom.labels)]
    viewers = {}
    for name in ("bare", "ours"):
        viewer = napari.Viewer()
        for number, (data, arguments, _) in enumerate(made):
            add = viewer.add_labels if number else viewer.add_image
            known = arguments if name == "ours" else {**arguments, "metadata": {}}
            add(data, **known)
        viewer.window._qt_window.resize(1400, 900)
        viewers[name] = viewer
    open_workspace(viewers["ours"])
    canvas = _canvas(viewers["ours"]).size
    for viewer in viewers.values():
        _canvas(viewer).size = canvas
    _idle(QApplication)
    # Panels draw lungs as outlines, which napari has to find in every slice: so it does in both.
    for bare, ours in zip(viewers["bare"].layers[1:], viewers["ours"].layers[1:], strict=True):
        bare.contour = ours.contour
    times: dict[str, list[float]] = {"bare": [], "ours": []}
    for number in range(-3, slices):
        for name, viewer in viewers.items():
            seconds = _change(QApplication, viewer, 150 + number)
            if number >= 0:
                times[name].append(seconds)
    ratios = [ours / bare for ours, bare in zip(times["ours"], times["bare"], strict=True)]
    return {**{name: median(found) for name, found in times.items()}, "ratio": median(ratios)}


def _change(app: Any, viewer: Any, number: int) -> float:
    start = time.perf_counter()
    viewer.dims.set_current_step(0, number)
    app.processEvents()
    _canvas(viewer)._scene_canvas.render(alpha=False)
    app.processEvents()
    return time.perf_counter() - start


def _canvas(viewer: Any) -> Any:
    return viewer.window._qt_viewer.canvas


def _idle(app: Any) -> None:
    """Until what the panels measure of the new layers is measured."""
    quiet = time.monotonic()
    began = os.times()
    while time.monotonic() - quiet < 2:
        app.processEvents()
        time.sleep(0.05)
        now = os.times()
        if now.user - began.user > 0.1:
            quiet = time.monotonic()
        began = now


def _rows(said: Mapping[str, float]) -> list[Row]:
    title = "a change of slice on 512x512x300 with CT, lungs and lesions"
    return [
        Row(f"{title}: napari alone", f"{1000 * said['bare']:.0f} ms"),
        Row(
            f"{title}: with the workspace open",
            f"{1000 * said['ours']:.0f} ms, {said['ratio']:.2f} times",
            f"<= {LIMIT} times",
            said["ratio"] <= LIMIT,
        ),
    ]


BENCH = InViewer("view_speed", "a change of slice in napari", "slices", 60, measure, _rows)

if __name__ == "__main__":
    sys.exit(BENCH.main())
