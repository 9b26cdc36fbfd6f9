"""The tools of the Correct widget: what buttons, keys and clicks do to the correction."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_covseg.domain.colours import LABEL_COLOURS
from napari_covseg.domain.labels import LESION_LABELS, Label
from napari_covseg.editing.canvas import Limits
from napari_covseg.plugin.correction import Correction
from napari_covseg.plugin.gestures import Gestures
from napari_covseg.plugin.napari_versions import canvas_widget
from napari_covseg.plugin.viewing import Viewing
from napari_covseg.plugin.widgets.correct_actions import CLASSES, KEYS
from napari_covseg.plugin.widgets.correct_acts import AT_POINT, CorrectActs

if TYPE_CHECKING:
    from napari_covseg.plugin.widgets.correct_view import CorrectView

_NAPARI_MODES = {"move": "pan_zoom", "brush": "paint", "erase": "erase"}
_CLASS_NAMES = {action.name: int(label) for label, action in CLASSES}
_STEP_KEYS = {"Control-Z": "undo", "Control-Shift-Z": "redo"}
"""napari's own, which it keeps for each layer apart: here they go through all of them."""


class CorrectTools:
    """Ties the controls to a correction.

    Parameters
    ----------
    viewing
        The viewer's.
    view
        The controls.
    told
        Called with a line about what was done (or why it was not).
    others
        What keys do that are not for tools: name of the action to a function.
    """

    def __init__(
        self,
        viewing: Viewing,
        view: CorrectView,
        told: Callable[[str], None],
        others: dict[str, Callable[[], Any]],
    ) -> None:
        self._viewing, self._view, self._told, self._others = viewing, view, told, others
        self._gestures = Gestures(viewing.viewer)
        self._bound: list[tuple[Any, str]] = []
        self.acts = CorrectActs(viewing, view, told)
        self.correction: Correction | None = None
        self.mode = "move"
        for name, button in view.tools.modes.items():
            button.clicked.connect(partial(self._on_mode_button, name))
        for name, button in (*view.tools.steps.items(), *view.slice.buttons.items()):
            button.clicked.connect(partial(self._on_button, name))
        view.slice.interpolate.clicked.connect(partial(self._on_button, "interpolate"))
        view.palette_.chosen.connect(self.choose_class)
        view.palette_.locks_changed.connect(self.take_limits)
        view.tools.limits_changed.connect(self.take_limits)

    def close(self) -> None:
        """Let go of the viewer; touches no control, since they may be gone."""
        self._release()
        self.unbind_keys()
        self._gestures.close()

    # Which correction

    def take(self, correction: Correction) -> None:
        """Work on a correction from now on."""
        self.leave()
        self.correction = self.acts.correction = correction
        for layer in correction.layers:
            layer.events.mode.connect(self._on_layer_mode)
            layer.events.selected_label.connect(self._on_selected_label)
            if self._bound:
                self._bind_steps(layer)
        self.take_limits()
        if correction.target is None and correction.layers:
            correction.value = int(Label.RIGHT_LUNG if correction.lungs else Label.GGO)
        self._show_class()

    def leave(self) -> None:
        """Work on nothing."""
        self._release()
        self._check_mode("move")

    def stand_down(self) -> None:
        """Give the mouse back to napari; what is selected stays."""
        self._gestures.disarm()
        for layer in self.correction.layers if self.correction is not None else ():
            if str(layer.mode) in _NAPARI_MODES.values():
                layer.mode = "pan_zoom"
        self._check_mode("move")

    def _release(self) -> None:
        correction, self.correction = self.correction, None
        self.acts.correction = None
        self._gestures.disarm()
        if correction is None:
            return
        for layer in correction.layers:
            layer.events.mode.disconnect(self._on_layer_mode)
            layer.events.selected_label.disconnect(self._on_selected_label)
            for _, key in [bound for bound in self._bound if bound[0] is layer]:
                layer.bind_key(key, None)
        self._bound = [bound for bound in self._bound if bound[0] not in correction.layers]

    def take_limits(self) -> None:
        """The limits that the controls show now."""
        if self.correction is None:
            return
        tools = self._view.tools
        low, high = sorted((tools.low.value(), tools.high.value()))
        self.correction.limits = Limits(
            hu_range=(low, high) if tools.ranged.isChecked() else None,
            inside_lung=tools.inside.isChecked(),
            locked=self._view.palette_.locked,
        )

    # Keys

    def bind_keys(self) -> None:
        """Bind every key of `KEYS` in the viewer."""
        viewer = self._viewing.viewer
        for key, action in KEYS.items():
            whole = key == action.whole_key

            def pressed(_viewer: Any, name: str = action.name, whole: bool = whole) -> None:
                self.press(name, whole)

            self._bind(viewer, key, pressed)
        self._bind_steps(viewer)
        for layer in self.correction.layers if self.correction is not None else ():
            self._bind_steps(layer)

    def unbind_keys(self) -> None:
        """Give the keys back."""
        for provider, key in self._bound:
            provider.bind_key(key, None)
        self._bound = []

    def _bind(self, provider: Any, key: str, pressed: Callable[[Any], None]) -> None:
        provider.bind_key(key, pressed, overwrite=True)
        self._bound.append((provider, key))

    def _bind_steps(self, provider: Any) -> None:
        for key, name in _STEP_KEYS.items():

            def pressed(_provider: Any, name: str = name) -> None:
                self._on_button(name)

            self._bind(provider, key, pressed)

    def press(self, name: str, whole: bool = False) -> None:
        """What a key does: at the cursor for tools that need a place."""
        if name in self._others:
            self._others[name]()
        elif name in _CLASS_NAMES:
            self.choose_class(_CLASS_NAMES[name])
        elif name == "lasso":
            self.choose_mode("lasso")
        elif name in AT_POINT:
            self.acts.act_at(name, tuple(self._viewing.viewer.cursor.position), whole)
        else:
            self._on_button(name)

    # Classes and modes

    def choose_class(self, value: int) -> None:
        """Paint with a class from now on, in its layer."""
        correction = self.correction
        if correction is None:
            return
        before = correction.value
        correction.value = value
        if correction.target is None:
            correction.value = before
            self._show_class()
            self._told("there is no layer for this class")
            return
        self._show_class()
        if self.mode == "other":  # a tool of napari's that has no button here
            self._viewing.viewer.layers.selection.active = correction.target
        else:
            self.choose_mode(self.mode)

    def choose_mode(self, name: str) -> None:
        """What the mouse does from now on."""
        correction = self.correction
        layer = correction.target if correction is not None else None
        if correction is None or layer is None:
            return
        self.mode = name
        for other in correction.layers:
            if other is not layer:
                other.mode = "pan_zoom"
        self._viewing.viewer.layers.selection.active = layer
        self._gestures.disarm()
        layer.mode = _NAPARI_MODES.get(name, "pan_zoom")
        if name == "lasso":
            colour = LABEL_COLOURS.get(Label(correction.value), "#ffffff")
            self._gestures.arm_lasso(self.acts.fill_outline, colour)
        elif name in AT_POINT:
            self._gestures.arm_click(partial(self.acts.act_at, name))
        if name not in _NAPARI_MODES:
            layer.cursor = "cross"
        self._check_mode(name)

    def _on_mode_button(self, name: str, _checked: bool = False) -> None:
        self.choose_mode(name)
        self._focus()

    def _on_layer_mode(self, event: Any) -> None:
        """Follow napari's own keys and buttons."""
        mode = str(event.source.mode)
        ours = next((name for name, theirs in _NAPARI_MODES.items() if theirs == mode), None)
        if mode == "pan_zoom" and self.mode not in ("brush", "erase"):
            return  # armed for clicks or the lasso, or moving already
        if ours != self.mode and event.source is self._viewing.viewer.layers.selection.active:
            self.mode = ours or "other"
            self._gestures.disarm()
            self._check_mode(ours)

    def _on_selected_label(self, event: Any) -> None:
        correction = self.correction
        value = int(event.source.selected_label)
        if correction is None or value not in _CLASS_NAMES.values():
            return
        target = correction.lesions if value in LESION_LABELS else correction.lungs
        if event.source is target and value != correction.value:
            correction.value = value
            self._show_class()

    def _check_mode(self, name: str | None) -> None:
        self.mode = name or self.mode
        for other, button in self._view.tools.modes.items():
            group = button.group()
            group.setExclusive(False)
            button.setChecked(other == name)
            group.setExclusive(True)

    def _show_class(self) -> None:
        if self.correction is None:
            return
        value, layer = self.correction.value, self.correction.target
        if layer is not None and layer.selected_label != value:
            layer.selected_label = value
        if value in self._view.palette_.buttons:
            self._view.palette_.buttons[value].setChecked(True)

    def _on_button(self, name: str, _checked: bool = False) -> None:
        self.acts.act(name)
        self._focus()

    def _focus(self) -> None:
        """Keys go to the picture again after a button was clicked."""
        canvas = canvas_widget(self._viewing.viewer)
        if canvas is not None:
            canvas.setFocus()
