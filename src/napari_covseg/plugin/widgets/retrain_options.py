"""What is rarely changed about a retraining, with defaults that make sense."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QWidget,
)

from napari_covseg.plugin import preferences
from napari_covseg.plugin.plain import plain
from napari_covseg.plugin.widgets.pieces import Folded

if TYPE_CHECKING:
    from napari_covseg.workflows.retrain_request import RetrainRequest


class RetrainOptions(Folded):
    """The fields of `RetrainRequest` as controls; the title tells when one was changed."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__("Options")
        self.rows = QWidget()
        self.start = QComboBox()
        self.start.addItem("the live model", "live")
        self.start.addItem("the model of the package", "shipped")
        self.minutes = _number(0, 0, 600, 1, "min", digits=1, least="as suits the device")
        self.replay = _Folder()
        self.replay_share = _whole(50, 5, 95, 5, "%")
        self.distillation = _number(1, 0, 100, 0.5, "", digits=1, least="not used")
        self.share = _whole(0, 0, 100, 25, "%", least="as validation says")
        self.dice_margin = _number(0.05, 0, 1, 0.01, "", digits=3)
        self.volume_percent = _number(10, 0, 100, 1, "%", digits=1)
        self.volume_ml = _number(10, 0, 1000, 1, "ml", digits=1)
        self.device = QComboBox()
        self.device.addItems(["auto", "cpu"])
        self.seed = _whole(0, 0, 999_999, 1, "")
        self.settings = QLineEdit()
        self.settings.setPlaceholderText("FIELD=VALUE FIELD=VALUE")
        self.promote = QCheckBox("Promote if it passes")
        self.promote.setChecked(True)
        self._build()
        for signal in (
            *(one.currentIndexChanged for one in (self.start, self.device)),
            *(one.valueChanged for one in (self.minutes, self.replay_share, self.share)),
            *(one.valueChanged for one in (self.dice_margin, self.volume_percent)),
            *(one.valueChanged for one in (self.volume_ml, self.seed, self.distillation)),
            *(self.replay.changed, self.settings.textChanged, self.promote.toggled),
        ):
            signal.connect(self._on_changed)

    def _build(self) -> None:
        form = QFormLayout(self.rows)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        replay = "An nnU-Net dataset, or a folder of several, to train on too, against forgetting"
        volume = "a class's volume error may rise by less than this"
        for title, control, tip in (
            ("Start from", self.start, "The model whose weights the training begins with"),
            ("Time", self.minutes, "For each training, at most"),
            ("Replay", self.replay, replay),
            ("Replayed", self.replay_share, "How often batches come from the data to replay"),
            (
                "Unlabelled",
                self.distillation,
                "How much cases without labels count, on which the new model learns to say what "
                "the old one says, so that it does not forget",
            ),
            (
                "New weights",
                self.share,
                "Their share in the average with the old ones; 75 % where nobody validates",
            ),
            ("Dice margin", self.dice_margin, "A class's Dice may fall by less than this"),
            ("Volume margin", self.volume_percent, f"Of its volume: {volume},"),
            ("or", self.volume_ml, f"In ml: {volume}, whichever is more"),
            ("Device", self.device, "auto takes the best there is"),
            ("Seed", self.seed, "Of every random choice"),
            ("Other", self.settings, "Settings of the training, as covseg train --set takes them"),
            ("Gate", self.promote, "If not, you decide when it has passed"),
        ):
            control.setToolTip(plain(tip))
            # Their own least widths are those of their longest texts, too much for the dock.
            control.setMinimumWidth(60)
            form.addRow(title, control)
        self.addWidget(self.rows)

    def minutes_asked(self) -> float | None:
        """Minutes for each training; None: as suits the device."""
        return self.minutes.value() or None

    def device_asked(self) -> str:
        """The device to look for."""
        return str(self.device.currentText())

    def offer_device(self, name: str) -> None:
        """Offer a device that was found."""
        if self.device.findText(name) < 0:
            self.device.addItem(name)

    def request(self, store: Path, author: str) -> RetrainRequest:
        """What is chosen, as a request.

        Raises
        ------
        UsageError
            If values contradict.
        """
        from napari_covseg.cases.gate import GateRule
        from napari_covseg.workflows.retrain_request import RetrainRequest

        minutes = self.minutes_asked()
        timed = () if minutes is None else (f"minutes={minutes:g}",)
        return RetrainRequest(
            store=store,
            author=author,
            start=self.start.currentData(),
            settings=(*self.settings.text().split(), *timed),
            replay=self.replay.folder,
            replay_share=self.replay_share.value() / 100,
            share=self.share.value() / 100 or None,
            device=self.device_asked(),
            seed=self.seed.value(),
            rule=GateRule(
                self.dice_margin.value(), self.volume_percent.value(), self.volume_ml.value()
            ),
            promote=self.promote.isChecked(),
            distillation=self.distillation.value(),
        )

    def _on_changed(self) -> None:
        from napari_covseg.workflows.retrain_request import RetrainRequest

        default = RetrainRequest(Path(), "")
        same = replace(self.request(Path(), ""), device=default.device) == default
        self.set_title("Options" if same else "Options (changed)")
        self.changed.emit()


class _Folder(QWidget):
    """A folder, or none."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.folder: Path | None = None
        self.choose = QPushButton("none")
        self.clear = QPushButton("Clear")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.choose, 1)
        layout.addWidget(self.clear)
        self.choose.clicked.connect(self._ask)
        self.clear.clicked.connect(lambda: self.take(None))
        self.take(None)

    def take(self, folder: Path | None) -> None:
        """Choose a folder, or none."""
        self.folder = folder
        self.choose.setText(folder.name if folder else "none")
        self.clear.setVisible(folder is not None)
        self.changed.emit()

    def _ask(self) -> None:
        start = preferences.load_text("folders/replay", str(Path.home()))
        chosen = QFileDialog.getExistingDirectory(self, "nnU-Net data to replay", start)
        if chosen:
            preferences.save_text("folders/replay", chosen)
            self.take(Path(chosen))


def _number(
    value: float,
    low: float,
    high: float,
    step: float,
    unit: str,
    *,
    digits: int,
    least: str = "",
) -> QDoubleSpinBox:
    made = QDoubleSpinBox()
    made.setDecimals(digits)
    made.setRange(low, high)
    made.setSingleStep(step)
    made.setSuffix(f" {unit}" if unit else "")
    made.setSpecialValueText(least)
    made.setValue(value)
    made.setKeyboardTracking(False)
    return made


def _whole(value: int, low: int, high: int, step: int, unit: str, least: str = "") -> QSpinBox:
    made = QSpinBox()
    made.setRange(low, high)
    made.setSingleStep(step)
    made.setSuffix(f" {unit}" if unit else "")
    made.setSpecialValueText(least)
    made.setValue(value)
    made.setKeyboardTracking(False)
    return made
