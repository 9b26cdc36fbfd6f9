"""The CT workspace and the demo."""

import json

import pytest

from napari_covseg.domain.errors import InputError
from napari_covseg.io import write_volume
from napari_covseg.plugin import demo
from napari_covseg.plugin.layers import ct_layer
from napari_covseg.plugin.widgets.segment import SegmentWidget
from napari_covseg.plugin.workspace import WIDGETS, open_workspace, show_widget


def segment_widgets(viewer):
    return viewer.window._qt_window.findChildren(SegmentWidget)


def test_the_command_docks_the_widgets_once(viewer):
    from napari._app_model import get_app_model

    get_app_model()
    open_workspace(viewer)
    open_workspace(viewer)
    assert len(segment_widgets(viewer)) == 1
    (widget,) = segment_widgets(viewer)
    assert widget.session.viewer is viewer


def test_every_tab_has_room_for_its_name(viewer):
    from napari._app_model import get_app_model
    from qtpy.QtCore import Qt
    from qtpy.QtWidgets import QDockWidget, QTabWidget

    get_app_model()
    open_workspace(viewer)
    window = viewer.window._qt_window
    titles = [dock.windowTitle() for dock in window.findChildren(QDockWidget)]
    assert set(WIDGETS) <= set(titles)
    right = Qt.DockWidgetArea.RightDockWidgetArea
    assert window.tabPosition(right) == QTabWidget.TabPosition.East
    show_widget(viewer, "Dataset")
    again = [dock.windowTitle() for dock in window.findChildren(QDockWidget)]
    assert sorted(again) == sorted(titles), "it was opened already"


def test_napari_runs_the_command_from_its_menu(viewer):
    from npe2 import PluginManager

    PluginManager.instance().commands.execute("napari-covseg.workspace")
    assert len(segment_widgets(viewer)) == 1


def test_a_ct_opened_before_the_workspace_is_chosen(viewer, phantom):
    data, arguments, _ = ct_layer(phantom.volume)
    layer = viewer.add_image(data, **arguments)
    open_workspace(viewer)
    (widget,) = segment_widgets(viewer)
    assert widget.ct.value is layer
    assert not widget.view.run.isHidden()


@pytest.fixture
def demo_folder(tmp_path, phantom):
    from napari_covseg.quantify.volumes import measure
    from napari_covseg.workflows.segment import SegmentResult, write_result

    provenance = {
        "model": {"name": "covseg-default", "version": "1"},
        "device": {"title": "CPU (2 cores)"},
    }
    result = SegmentResult(phantom.labels, measure(phantom.labels), ("note",), provenance)
    write_result(result, tmp_path, "phantom")
    write_volume(phantom.volume, tmp_path / "phantom.nii.gz")
    return tmp_path


def test_demo_shows_ct_result_and_table(demo_folder, make_napari_viewer, settings_file, phantom):
    from napari_covseg.quantify.volumes import measure

    viewer = make_napari_viewer()
    demo.show_demo(demo_folder, viewer)
    assert [layer.name for layer in viewer.layers] == ["CT phantom", "Lungs", "Lesions"]
    (widget,) = segment_widgets(viewer)
    expected = measure(phantom.labels)
    assert widget.view.table.item(2, 0).text() == f"{expected.both.lung_ml:.0f}"
    assert viewer.dims.current_step[0] == expected.slice_with_most_lesion
    assert "saved as phantom_labels.nii.gz" in widget.view.result.state.text()


def test_demo_says_what_is_missing(tmp_path, capsys):
    with pytest.raises(InputError, match="run covseg demo into it first"):
        demo.find_demo(tmp_path)
    assert demo.main([str(tmp_path)]) == 3
    assert demo.main([]) == 2
    assert "expected one argument" in capsys.readouterr().err


def test_demo_refuses_a_json_that_is_not_ours(demo_folder, make_napari_viewer, settings_file):
    (demo_folder / "phantom.json").write_text(json.dumps({"case": "x"}))
    with pytest.raises(InputError, match="expected the JSON that goes with phantom_labels"):
        demo.show_demo(demo_folder, make_napari_viewer())
