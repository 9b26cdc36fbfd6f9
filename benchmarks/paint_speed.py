"""A brush stroke in napari on 512x512x300: with the Correct widget's limits, history and live
volumes, against napari's bare brush, stroke by stroke in one viewer.

python -m benchmarks.paint_speed [--strokes N]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from functools import partial
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.common import Row
from benchmarks.in_viewer import SHAPE, SPACING_MM, InViewer

MOVES, STEP, BRUSH = 40, 4, 20
LIMIT = 1.3


def measure(strokes: int) -> dict[str, float]:
    """Medians in seconds, and the median of the ratios of neighbouring strokes."""
    import napari
    from qtpy.QtWidgets import QApplication

    from napari_covseg.domain.geometry import Geometry
    from napari_covseg.domain.volume import CTVolume
    from napari_covseg.plugin.layers import Placement, ct_layer, lesions_layer, lungs_layer
    from napari_covseg.plugin.widgets.correct import CorrectWidget

    hu, lungs = _chest()
    volume = CTVolume(hu, Geometry.from_spacing(SHAPE, SPACING_MM), "bench")
    viewer = napari.Viewer()
    data, arguments, _ = ct_layer(volume)
    viewer.add_image(data, **arguments)
    placement = Placement.of(volume)
    bare_data, bare_arguments, _ = lesions_layer(np.zeros(SHAPE, np.uint8), placement)
    bare = viewer.add_labels(bare_data, **{**bare_arguments, "name": "Bare", "metadata": {}})
    for data, arguments, _ in (
        lungs_layer(lungs, placement),
        lesions_layer(np.zeros(SHAPE, np.uint8), placement),
    ):
        ours = viewer.add_labels(data, **arguments)
    widget = CorrectWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Correct", area="right")
    viewer.window._qt_window.resize(1400, 900)
    _settle(QApplication, lambda: widget.correction is not None and widget.correction.tally)
    widget.view.tools.ranged.setChecked(True)
    times: dict[str, list[float]] = {}
    for kind, draw in (("handled", False), ("drawn", True)):
        for number in range(-2, strokes):
            for name, layer in (("bare", bare), ("ours", ours)):
                seconds = _stroke(viewer, layer, number, QApplication if draw else None)
                if number >= 0:
                    times.setdefault(f"{name}_{kind}", []).append(seconds)
    assert (ours.data == 3).sum() > 0
    assert widget.correction is not None
    pairs = widget.correction.tally.pairs  # type: ignore[union-attr]
    assert pairs[:, 3].sum() == np.count_nonzero(ours.data == 3)
    held, made = _fill_history(widget.correction, ours)
    widget.retire()
    result = {
        "history_mb": held,
        "history_made_mb": made,
        **{name: median(values) for name, values in times.items()},
    }
    for kind in ("handled", "drawn"):
        both = zip(times[f"ours_{kind}"], times[f"bare_{kind}"], strict=True)
        result[f"ratio_{kind}"] = median(a / b for a, b in both)
    return result


def _fill_history(correction: Any, layer: Any) -> tuple[float, float]:
    """MB that the undo history holds after large edits, and that it would without a limit."""
    from napari_covseg.editing.edit import changed
    from napari_covseg.plugin.history import HISTORY_BYTES

    box = (slice(100, 140), slice(100, 300), slice(100, 225))
    mask = np.ones((40, 200, 125), bool)
    edit_bytes = mask.size * 26  # napari's: three positions of 8 bytes, labels before and after
    edits = 2 * HISTORY_BYTES // edit_bytes
    for number in range(edits):
        label = 3 + number % 2
        correction.run(partial(lambda to, canvas: changed(canvas.labels, box, mask, to), label))
    held = sum(_nbytes(step) for step in layer._undo_history)
    return held / 1e6, edits * edit_bytes / 1e6


def _nbytes(part: Any) -> int:
    """Of all arrays in nested lists and tuples."""
    if isinstance(part, list | tuple):
        return sum(map(_nbytes, part))
    return int(getattr(part, "nbytes", 0))


def _chest() -> tuple[Any, Any]:
    """Two blocks of lung in soft tissue, with noise."""
    rng = np.random.default_rng(0)
    lungs = np.zeros(SHAPE, np.uint8)
    lungs[20:280, 80:430, 50:240], lungs[20:280, 80:430, 270:460] = 2, 1
    plane = rng.normal(0, 60, SHAPE[1:]).astype(np.int16)
    hu = np.broadcast_to(plane, SHAPE) + np.where(lungs > 0, np.int16(-600), np.int16(40))
    return hu.astype(np.int16), lungs


def _stroke(viewer: Any, layer: Any, number: int, app: Any) -> float:
    """Seconds from pressing the button to letting it go, and to the picture if ``app`` is given."""
    from napari.utils.interactions import (
        mouse_move_callbacks,
        mouse_press_callbacks,
        mouse_release_callbacks,
    )

    viewer.layers.selection.active = layer
    viewer.dims.set_current_step(0, 100 + number)
    layer.selected_label, layer.brush_size, layer.mode = 3, BRUSH, "paint"
    _settle(app or _app(), lambda: True)
    start = time.perf_counter()
    for turn in range(MOVES):
        voxel = (100 + number, 120 + 5 * (number % 30), 70 + STEP * turn)
        kind = "mouse_move" if turn else "mouse_press"
        event = _event(kind, tuple(layer.data_to_world(voxel)))
        (mouse_move_callbacks if turn else mouse_press_callbacks)(layer, event)
        if app is not None:
            app.processEvents()
    mouse_release_callbacks(layer, event)
    if app is not None:
        app.processEvents()
    seconds = time.perf_counter() - start
    layer.mode = "pan_zoom"
    return seconds


def _event(kind: str, position: tuple[float, ...]) -> Any:
    from napari.utils._proxies import ReadOnlyWrapper

    event = SimpleNamespace(
        type=kind, pos=(0, 0), position=position, button=1, modifiers=(), handled=False,
        is_dragging=True, dims_displayed=(1, 2), view_direction=None, camera_zoom=1.0,
    )  # fmt: skip
    return ReadOnlyWrapper(event, exceptions=("handled",))


def _app() -> Any:
    from qtpy.QtWidgets import QApplication

    return QApplication


def _settle(app: Any, ready: Any) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        app.processEvents()
        if ready():
            return
        time.sleep(0.01)
    raise RuntimeError("the viewer is not ready")


def _rows(said: Mapping[str, float]) -> list[Row]:
    rows = []
    for what, kind in (("", "drawn"), (", without drawing", "handled")):
        bare, ours = said[f"bare_{kind}"], said[f"ours_{kind}"]
        title = f"a stroke of {MOVES} moves on 512x512x300{what}"
        rows.append(Row(f"{title}: napari's bare brush", f"{1000 * bare:.0f} ms"))
        ratio = said[f"ratio_{kind}"]
        rows.append(
            Row(
                f"{title}: with limits, undo and live volumes",
                f"{1000 * ours:.0f} ms, {ratio:.2f} times",
                f"<= {LIMIT} times",
                ratio <= LIMIT,
            )
        )
    held, made = said["history_mb"], said["history_made_mb"]
    rows.append(
        Row(
            f"the undo history after edits of {made:.0f} MB",
            f"{held:.0f} MB held",
            "<= 300 MB",
            round(held) <= 300,
        )
    )
    return rows


BENCH = InViewer("paint_speed", "a stroke in napari", "strokes", 15, measure, _rows)

if __name__ == "__main__":
    sys.exit(BENCH.main())
