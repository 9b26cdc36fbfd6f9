"""What can be chosen of a retraining in its panel."""

from __future__ import annotations


def test_how_much_cases_without_labels_count_can_be_chosen(qtbot, tmp_path):
    from napari_covseg.plugin.widgets.retrain_options import RetrainOptions
    from napari_covseg.workflows.retrain_request import RetrainRequest

    options = RetrainOptions()
    qtbot.addWidget(options)
    assert options.request(tmp_path, "RA").distillation == RetrainRequest(tmp_path, "").distillation
    options.distillation.setValue(0)
    assert options.request(tmp_path, "RA").distillation == 0
    assert options.distillation.text() == "not used"
