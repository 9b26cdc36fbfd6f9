import json
import os
import subprocess
import sys

import numpy as np
import pytest

if not os.environ.get("DISPLAY") and not os.environ.get("QT_QPA_PLATFORM"):
    pytest.skip("needs a display: run under xvfb-run", allow_module_level=True)

from napari_covseg.domain.errors import ModelError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import Progress
from napari_covseg.domain.volume import LabelMap
from napari_covseg.plugin import preferences
from napari_covseg.plugin.detecting import BOXES, MASKS
from napari_covseg.plugin.layers import ct_layer
from napari_covseg.plugin.no_triton import without_triton
from napari_covseg.plugin.session import session_of
from napari_covseg.plugin.widgets.detect import MODEL, DetectWidget


def fake_result(volume, settings):
    """Lesions where the middle of the CT is, the first over two slices."""
    from napari_covseg.inference.detect import Detection, Lesion, SliceFinding
    from napari_covseg.models.device import Device
    from napari_covseg.workflows.detect import DetectResult

    labels = np.zeros(volume.hu.shape, np.uint8)
    labels[10:12, 30:40, 20:30], labels[20, 50:60, 60:66] = Label.GGO, Label.CONSOLIDATION
    bodies = (labels > 0).astype(np.uint16)
    corners = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    lesions = (
        Lesion(1, Label.GGO, 0.9, 2, (10, 30, 20, 12, 40, 30), 200, 19.4, *corners),
        Lesion(2, Label.CONSOLIDATION, 0.6, 1, (20, 50, 60, 21, 60, 66), 60, 5.8, *corners),
    )
    findings = (
        SliceFinding(10, Label.GGO, 0.7, (30.0, 20.0, 40.0, 30.0)),
        SliceFinding(11, Label.GGO, 0.9, (30.0, 20.0, 40.0, 30.0)),
        SliceFinding(20, Label.CONSOLIDATION, 0.6, (50.0, 60.0, 60.0, 66.0)),
    )
    device = Device("cpu", "CPU (2 cores)")
    found = Detection(LabelMap.like(volume, labels), bodies, lesions, findings, device)
    about = {"model": {"name": "eye", "version": "1"}, "score": settings.score}
    return DetectResult(found, ("slices are far apart",), about)


@pytest.fixture
def asked(monkeypatch):
    """What the workflow was asked for; it answers at once."""
    # Here, not while a test waits: on a busy machine torchvision takes a minute to load.
    with without_triton():
        import napari_covseg.inference.detect  # noqa: F401
    from napari_covseg.workflows import detect as workflow

    settings = []

    def detect(volume, chosen):
        settings.append(chosen)
        yield Progress(0, 2, "looking for lesions on CPU")
        if chosen.score == 1.0:
            raise ModelError("eye.json: the weights are not those of this card")
        return fake_result(volume, chosen)

    monkeypatch.setattr(workflow, "detect", detect)
    return settings


@pytest.fixture
def widget(viewer, phantom, tmp_path):
    data, arguments, _ = ct_layer(phantom.volume)
    viewer.add_image(data, **arguments)
    (tmp_path / "eye").mkdir()
    preferences.save_text(MODEL, str(tmp_path / "eye"))
    made = DetectWidget(viewer)
    viewer.window.add_dock_widget(made)
    return made


def run(widget, qtbot):
    widget.start()
    qtbot.waitUntil(lambda: not widget.jobs_running())


def test_boxes_masks_and_a_table_that_leads_to_each(widget, viewer, qtbot, asked):
    run(widget, qtbot)
    assert [one.model.endswith("eye") for one in asked] == [True]
    boxes, masks = viewer.layers[BOXES], viewer.layers[MASKS]
    assert list(boxes.features["class"]) == ["GGO", "GGO", "Consolidation"]
    assert list(boxes.features["score"]) == [0.7, 0.9, 0.6]
    np.testing.assert_allclose(
        boxes.data[1], [[11, 29.5, 19.5], [11, 29.5, 29.5], [11, 39.5, 29.5], [11, 39.5, 19.5]]
    )
    ct = session_of(viewer).viewer.layers[0]
    for layer in (boxes, masks):
        np.testing.assert_allclose(layer.scale, ct.scale)
        np.testing.assert_allclose(layer.translate, ct.translate)
    assert set(np.unique(masks.data)) == {0, 3, 4}
    table = widget.view.table
    assert [table.cell("1", n) for n in range(4)] == ["GGO", "0.90", "19", "11–12"]
    assert [table.cell("2", n) for n in range(4)] == ["Consol.", "0.60", "5.8", "21"]
    assert "2 lesions · eye 1 on CPU" in widget.view.summary.text()
    assert "slices are far apart" in widget.view.summary.text()
    assert viewer.dims.current_step[0] == 11  # The best slice of the first.
    table.row_clicked.emit("2")
    assert viewer.dims.current_step[0] == 20


def test_another_run_takes_the_place_of_the_first(widget, viewer, qtbot, asked):
    run(widget, qtbot)
    widget.view.score.setValue(0.8)
    run(widget, qtbot)
    assert [one.score for one in asked] == [0.5, 0.8]
    assert [layer.name for layer in viewer.layers].count(BOXES) == 1


def test_an_error_is_told_and_the_button_is_back(widget, qtbot, asked, monkeypatch):
    from napari_covseg.plugin.widgets import errors

    told = []
    monkeypatch.setattr(errors, "show_error", told.append)
    widget.view.score.setValue(1.0)
    run(widget, qtbot)
    assert told == ["eye.json: the weights are not those of this card"]
    assert not widget.view.run.isHidden()
    assert widget.view.summary.isHidden()


def test_without_a_ct_or_a_detector_it_says_what_to_do(viewer, qtbot):
    preferences.save_text(MODEL, "")
    made = DetectWidget(viewer)
    viewer.window.add_dock_widget(made)
    assert not made.view.run.isEnabled()
    assert "covseg detect-train" in made.view.detector.text()
    assert not made.view.empty.isHidden()
    assert made.minimumSizeHint().width() <= 380


def test_without_a_detector_the_shipped_model_looks(widget, qtbot, asked):
    preferences.save_text(MODEL, "")
    run(widget, qtbot)
    assert [one.model for one in asked] == ["covseg-default"]


def test_files_are_those_of_the_command_line(widget, qtbot, asked, tmp_path):
    run(widget, qtbot)
    widget.save_to(tmp_path)
    qtbot.waitUntil(lambda: not widget.jobs_running())
    (report,) = tmp_path.glob("*_detected.json")
    assert [one["label"] for one in json.loads(report.read_text())["lesions"]] == [
        "ggo",
        "consolidation",
    ]
    assert len(list(tmp_path.glob("*_detected_labels.nii.gz"))) == 1


def test_torchvision_comes_without_triton():
    """In a process of its own: Triton must not be loaded beside OpenGL."""
    code = (
        "import sys\n"
        "from napari_covseg.plugin.no_triton import without_triton\n"
        "with without_triton():\n"
        "    import napari_covseg.inference.detect\n"
        "assert 'torchvision.ops' in sys.modules and 'triton' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_ct_that_goes_takes_its_result_along(widget, viewer, qtbot, asked):
    run(widget, qtbot)
    viewer.layers.pop(0)
    assert widget.view.summary.isHidden()
    assert not widget.view.run.isEnabled()
