"""The whole way in the viewer, with the model that ships."""

import pytest

from napari_covseg.models.zoo import available
from napari_covseg.plugin.layers import ct_layer, join
from napari_covseg.plugin.widgets.results_table import cells
from napari_covseg.plugin.widgets.segment import SegmentWidget
from napari_covseg.quantify.volumes import measure


@pytest.mark.slow
def test_the_sample_is_segmented_as_it_was_made(viewer, qtbot):
    from napari_covseg.io import make_phantom

    assert available(), "the default model is missing from models/weights"
    phantom = make_phantom(shape=(60, 256, 256), spacing_mm=(5.0, 1.4, 1.4))
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment", area="right")
    data, arguments, _ = ct_layer(phantom.volume)
    viewer.add_image(data, **arguments)
    widget.view.form["device"].value = "cpu"
    widget.view.run.click()
    qtbot.waitUntil(lambda: not widget.jobs_running(), timeout=300_000)
    layers = [viewer.layers["Lungs"], viewer.layers["Lesions"]]
    shown = join(layer.as_layer_data_tuple()[:2] for layer in layers)
    found, truth = measure(shown), measure(phantom.labels)
    table = widget.view.table
    texts = [[table.item(r, c).text() for c in range(table.columnCount())] for r in range(3)]
    assert texts == [list(cells(side)) for _, side in found.rows]
    for side in ("left", "right"):
        ours, made = getattr(found, side), getattr(truth, side)
        assert ours.lung_ml == pytest.approx(made.lung_ml, rel=0.05)
        assert ours.lesions_ml == pytest.approx(made.lesions_ml, rel=0.35)
    assert found.left.lesions_ml > found.right.lesions_ml
    assert "covseg" in widget.view.result.state.text()
    widget.close()
