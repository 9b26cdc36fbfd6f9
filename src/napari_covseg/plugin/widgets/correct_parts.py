"""The controls of the Correct widget: classes, tools, slice, threshold."""

from __future__ import annotations

from collections.abc import Iterable

from qtpy.QtCore import QSize, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_covseg.domain.colours import LABEL_COLOURS
from napari_covseg.domain.labels import Label
from napari_covseg.plugin.plain import Markup, Words, plain
from napari_covseg.plugin.widgets.correct_actions import (
    CLASSES,
    INTERPOLATE,
    MODES,
    NEXT_UNCERTAIN,
    SLICE,
    STEPS,
    THRESHOLD,
    UNCERTAINTY,
    Action,
)
from napari_covseg.plugin.widgets.pieces import Running

LOWEST_HU, HIGHEST_HU = -1024, 1024
_CHOICE = """
QPushButton { text-align: left; padding: 5px 2px; }
QPushButton:checked { background: #2566c8; color: white; }
"""


class ClassChoice(QWidget):
    """The class that is painted, and which classes are locked."""

    chosen = Signal(int)
    locks_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.buttons: dict[int, QPushButton] = {}
        self.locks: dict[int, QCheckBox] = {}
        group = QButtonGroup(self)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for place, (label, action) in enumerate(CLASSES):
            row, column = divmod(place, 2)
            choice = button(action, checkable=True)
            choice.setStyleSheet(_CHOICE)
            choice.setIcon(_square(LABEL_COLOURS[label]))
            choice.setIconSize(QSize(12, 12))
            choice.clicked.connect(lambda _=False, value=int(label): self.chosen.emit(value))
            group.addButton(choice)
            self.buttons[int(label)] = choice
            layout.addWidget(choice, row, 2 * column)
            lock = QCheckBox("lock")
            lock.setToolTip(plain(f"Never paint over {label.title}, nor erase it"))
            lock.toggled.connect(self.locks_changed)
            self.locks[int(label)] = lock
            layout.addWidget(lock, row, 2 * column + 1)
        layout.setColumnStretch(0, 1)
        layout.setColumnStretch(2, 1)
        self.buttons[int(Label.GGO)].setChecked(True)

    @property
    def locked(self) -> frozenset[int]:
        """Labels that are locked."""
        return frozenset(label for label, lock in self.locks.items() if lock.isChecked())

    def show_layers(self, has_lungs: bool, has_lesions: bool) -> None:
        """Classes without a layer cannot be painted."""
        for label in self.buttons:
            there = has_lungs if label in (Label.LEFT_LUNG, Label.RIGHT_LUNG) else has_lesions
            self.buttons[label].setEnabled(there)
            self.locks[label].setEnabled(there)


class Tools(QWidget):
    """What the mouse does, and where paint may go."""

    limits_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.modes = {action.name: button(action, checkable=True) for action in MODES}
        self.steps = {action.name: button(action) for action in STEPS}
        group = QButtonGroup(self)
        for mode in self.modes.values():
            group.addButton(mode)
        self.modes["move"].setChecked(True)
        self.inside = QCheckBox("Only inside the lung")
        self.inside.setChecked(True)
        self.ranged = QCheckBox("Only from")
        self.ranged.setToolTip("Paint only what has these HU: vessels and air are left out")
        self.low, self.high = spin(-850, "HU"), spin(-200, "HU")
        self.tolerance = spin(100, "HU", 1, 1000)
        self.tolerance.setToolTip("How far Grow may be from the density at the click")
        self.radius = spin(30, "mm", 1, 300)
        self.radius.setToolTip("How far Grow may go from the click")
        for box in (self.inside, self.ranged):
            box.toggled.connect(self.limits_changed)
        for number in (self.low, self.high):
            number.valueChanged.connect(self.limits_changed)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(grid([*self.modes.values()], 4))
        layout.addLayout(grid([*self.steps.values()], 2))
        layout.addWidget(self.inside)
        layout.addLayout(line(self.ranged, self.low, "to", self.high))
        layout.addLayout(line("Grow: ±", self.tolerance, "within", self.radius))


class SliceTools(QWidget):
    """What is done to the slice that is shown, and between painted slices."""

    def __init__(self) -> None:
        super().__init__()
        self.buttons = {action.name: button(action) for action in SLICE}
        self.interpolate = button(INTERPOLATE)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(grid([*self.buttons.values()], 2))
        layout.addWidget(self.interpolate)

    def show_painted(self, count: int) -> None:
        """How many slices were painted, to interpolate between."""
        slices = f": {count} painted slices" if count > 1 else ""
        self.interpolate.setText(f"{INTERPOLATE.text}{slices}")


class Threshold(QWidget):
    """A range of HU, how much of the lung it is, and labelling it."""

    def __init__(self) -> None:
        super().__init__()
        self.toggle = button(THRESHOLD, checkable=True)
        self.low, self.high = spin(-750, "HU"), spin(-300, "HU")
        self.volume = Markup("")
        self.in_slice = QPushButton("Label in this slice")
        self.in_slice.setToolTip("Give what is shown the chosen class, in this slice")
        self.everywhere = QPushButton("Label everywhere")
        self.everywhere.setToolTip("Give what is shown the chosen class, in all slices")
        self.body = QWidget()
        inner = QVBoxLayout(self.body)
        inner.setContentsMargins(0, 0, 0, 0)
        inner.setSpacing(4)
        inner.addLayout(line("From", self.low, "to", self.high))
        inner.addWidget(self.volume)
        inner.addLayout(grid([self.in_slice, self.everywhere], 2))
        self.body.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.toggle)
        layout.addWidget(self.body)


class Uncertainty(QWidget):
    """Where the model is unsure, and the way there."""

    def __init__(self) -> None:
        super().__init__()
        self.toggle = button(UNCERTAINTY, checkable=True)
        self.next = button(NEXT_UNCERTAIN)
        self.running = Running()
        self.running.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(grid([self.toggle, self.next], 2))
        layout.addWidget(self.running)


def button(action: Action, checkable: bool = False) -> QPushButton:
    """A button that says what it does and by which key."""
    made = QPushButton(action.text)
    made.setToolTip(plain(action.tooltip))
    made.setCheckable(checkable)
    return made


def spin(value: int, unit: str, low: int = LOWEST_HU, high: int = HIGHEST_HU) -> QSpinBox:
    """A whole number with its unit."""
    made = QSpinBox()
    made.setRange(low, high)
    made.setSingleStep(10 if unit == "HU" else 5)
    made.setSuffix(f" {unit}")
    made.setValue(value)
    made.setKeyboardTracking(False)
    return made


def grid(parts: Iterable[QWidget], columns: int) -> QGridLayout:
    """Parts in rows, equally wide."""
    layout = QGridLayout()
    layout.setSpacing(4)
    for place, part in enumerate(parts):
        layout.addWidget(part, place // columns, place % columns)
    for column in range(columns):
        layout.setColumnStretch(column, 1)
    return layout


def line(*parts: QWidget | str) -> QHBoxLayout:
    """Parts and words in one line."""
    layout = QHBoxLayout()
    layout.setSpacing(4)
    for part in parts:
        layout.addWidget(Words(part) if isinstance(part, str) else part)
    layout.addStretch(1)
    return layout


def _square(colour: str) -> QIcon:
    picture = QPixmap(12, 12)
    picture.fill(QColor(colour))
    return QIcon(picture)
