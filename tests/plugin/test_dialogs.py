"""Dialogs that the reader asks with."""

import pytest
from qtpy.QtWidgets import QDialogButtonBox

from napari_covseg.io import SeriesInfo
from napari_covseg.plugin.widgets.series_dialog import SeriesDialog
from napari_covseg.plugin.widgets.window_dialog import WindowDialog


def series(uid, **kwargs):
    defaults = {
        "number": 3, "description": "Lung 1 mm", "modality": "CT", "slices": 120,
        "plane": "axial", "spacing_mm": (1.0, 0.7, 0.7), "loadable": True, "reason": "",
    }  # fmt: skip
    return SeriesInfo(uid=uid, **{**defaults, **kwargs})


@pytest.fixture
def dialog(qtbot):
    found = [
        series("1.1", loadable=False, reason="a localizer (scout)", spacing_mm=None),
        series("1.2"),
        series("1.3", description="Soft 5 mm", slices=60),
    ]
    dialog = SeriesDialog(found, "study")
    qtbot.addWidget(dialog)
    return dialog


def test_the_first_series_that_can_be_opened_is_chosen(dialog):
    assert dialog.uid() == "1.2"


def test_a_row_tells_what_a_series_is(dialog):
    texts = [dialog.table.item(1, column).text() for column in range(6)]
    assert texts == ["3", "Lung 1 mm", "axial", "120", "1.00 × 0.70 × 0.70", ""]
    assert dialog.table.item(0, 5).text() == "a localizer (scout)"


def test_another_can_be_chosen_but_none_that_cannot_be_opened(dialog):
    dialog.table.setCurrentCell(2, 0)
    assert dialog.uid() == "1.3"
    dialog.table.setCurrentCell(0, 0)
    assert dialog.uid() == "1.3"


def test_window_dialog_wants_low_below_high(qtbot):
    dialog = WindowDialog("grey.nii.gz: not in Hounsfield units")
    qtbot.addWidget(dialog)
    assert dialog.limits_hu() == (-1350.0, 150.0)
    button = dialog.buttons.button(QDialogButtonBox.StandardButton.Open)
    assert button.isEnabled()
    dialog.high.setValue(-1400)
    assert not button.isEnabled()
    dialog.low.setValue(-2000)
    assert button.isEnabled()
    assert dialog.limits_hu() == (-2000.0, -1400.0)
