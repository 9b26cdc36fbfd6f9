"""What is done to a correction by a button, a key or a click, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from napari_covseg.domain.errors import UsageError
from napari_covseg.domain.labels import LESION_LABELS, Label
from napari_covseg.editing.between import copy_slice, interpolate
from napari_covseg.editing.brush import lasso
from napari_covseg.editing.edit import Edit, Point, plane
from napari_covseg.editing.lesions import change_class, delete, grow, keep_only
from napari_covseg.editing.shape import fill_holes, smooth
from napari_covseg.plugin.correction import Correction, Tool
from napari_covseg.plugin.gestures import World
from napari_covseg.plugin.viewing import Viewing

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_covseg.plugin.widgets.correct_view import CorrectView

SMOOTHING_MM = 1.5
AT_POINT = ("grow", "change", "delete", "keep")
"""Tools that need a place."""


class CorrectActs:
    """Runs the tools of the editing library on ``correction``, None for none."""

    def __init__(self, viewing: Viewing, view: CorrectView, told: Callable[[str], None]) -> None:
        self._viewing, self._view, self._told = viewing, view, told
        self.correction: Correction | None = None

    def act_at(self, name: str, world: World, whole: bool = False) -> None:
        """Run a tool that needs a place, at a point in napari's coordinates."""
        correction = self.correction
        if correction is None:
            return
        dims, axis = self._viewing.viewer.dims, None if whole else self._axis
        # The cursor was in this plane, but not always in the slice that is shown now.
        place = [dims.point[n] if n == self._axis else w for n, w in enumerate(world)]
        seed = correction.point(tuple(place))
        if not correction.inside(tuple(place)):
            self._told("Point at the picture.")
            return
        if name == "grow":
            tolerance, radius = self._view.tools.tolerance, self._view.tools.radius
            self.run(
                lambda canvas: grow(
                    canvas, seed, correction.value, tolerance.value(), radius.value()
                ),
                "Grown",
            )
        elif name == "change":
            value = self._other_class(seed)
            title = Label(value).title
            tool = partial(change_class, seed=seed, value=value, axis=axis)
            self._run_on_lesions(tool, f"Changed to {title}")
        elif name == "delete":
            self._run_on_lesions(partial(delete, seed=seed, axis=axis), "Deleted")
        elif name == "keep":
            self._run_on_lesions(partial(keep_only, seed=seed), "Deleted")

    def _other_class(self, seed: Point) -> int:
        correction = self.correction
        assert correction is not None
        held = 0 if correction.lesions is None else int(correction.lesions.data[seed])
        swapped = {Label.GGO: Label.CONSOLIDATION, Label.CONSOLIDATION: Label.GGO}
        if held in swapped:
            return int(swapped[Label(held)])
        return correction.value if correction.value in LESION_LABELS else int(Label.GGO)

    def fill_outline(self, outline: list[World]) -> None:
        """Fill an outline that was drawn in the shown slice."""
        correction = self.correction
        if correction is None:
            return
        axis = self._axis
        across = [other for other in range(3) if other != axis]
        index = correction.point(outline[0])[axis]
        corners = [correction.ct.world_to_data(point) for point in outline]
        flat = [[corner[other] for other in across] for corner in corners]
        value = correction.value
        self.run(lambda canvas: lasso(canvas, axis, index, flat, value), "Filled")

    def act(self, name: str) -> None:
        """Run what needs no place, by the name of its action."""
        correction = self.correction
        if correction is None:
            return
        if name in ("undo", "redo"):
            if not (correction.undo() if name == "undo" else correction.redo()):
                self._told(f"There is nothing to {name}.")
        elif name == "interpolate":
            self._interpolate(correction)
        else:
            self._run_on_slice(name, correction)

    def _run_on_slice(self, name: str, correction: Correction) -> None:
        axis, value = self._axis, correction.value
        index = correction.point(self._viewing.viewer.dims.point)[axis]
        box = plane(correction.ct.data.shape, axis, index)
        if name in ("below", "above"):
            source = index - 1 if name == "below" else index + 1
            tool: Tool = partial(copy_slice, source=source, target=index, axis=axis)
            self._run_on_lesions(tool, "Copied")
        elif name == "smooth":
            finest = min(correction.placement.geometry.spacing_mm)
            radius_mm = max(SMOOTHING_MM, finest)  # less than a voxel would smooth nothing
            self.run(lambda canvas: smooth(canvas, box, value, radius_mm), "Smoothed")
        elif name == "holes":
            self.run(lambda canvas: fill_holes(canvas, box, value, axis), "Filled")

    def _interpolate(self, correction: Correction) -> None:
        value = correction.value
        painted = correction.slices.painted.get(value, {})
        edit = self.run(lambda canvas: interpolate(canvas, painted, value), "Interpolated")
        if edit is not None:
            correction.slices.forget_painted(value)

    def run(self, tool: Tool, done: str, layer: Labels | None = None) -> Edit | None:
        """Run a tool on the layer of the chosen class, or ``layer``, and say what came of it."""
        correction = self.correction
        assert correction is not None
        try:
            edit = correction.run(tool, layer)
        except UsageError as error:
            text = str(error)
            self._told(f"{text[:1].upper()}{text[1:]}.")
            return None
        ml = edit.count * correction.placement.geometry.voxel_ml
        volume = f"{ml:.0f} ml" if ml >= 9.95 else f"{ml:.1f} ml"
        self._told(f"{done}: {volume}." if edit.count else "Nothing had to be changed there.")
        return edit

    def _run_on_lesions(self, tool: Tool, done: str) -> None:
        correction = self.correction
        if correction is None or correction.lesions is None:
            self._told("There is no layer of lesions.")
            return
        self.run(tool, done, correction.lesions)

    @property
    def _axis(self) -> int:
        """The axis that the shown slices lie across."""
        return int(self._viewing.viewer.dims.order[0])
