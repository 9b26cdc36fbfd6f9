"""Curves of a training under way, drawn as they come: loss on the left, Dice on the right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_covseg.plugin.curves import Curve, Curves

if TYPE_CHECKING:
    from napari_covseg.training.outcome import TrainingProgress

HEIGHT, DRAW_MS = 170, 400
LOSS, DICE = "#3f8fe0", "#e08a1e"  # told apart by the colour-blind, on dark and on light
_SMALL = 7.5


class RetrainCurves(QWidget):
    """Draws `Curves`; matplotlib is loaded when there is something to draw."""

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(HEIGHT)
        self.curves = Curves()
        self._canvas: Any = None
        self._timer = QTimer(self, singleShot=True, interval=DRAW_MS)
        self._timer.timeout.connect(self.draw)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self.setToolTip(
            "Loss of the training, and mean Dice on the patients who validate (six patients or "
            "more). Whether the model is better, the gate says: on patients who are held out."
        )

    def restart(self) -> None:
        """Empty, for another retraining."""
        self.curves = Curves()
        self._timer.start()

    def take(self, step: TrainingProgress) -> None:
        """Add what a step tells, and draw it soon."""
        if self.curves.take(step) and not self._timer.isActive():
            self._timer.start()

    def changeEvent(self, event: Any) -> None:
        """Another theme has other colours."""
        super().changeEvent(event)
        if event.type() in (event.Type.PaletteChange, event.Type.StyleChange) and self._canvas:
            self._timer.start()

    def draw(self) -> None:
        """Draw all curves now."""
        if self._canvas is None:
            self._canvas = self._make_canvas()
            self.layout().addWidget(self._canvas)
        figure = self._canvas.figure
        figure.clear()
        ink = self.palette().windowText().color().name()
        loss = figure.add_subplot(111, facecolor="none")
        trainings = self.curves.trainings
        for curve in trainings[:-1]:
            loss.plot(*_columns(curve.loss), color=LOSS, linewidth=0.8, alpha=0.35)
        last = trainings[-1] if trainings else Curve()
        loss.plot(*_columns(last.loss), color=LOSS, linewidth=1.6)
        _dress(loss, ink, LOSS, "Loss")
        loss.set_xlim(0, 100)
        loss.set_xlabel(_course(len(trainings)), color=ink, fontsize=_SMALL)
        if last.dice:
            dice = loss.twinx()
            dice.plot(*_columns(last.dice), color=DICE, linewidth=1.6, marker="o", markersize=3.5)
            dice.set_ylim(0, 1)
            _dress(dice, ink, DICE, "Validation Dice")
        self._canvas.draw_idle()

    def _make_canvas(self) -> Any:
        from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
        from matplotlib.figure import Figure

        canvas = FigureCanvasQTAgg(Figure(layout="constrained", facecolor="none"))
        canvas.setStyleSheet("background: transparent;")
        canvas.setAccessibleName("Loss and validation Dice")
        return canvas


def _dress(axes: Any, ink: str, colour: str, title: str) -> None:
    axes.tick_params(labelsize=_SMALL, colors=ink, length=2)
    axes.set_ylabel(title, color=colour, fontsize=_SMALL, fontweight="bold")
    axes.locator_params(axis="y", nbins=5)
    for side, spine in axes.spines.items():
        spine.set_visible(side != "top")
        spine.set_color(ink)
        spine.set_alpha(0.4)


def _columns(points: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _course(trainings: int) -> str:
    which = f"training {trainings}: " if trainings > 1 else ""
    return f"{which}% of the training"
