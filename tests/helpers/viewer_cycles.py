"""Open a CT, segment it, correct it, close it: with the workspace, or in bare napari."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

_WAIT_SECONDS = 300.0


def memory_bytes() -> int:
    """Resident memory of this process that is its own, after a collection of garbage."""
    from qtpy.QtCore import QCoreApplication, QEvent

    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    gc.collect()
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    return 0


def small_phantom() -> Any:
    """A chest of 24 slices of 80 x 80."""
    from napari_covseg.io import make_phantom

    return make_phantom(shape=(24, 80, 80), spacing_mm=(12.5, 4.3, 4.3))


@contextmanager
def no_network(phantom: Any, drafts: Path) -> Iterator[None]:
    """The phantom's truth in place of a network's answer; drafts go to a folder of their own."""
    from napari_covseg.domain.progress import Progress
    from napari_covseg.models import device
    from napari_covseg.plugin import autosave
    from napari_covseg.quantify.volumes import measure
    from napari_covseg.workflows import segment as workflow

    def segment(volume: Any, settings: Any = None, likelihood: bool = False) -> Any:
        yield Progress(0, 1, "segmenting")
        provenance = {"model": {"name": "m", "version": "1"}, "device": {"title": "CPU"}}
        labels = phantom.labels
        return workflow.SegmentResult(labels, measure(labels), (), provenance)

    def choose_device(*_: Any) -> device.Device:
        return device.Device("cpu", "CPU")

    with (
        mock.patch.object(workflow, "segment", segment),
        # Functions: a mock keeps what it was called with.
        mock.patch.object(device, "choose_device", choose_device),
        mock.patch.object(autosave, "drafts_folder", return_value=drafts),
    ):
        yield


class Workspace:
    """The plugin's widgets beside a viewer."""

    def __init__(self, viewer: Any, phantom: Any) -> None:
        from napari_covseg.plugin.widgets.correct import CorrectWidget
        from napari_covseg.plugin.widgets.segment import SegmentWidget
        from napari_covseg.plugin.workspace import open_workspace

        self.viewer, self.phantom = viewer, phantom
        open_workspace(viewer)
        window = viewer.window._qt_window
        (self.segment,) = window.findChildren(SegmentWidget)
        (self.correct,) = window.findChildren(CorrectWidget)

    def cycle(self) -> None:
        """Open, segment, correct, close."""
        from napari_covseg.plugin.layers import ct_layer

        data, arguments, _ = ct_layer(self.phantom.volume)
        self.viewer.add_image(data.copy(), **arguments)
        _until(self.segment.view.run.isEnabled)
        self.segment.view.run.click()
        _until(lambda: len(self.viewer.layers) == 3 and not self.segment.jobs_running())
        _until(lambda: self.correct.correction.tally is not None)
        paint(self.viewer.layers["Lesions"])
        self.viewer.layers.clear()
        _settle()


class Bare:
    """napari with the same layers, and no plugin."""

    def __init__(self, viewer: Any, phantom: Any) -> None:
        self.viewer, self.phantom = viewer, phantom

    def cycle(self) -> None:
        """Add the same layers, paint, and remove them."""
        from napari_covseg.plugin.layers import ct_layer, label_layers

        data, arguments, _ = ct_layer(self.phantom.volume)
        self.viewer.add_image(data.copy(), **arguments)
        for data, arguments, _ in label_layers(self.phantom.labels):
            self.viewer.add_labels(data.copy(), **arguments)
        _settle()
        paint(self.viewer.layers["Lesions"])
        self.viewer.layers.clear()
        _settle()


def paint(lesions: Any) -> None:
    """A stroke of some pixels on several slices, and one of them undone."""
    for z in (8, 12, 16):
        rows, columns = np.meshgrid(np.arange(30, 36), np.arange(20, 26), indexing="ij")
        where = (np.full(rows.size, z), rows.ravel(), columns.ravel())
        lesions.data_setitem(where, 4)
    lesions.undo()
    _settle()


def _settle() -> None:
    from qtpy.QtWidgets import QApplication

    for _ in range(5):
        QApplication.processEvents()


def _until(done: Callable[[], bool]) -> None:
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + _WAIT_SECONDS
    while not done():
        if time.monotonic() > end:
            raise TimeoutError("the viewer did not get there")
        QApplication.processEvents()
        time.sleep(0.002)
