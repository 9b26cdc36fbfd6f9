"""The threshold of the Correct widget: a preview in the picture, its volume, and labelling it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_covseg.editing.edit import plane, whole
from napari_covseg.editing.threshold import Densities, densities, label_range
from napari_covseg.plugin.layers import preview_layer
from napari_covseg.plugin.range_mask import RangeMask
from napari_covseg.plugin.worker import Callbacks, Runner

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_covseg.plugin.correction import Correction
    from napari_covseg.plugin.widgets.correct_parts import Threshold

Run = Callable[[Any, str], Any]


class CorrectThreshold:
    """Shows what lies in a range of HU; nothing of it is written before a button is pressed."""

    def __init__(self, part: Threshold, run: Run) -> None:
        self._part, self._run = part, run
        self._runner = Runner()
        self._correction: Correction | None = None
        self._mask: RangeMask | None = None
        self._layer: Labels | None = None
        self._densities: Densities | None = None
        part.toggle.toggled.connect(self._on_toggled)
        part.low.valueChanged.connect(self._on_range)
        part.high.valueChanged.connect(self._on_range)
        part.in_slice.clicked.connect(partial(self._label, False))
        part.everywhere.clicked.connect(partial(self._label, True))

    def take(self, correction: Correction | None) -> None:
        """Look at this correction's CT from now on, None for none."""
        self._part.toggle.setChecked(False)
        self._correction = correction

    def close(self) -> None:
        """Stop counting and take the preview away, if the window is still there."""
        with suppress(RuntimeError):
            self._hide()

    @property
    def busy(self) -> bool:
        """Whether densities are being counted."""
        return self._runner.busy

    def _on_toggled(self, shown: bool) -> None:
        self._part.body.setVisible(shown)
        if shown and self._correction is not None:
            self._show(self._correction)
        else:
            self._hide()

    def _show(self, correction: Correction) -> None:
        self._hide()
        viewer = correction.viewing.viewer
        lungs = correction.lung_data
        self._mask = RangeMask(correction.ct.data, lungs, *self._range)
        data, arguments, _ = preview_layer(self._mask, correction.placement)
        active = viewer.layers.selection.active
        self._layer = viewer.add_labels(data, **arguments)
        self._layer.editable = False
        viewer.layers.selection.active = active
        self._densities = None
        self._show_volume()
        hu = correction.ct.data
        self._runner.start(
            lambda: densities(hu, lungs),
            Callbacks(
                progress=lambda step: None,
                result=self._on_counted,
                error=lambda error: None,
                cancelled=lambda: None,
            ),
        )

    def _hide(self) -> None:
        layer, self._layer, self._mask = self._layer, None, None
        self._runner.abandon()
        if layer is not None and self._correction is not None:
            layers = self._correction.viewing.viewer.layers
            if layer in layers:
                layers.remove(layer)

    @property
    def _range(self) -> tuple[int, int]:
        low, high = sorted((self._part.low.value(), self._part.high.value()))
        return low, high

    def _on_range(self) -> None:
        if self._mask is None or self._layer is None:
            return
        self._mask.low, self._mask.high = self._range
        self._layer.refresh()
        self._show_volume()

    def _on_counted(self, counted: Densities) -> None:
        self._densities = counted
        self._show_volume()

    def _show_volume(self) -> None:
        if self._densities is None or self._correction is None:
            self._part.volume.setText("Counting…")
            return
        total = int(self._densities.up_to[-1])
        found = self._densities.count(*self._range)
        ml = found * self._correction.placement.geometry.voxel_ml
        volume = f"{ml:.0f} ml" if ml >= 9.95 else f"{ml:.1f} ml"
        where = "of the lung" if self._correction.lung_data is not None else "of the scan"
        share = f", {100 * found / total:.1f} % {where}" if total else ""
        self._part.volume.setText(f"<b>{volume}</b>{share}")

    def _label(self, everywhere: bool, _checked: bool = False) -> None:
        correction = self._correction
        if correction is None:
            return
        shape = correction.ct.data.shape
        axis = int(correction.viewing.viewer.dims.order[0])
        index = correction.point(correction.viewing.viewer.dims.point)[axis]
        box = whole(shape) if everywhere else plane(shape, axis, index)
        low, high = self._range
        value = correction.value
        self._run(lambda canvas: label_range(canvas, box, low, high, value), "Labelled")
