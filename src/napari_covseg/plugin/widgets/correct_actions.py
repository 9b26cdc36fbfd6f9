"""What can be done when correcting: names, keys, and what each says of itself."""

from __future__ import annotations

from dataclasses import dataclass

from napari_covseg.domain.labels import Label


@dataclass(frozen=True, slots=True)
class Action:
    """A button. ``key`` is ours and bound by us; ``napari_key`` is one that napari has already."""

    name: str
    title: str
    tip: str
    key: str = ""
    whole_key: str = ""
    """The key that does it to the whole lesion and not only in the slice."""
    napari_key: str = ""

    @property
    def text(self) -> str:
        """What stands on the button."""
        key = self.key or self.napari_key
        return f"{self.title}  ({_shown(key)})" if key else self.title

    @property
    def tooltip(self) -> str:
        """What it does, with its keys."""
        keys = f" Key: {_shown(self.key)}." if self.key else ""
        more = f" {_shown(self.whole_key)}: the whole lesion." if self.whole_key else ""
        return f"{self.tip}{keys}{more}"


CLASSES = (
    (Label.GGO, Action("ggo", "GGO", "Paint ground-glass opacity.", "Q")),
    (Label.CONSOLIDATION, Action("consolidation", "Consolidation", "Paint consolidation.", "W")),
    (Label.RIGHT_LUNG, Action("right", "Right lung", "Paint the patient's right lung.")),
    (Label.LEFT_LUNG, Action("left", "Left lung", "Paint the patient's left lung.")),
)
MODES = (
    Action("move", "Move", "Drag the picture, as always.", napari_key="Z"),
    Action("brush", "Brush", "Paint. [ and ] change its size.", napari_key="P"),
    Action("erase", "Erase", "Erase whatever is not locked.", napari_key="E"),
    Action("lasso", "Lasso", "Draw round a region; it is filled.", "A"),
    Action(
        "grow",
        "Grow",
        "Click into a lesion: what is connected and about as dense is painted, in 3D.",
        "G",
    ),
    Action(
        "change",
        "Class",
        "Click a lesion: GGO becomes consolidation and back, in this slice.",
        "S",
        "Shift-S",
    ),
    Action("delete", "Delete", "Click a lesion to delete it in this slice.", "D", "Shift-D"),
    Action("keep", "Keep only", "Click a lesion to delete all others, in 3D.", "K"),
)
"""What the mouse does. Keys of ours do it at once, where the cursor is, but for the lasso's."""
STEPS = (
    Action("undo", "Undo", "Undo the last step, wherever it was.", napari_key="Ctrl+Z"),
    Action("redo", "Redo", "Do again what was undone.", napari_key="Ctrl+Shift+Z"),
)
SLICE = (
    Action("below", "From below", "Put the lesions of the slice below over this one.", ","),
    Action("above", "From above", "Put the lesions of the slice above over this one.", "."),
    Action("smooth", "Smooth", "Smooth the outline of the chosen class in this slice.", "U"),
    Action("holes", "Fill holes", "Fill what lesions enclose in this slice.", "J"),
)
INTERPOLATE = Action(
    "interpolate",
    "Interpolate",
    "Paint a lesion in some slices and leave others out: these are filled.",
    "I",
)
THRESHOLD = Action("threshold", "Threshold", "See what lies in a range of HU in the lung.", "T")
REVIEWED = Action(
    "reviewed",
    "Slice reviewed",
    "You looked at this slice and it is right. Painting marks it, too.",
    "R",
)
NEXT = Action("next", "Next open", "Go to the next slice that was not reviewed.", "N")
UNCERTAINTY = Action(
    "uncertainty",
    "Uncertainty",
    "See where the model is unsure: dark is sure, white knows nothing.",
    "Shift-U",
)
NEXT_UNCERTAIN = Action(
    "next uncertain",
    "Next uncertain",
    "Go to the most uncertain slice that was not reviewed; its neighbours wait.",
    "Shift-N",
)

ACTIONS = (
    *(action for _, action in CLASSES),
    *MODES,
    *STEPS,
    *SLICE,
    INTERPOLATE,
    THRESHOLD,
    REVIEWED,
    NEXT,
    UNCERTAINTY,
    NEXT_UNCERTAIN,
)
KEYS = {key: action for action in ACTIONS for key in (action.key, action.whole_key) if key}
"""Every key that is bound while the widget is open."""


def _shown(key: str) -> str:
    return key.replace("-", "+")
