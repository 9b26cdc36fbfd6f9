"""The uncertainty of the Correct widget: its layer over the CT, and the next uncertain slice."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_covseg.domain.progress import Progress
from napari_covseg.plugin import preferences
from napari_covseg.plugin.layers import METADATA_KEY, uncertainty_layer, volume_of
from napari_covseg.plugin.uncertainty import Fractions, Unsure, next_uncertain, unsure_steps
from napari_covseg.plugin.widgets.errors import tell_error
from napari_covseg.plugin.worker import Callbacks, Runner

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_covseg.plugin.correction import Correction
    from napari_covseg.plugin.desk import Desk
    from napari_covseg.plugin.viewing import Viewing
    from napari_covseg.plugin.widgets.correct_parts import Uncertainty


class CorrectUncertainty:
    """Finds out where the model is unsure of one CT at a time, shows it, and leads there.

    ``told`` gets a line about what was done, or why it was not.
    """

    def __init__(
        self, part: Uncertainty, viewing: Viewing, desk: Desk, told: Callable[[str], None]
    ) -> None:
        self._part, self._viewing, self._desk, self._told = part, viewing, desk, told
        self._runner = Runner()
        self._ct: Image | None = None
        self._correction: Correction | None = None
        self._unsure: Unsure | None = None
        self._layer: Image | None = None
        self._shown = np.zeros(0, bool)
        self._leading = False
        part.toggle.toggled.connect(self._on_toggled)
        part.next.clicked.connect(self.go_to_next)
        part.running.cancel.clicked.connect(self.cancel)
        viewing.viewer.layers.events.removed.connect(self._on_removed)

    @property
    def busy(self) -> bool:
        """Whether a map is being computed."""
        return self._runner.busy

    def take(self, ct: Image | None, correction: Correction | None) -> None:
        """Look at this CT from now on; what is known of it stays when its labels change."""
        self._correction = correction
        if ct is self._ct:
            return
        self._runner.abandon()
        self._part.running.hide()
        self._part.toggle.setChecked(False)
        self._hide()
        self._ct, self._unsure, self._leading = ct, None, False
        self._shown = np.zeros(0 if ct is None else ct.data.shape[0], bool)

    def close(self) -> None:
        """Stop, and take the layer away if the window is still there; touches no control."""
        self._runner.abandon()
        with suppress(RuntimeError):
            self._hide()

    def toggle(self) -> None:
        """Show the layer, or take it away."""
        self._part.toggle.toggle()

    def cancel(self, *_: Any) -> None:
        """Stop computing."""
        self._part.running.show_cancelling()
        self._runner.cancel()

    def go_to_next(self, *_: Any) -> None:
        """Show the most uncertain slice that is left, once the map is there."""
        if self._correction is None:
            return
        if self._unsure is None:
            self._leading = True
            self._find()
            return
        self._lead(self._unsure, self._correction)

    def _lead(self, unsure: Unsure, correction: Correction) -> None:
        reviewed = correction.slices.reviewed
        thickness_mm = correction.placement.geometry.spacing_mm[0]
        z = next_uncertain(unsure.by_slice, reviewed, self._shown, thickness_mm)
        again = z is None and bool(self._shown.any())
        if again:
            self._shown[:] = False
            z = next_uncertain(unsure.by_slice, reviewed, self._shown, thickness_mm)
        if z is None:
            self._told("No slice is left that is uncertain and was not reviewed.")
            return
        self._shown[z] = True
        self._viewing.go_to_slice(z)
        more = " From the most uncertain one again." if again else ""
        self._told(f"Slice {z + 1} is the most uncertain one left.{more}")

    # The map

    def _on_toggled(self, shown: bool) -> None:
        if not shown:
            self._hide()
        elif self._unsure is None:
            self._find()
        else:
            self._show(self._unsure)

    def _find(self) -> None:
        ct, served = self._ct, self._desk.served
        if ct is None or self._runner.busy:
            return
        volume, settings = volume_of(ct), preferences.load_settings()
        own = served if served is not None and served.ct is ct else None
        self._part.running.restart()
        self._part.running.show()
        self._runner.start(
            lambda: unsure_steps(volume, settings, own),
            Callbacks(
                progress=self._on_progress,
                result=partial(self._on_found, ct),
                error=self._on_error,
                cancelled=self._on_cancelled,
            ),
        )

    def _on_progress(self, step: Progress) -> None:
        self._part.running.show_progress(step, time.monotonic())

    def _on_found(self, ct: Image, unsure: Unsure) -> None:
        self._part.running.hide()
        if ct is not self._ct:
            return
        self._unsure = unsure
        if self._part.toggle.isChecked():
            self._show(unsure)
        if self._leading and self._correction is not None:
            self._leading = False
            self._lead(unsure, self._correction)

    def _on_error(self, error: Exception) -> None:
        self._on_cancelled()
        tell_error(error)

    def _on_cancelled(self) -> None:
        self._leading = False
        self._part.running.hide()
        self._part.toggle.setChecked(False)

    # The layer

    def _show(self, unsure: Unsure) -> None:
        ct, layers = self._ct, self._viewing.viewer.layers
        if ct is None or ct not in layers:
            return
        self._hide()
        from napari.layers import Image

        placement = ct.metadata[METADATA_KEY]
        data, arguments, _ = uncertainty_layer(Fractions(unsure.map), placement)
        active = layers.selection.active
        self._layer = Image(data, **arguments)
        # Under the labels, which must stay in sight.
        layers.insert(layers.index(ct) + 1, self._layer)
        layers.selection.active = active

    def _hide(self) -> None:
        layer, self._layer = self._layer, None
        if layer is not None and layer in (layers := self._viewing.viewer.layers):
            layers.remove(layer)

    def _on_removed(self, event: Any) -> None:
        if self._layer is not None and event.value is self._layer:
            self._layer = None
            self._part.toggle.setChecked(False)
