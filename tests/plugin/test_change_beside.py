"""The room that the prior takes beside the picture, and gives back."""

from qtpy.QtWidgets import QWidget

from napari_covseg.plugin.napari_versions import canvas_widget
from napari_covseg.plugin.widgets import change_beside
from napari_covseg.plugin.widgets.change_beside import Beside


class Pane(QWidget):
    """Stands for the prior."""

    def __init__(self, *_):
        super().__init__()
        self.setMinimumWidth(100)

    def retire(self):
        pass


def test_the_picture_is_as_wide_as_before_once_the_prior_is_closed(
    make_napari_viewer, monkeypatch, qtbot
):
    monkeypatch.setattr(change_beside, "PriorPane", Pane)
    viewer = make_napari_viewer(show=True)
    viewer.window._qt_window.resize(1400, 900)
    canvas = canvas_widget(viewer)
    qtbot.waitUntil(lambda: canvas.width() > 700)
    before = canvas.width()
    beside = Beside(viewer, lambda: None)
    beside.show(None, None)
    qtbot.waitUntil(lambda: canvas.width() < 0.6 * before)
    beside.close()
    qtbot.waitUntil(lambda: canvas.width() == before)
