"""The colours of the labels."""

from __future__ import annotations

from qtpy.QtWidgets import QWidget

from napari_covseg.domain.colours import LABEL_COLOURS
from napari_covseg.domain.labels import Label
from napari_covseg.plugin.plain import Markup

_OUTLINED = (Label.LEFT_LUNG, Label.RIGHT_LUNG)
_SHOWN = (Label.RIGHT_LUNG, Label.LEFT_LUNG, Label.GGO, Label.CONSOLIDATION)


class Legend(Markup):
    """One line: an outline for each lung, a filled square for each class of lesion."""

    def __init__(self, parent: QWidget | None = None) -> None:
        parts = [
            f'<span style="color:{LABEL_COLOURS[label]};">{"□" if label in _OUTLINED else "■"}'
            f"</span>&nbsp;{label.title.replace(' ', '&nbsp;')}"
            for label in _SHOWN
        ]
        super().__init__(" &nbsp; ".join(parts), parent)
        self.setWordWrap(True)
