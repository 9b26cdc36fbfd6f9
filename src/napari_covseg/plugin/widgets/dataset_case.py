"""The case in work: what is known of it, what can be said of it, and where it can go."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_covseg.cases.records import Difficulty, State
from napari_covseg.plugin.case_saving import Remarks
from napari_covseg.plugin.plain import Words, plain
from napari_covseg.plugin.widgets.pieces import marked, paragraph

if TYPE_CHECKING:
    from napari_covseg.cases.records import CaseRecord, LabelVersion

_FRAME = "QFrame#case { border: 1px solid #4a7fc9; border-radius: 4px; }"


class CasePanel(QFrame):
    """Shown while a case of the store is in the viewer."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("case")
        self.setStyleSheet(_FRAME)
        self.title, self.state, self.note = marked(), paragraph(), paragraph()
        self.whole = QCheckBox("I checked every slice of this scan")
        self.whole.setToolTip(
            "Accept the whole scan. Otherwise slices that are not marked as reviewed (R in the "
            "Correct panel) are left out of training"
        )
        self.comment = QLineEdit()
        self.comment.setPlaceholderText("Comment, kept with the case")
        self.difficulty = _Difficulties()
        self.draft = _button("Save draft", "Keep it in the store as it is, and go on")
        self.second = _button(
            "To second reader", "Save as corrected; another reader accepts it or sends it back"
        )
        self.flag = _button("Flag", "Needs someone else's eye: save, comment, leave the queue")
        self.release = _button("Give back", "Save a draft and let others take the case")
        self.buttons = (self.draft, self.second, self.flag, self.release)
        self._build()
        self.hide()

    def _build(self) -> None:
        grid = QGridLayout()
        grid.setSpacing(4)
        for place, button in enumerate(self.buttons):
            grid.addWidget(button, place // 2, place % 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 6, 8, 8)
        layout.setSpacing(5)
        parts = (self.title, self.note, self.state, self.whole, self.difficulty, self.comment)
        for part in parts:
            layout.addWidget(part)
        layout.addLayout(grid)

    def take(self, record: CaseRecord, note: str) -> None:
        """Another case; what was said of it before stands in the fields."""
        self.whole.setChecked(False)
        self.comment.setText(record.comment)
        self.difficulty.choose(record.difficulty)
        self.show_note(note)

    def show_note(self, note: str) -> None:
        """What the annotator should know of the case before he draws; empty: nothing."""
        self.note.setText(note)
        self.note.setVisible(bool(note))

    def show_version(self, record: CaseRecord, version: LabelVersion | None) -> None:
        """Which version is shown, and by whom."""
        self.title.setText(f"<b>{escape(record.name)}</b> · {escape(version_text(version))}")
        flagged = record.state is State.FLAGGED
        self.flag.setText("Take flag away" if flagged else "Flag")

    def show_state(self, reviewed: int, slices: int, minutes: float, saved: str) -> None:
        """How far it has come."""
        self.state.setText(f"{reviewed} of {slices} slices reviewed · {minutes:.0f} min · {saved}")

    def show_running(self, running: bool) -> None:
        """Nothing can be pressed meanwhile; who is typing goes on, or the keys would go astray."""
        for part in (*self.buttons, self.whole, self.difficulty):
            part.setEnabled(not running)

    @property
    def remarks(self) -> Remarks:
        """What is said of the case now."""
        return Remarks(self.comment.text().strip(), self.difficulty.chosen)


class _Difficulties(QWidget):
    """Easy, medium, hard, or not judged."""

    def __init__(self) -> None:
        super().__init__()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(Words("Difficulty"))
        self._group = QButtonGroup(self)
        self._group.setExclusive(True)
        self.buttons: dict[Difficulty, QPushButton] = {}
        for difficulty in Difficulty:
            button = _button(difficulty.value, f"{difficulty.value.capitalize()} to annotate")
            button.setCheckable(True)
            self._group.addButton(button)
            self.buttons[difficulty] = button
            row.addWidget(button, 1)

    @property
    def chosen(self) -> Difficulty | None:
        """What was judged."""
        return next((one for one, button in self.buttons.items() if button.isChecked()), None)

    def choose(self, difficulty: Difficulty | None) -> None:
        """Show a judgement."""
        self._group.setExclusive(False)
        for one, button in self.buttons.items():
            button.setChecked(one is difficulty)
        self._group.setExclusive(True)


def version_text(version: LabelVersion | None) -> str:
    """A version in a few words."""
    if version is None:
        return "no labels yet"
    return f"version {version.number}, {version.kind} of {version.author}"


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(plain(tip))
    return button
