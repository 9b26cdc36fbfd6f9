"""The correction of a CT's labels: its layers, limits, counts, reviewed slices and tools. No Qt."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_covseg.domain.errors import UsageError
from napari_covseg.domain.labels import LESION_LABELS, Label
from napari_covseg.domain.progress import Steps
from napari_covseg.editing.canvas import Canvas, Limits
from napari_covseg.editing.draft import Draft
from napari_covseg.editing.edit import Edit, Point, changed, whole
from napari_covseg.editing.tally import Tally, count
from napari_covseg.plugin.history import History
from napari_covseg.plugin.layers import METADATA_KEY, Placement
from napari_covseg.plugin.painting import Guard
from napari_covseg.plugin.planes import AXIAL
from napari_covseg.plugin.slices import Slices
from napari_covseg.plugin.viewing import Viewing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Image, Labels

_PAUSE_S = 60.0
"""Longer between two edits or marks is not work on the case."""

Tool = Callable[[Canvas], Edit]
"""A function of the editing library with everything chosen but the canvas."""


class Correction:
    """Labels over a CT that are being corrected.

    ``edited`` tells that a step was made, undone or redone, ``counted`` that the volumes changed
    (while painting, too). ``uncounted`` asks for a new count.
    """

    edited = Signal()
    counted = Signal()
    uncounted = Signal()

    def __init__(
        self, viewing: Viewing, ct: Image, lungs: Labels | None, lesions: Labels | None
    ) -> None:
        self.viewing, self.ct, self.lungs, self.lesions = viewing, ct, lungs, lesions
        self.limits = Limits(inside_lung=True)
        self.value = int(Label.GGO)
        self._spacing_mm = self.placement.geometry.spacing_mm  # asked for at every touch
        self.slices = Slices(ct.data.shape)
        self._look_at_layers()
        self.tally: Tally | None = None
        self.version = 0
        """Grows with every edit."""
        self.seconds = 0.0
        self._last = time.monotonic()
        # Looking at slices that are right is work too.
        self.slices.changed.connect(self._note_time)
        self._done: list[Labels] = []
        self._undone: list[Labels] = []
        self._guards: list[Guard] = []
        self._histories = {
            layer: History(layer, partial(self._on_edits, layer), self._on_lost)
            for layer in self.layers
        }

    @property
    def layers(self) -> tuple[Labels, ...]:
        """The layers there are: lungs, lesions."""
        return tuple(layer for layer in (self.lungs, self.lesions) if layer is not None)

    @property
    def placement(self) -> Placement:
        """Where the CT is."""
        placement: Placement = self.ct.metadata[METADATA_KEY]
        return placement

    @property
    def target(self) -> Labels | None:
        """The layer that the chosen class is painted into."""
        return self.lesions if self.value in LESION_LABELS else self.lungs

    @property
    def lung_data(self) -> Any:
        """The lungs, ``(z, y, x)``; None where nobody has drawn any."""
        return self.lungs.data if self.lungs is not None and self._has_lung else None

    def close(self) -> None:
        """Leave the layers to napari."""
        self.unguard()
        for history in self._histories.values():
            history.close()

    def _look_at_layers(self) -> None:
        """What is known of the layers without counting them."""
        # Nothing is limited to a lung that nobody has drawn yet.
        self._has_lung = self.lungs is not None and bool(self.lungs.data.any())
        if self.lesions is not None:
            self.slices.look_for_lesions(self.lesions.data)

    # Limits

    def guard(self) -> None:
        """Keep napari's own tools within the limits, until `unguard`."""
        if self._guards:
            return
        for layer in self.layers:
            order = partial(_order, self.viewing)
            write = partial(self._write, layer)
            self._guards.append(Guard(layer, partial(self.canvas, layer), order, write))

    def unguard(self) -> None:
        """Let napari's tools paint anything anywhere again."""
        for guard in self._guards:
            guard.close()
        self._guards = []

    def canvas(self, layer: Labels) -> Canvas:
        """A layer's labels with the CT and the limits of now; lungs are not limited to the lung."""
        lungs = self.lung_data if layer is self.lesions else None
        return Canvas(layer.data, self.ct.data, lungs, self._spacing_mm, self.limits)

    # Editing

    def run(self, tool: Tool, layer: Labels | None = None) -> Edit:
        """Run a tool on the layer of the chosen class, or on ``layer``; undone as one step.

        Raises
        ------
        UsageError
            If there is no layer, or the tool cannot do it; nothing has changed then.
        """
        layer = layer or self.target
        if layer is None:
            raise UsageError("there is no layer for this class; segment the CT first")
        edit = tool(self.canvas(layer))
        self._write(layer, edit, True)
        return edit

    def _write(self, layer: Labels, edit: Edit, refresh: bool) -> None:
        if not edit.count:
            return
        # napari tells of a step only when it is over; the volumes follow every touch.
        self._histories[layer].expect()
        self._count(layer, edit)
        first = edit.after[0]
        value = int(first) if (edit.after == first).all() else edit.after
        layer.data_setitem(edit.where, value, refresh)

    def undo(self) -> bool:
        """Undo the last step, in whichever layer and slice; False where there is none."""
        while self._done:
            layer = self._done[-1]
            if self._histories[layer].can_undo:
                layer.undo()
                return True
            self._done.pop()
        return False

    def redo(self) -> bool:
        """Redo the step that was undone last; False where there is none."""
        while self._undone:
            layer = self._undone[-1]
            if self._histories[layer].can_redo:
                layer.redo()
                return True
            self._undone.pop()
        return False

    def _on_edits(self, layer: Labels, edits: list[Edit], known: int, how: str) -> None:
        for edit in edits[known:]:
            self._count(layer, edit)
        for edit in edits:
            if layer is self.lesions:
                self.slices.look_for_lesions(self.lesions.data, edit.box[0])
            else:
                self._has_lung = self._has_lung or bool(edit.after.any())
        if how == "done":
            self._done.append(layer)
            self._undone.clear()
            if self.viewing.plane is AXIAL:
                for edit in edits:
                    self.slices.note(edit, self.slice)
        else:
            source, target = (
                (self._done, self._undone) if how == "undone" else (self._undone, self._done)
            )
            _remove_last(source, layer)
            target.append(layer)
            self._show(edits)
        self._note_time()
        self.edited.emit()

    def _note_time(self) -> None:
        """Count the time since the last edit or mark, unless it was a pause."""
        now = time.monotonic()
        self.seconds += min(now - self._last, _PAUSE_S)
        self._last = now

    def _on_lost(self) -> None:
        self._look_at_layers()
        self.version += 1
        self.tally = None
        self.uncounted.emit()
        self.edited.emit()

    # Counting

    def count_steps(self) -> Steps[tuple[int, Tally]]:
        """Count the layers; the result goes to `take_count`. Runs in a worker's thread."""
        version = self.version
        lungs = self.lungs.data if self.lungs is not None else None
        lesions = self.lesions.data if self.lesions is not None else None

        def steps() -> Steps[tuple[int, Tally]]:
            tally = yield from count(lungs, lesions)
            return version, tally

        return steps()

    def take_count(self, result: tuple[int, Tally]) -> bool:
        """Take a count; False if labels were edited meanwhile, so that it has to be done again."""
        version, tally = result
        if version != self.version:
            return False
        self.tally = tally
        self.counted.emit()
        return True

    def _count(self, layer: Labels, edit: Edit) -> None:
        self.version += 1
        if self.tally is None:
            return
        if layer is self.lesions:
            self.tally.edit_lesions(edit, self.lungs.data if self.lungs is not None else None)
        else:
            self.tally.edit_lungs(edit, self.lesions.data if self.lesions is not None else None)
        self.counted.emit()

    # Slices

    @property
    def slice(self) -> int:
        """The axial slice that is shown."""
        return self.point(self.viewing.viewer.dims.point)[0]

    def inside(self, world: tuple[float, ...]) -> bool:
        """Whether a point in napari's coordinates is in the CT."""
        index = np.rint(np.asarray(self.ct.world_to_data(world)))
        return bool((index >= 0).all() and (index < self.ct.data.shape).all())

    def point(self, world: tuple[float, ...]) -> Point:
        """The voxel at a point in napari's coordinates, the nearest one if it is outside."""
        index = np.rint(np.asarray(self.ct.world_to_data(world))).astype(int)
        z, y, x = np.clip(index, 0, np.array(self.ct.data.shape) - 1).tolist()
        return z, y, x

    def _show(self, edits: list[Edit]) -> None:
        """Go to the slice where most has changed, unless one with a change is shown."""
        dims = self.viewing.viewer.dims
        axis = dims.order[0]
        if dims.ndisplay != 2 or not edits:
            return
        slices, counts = np.unique(
            np.concatenate([edit.where[axis] for edit in edits]), return_counts=True
        )
        if self.point(dims.point)[axis] not in slices:
            index = float(slices[counts.argmax()])
            dims.set_point(axis, float(self.ct.translate[axis] + index * self.ct.scale[axis]))

    # Drafts

    def snapshot(self) -> Draft:
        """A copy of what is there now."""
        lungs, lesions = (
            None if layer is None else np.array(layer.data, np.uint8)
            for layer in (self.lungs, self.lesions)
        )
        return Draft(lungs, lesions, self.slices.reviewed.copy(), self.seconds)

    def restore(self, draft: Draft) -> None:
        """Put a draft into the layers, as steps that can be undone."""
        for layer, held in ((self.lungs, draft.lungs), (self.lesions, draft.lesions)):
            if layer is None or held is None:
                continue
            bounds = whole(held.shape)
            everywhere = np.ones(held.shape, bool)
            self._write(layer, changed(layer.data, bounds, everywhere, held), True)
        self.slices.take_reviewed(draft.reviewed)
        self.seconds = draft.seconds


def _remove_last(layers: list[Labels], layer: Labels) -> None:
    for index in range(len(layers) - 1, -1, -1):
        if layers[index] is layer:
            del layers[index]
            return


def _order(viewing: Viewing) -> Sequence[int]:
    order: Sequence[int] = viewing.viewer.dims.order
    return order
