"""The Report widget: what the reader writes, signs and saves, of the right CT."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtGui import QGuiApplication

from napari_covseg.domain.labels import Label
from napari_covseg.domain.lobes import Lobe, LobeMap
from napari_covseg.plugin.layers import ct_layer, label_layers
from napari_covseg.plugin.session import as_segmented, session_of
from napari_covseg.plugin.widgets.report import ReportWidget


@pytest.fixture
def no_findings(tmp_path, monkeypatch):
    """Nothing of the user's is read or written."""
    monkeypatch.setattr("platformdirs.user_data_path", lambda *a, **k: tmp_path / "data")


@pytest.fixture
def widget(viewer, qtbot, no_findings):
    made = ReportWidget(viewer)
    qtbot.addWidget(made)
    return made


def add_ct(viewer, volume, case="phantom"):
    data, arguments, _ = ct_layer(volume)
    return viewer.add_image(data, **{**arguments, "name": case})


def add_labels(viewer, labels):
    return [viewer.add_labels(data, **arguments) for data, arguments, _ in label_layers(labels)]


@pytest.fixture
def with_labels(viewer, widget, phantom):
    ct = add_ct(viewer, phantom.volume)
    lungs, lesions = add_labels(viewer, phantom.labels)
    widget._adopt()
    return ct, lungs, lesions


def done(qtbot, widget):
    qtbot.waitUntil(lambda: not widget.jobs_running())


def clipboard():
    return QGuiApplication.clipboard().text()


def test_empty_states_say_what_to_do(viewer, widget, phantom):
    view = widget.view
    assert not view.empty.isHidden()
    assert view.body.isHidden()
    add_ct(viewer, phantom.volume)
    assert view.empty.isHidden()
    assert "Segment it" in view.no_labels.text()
    assert not view.no_labels.isHidden()
    assert not view.save.isEnabled()
    add_labels(viewer, phantom.labels)
    widget._adopt()
    assert view.no_labels.isHidden()
    assert not view.body.isHidden()
    assert view.save.isEnabled()


def test_findings_are_copied_with_the_phantoms_truth(widget, with_labels, qtbot, phantom):
    widget.view.reader.findings.setPlainText("Dorsal opacities.")
    widget.view.reader.co_rads.setCurrentIndex(5)
    widget.acts.copy()
    done(qtbot, widget)
    lesions = phantom.volumes_ml[Label.GGO] + phantom.volumes_ml[Label.CONSOLIDATION]
    text = clipboard()
    assert f" {lesions:.0f} ml: ground-glass opacity" in " ".join(text.split())
    assert "READER'S FINDINGS:\nDorsal opacities." in text
    assert "CO-RADS 4: high suspicion" in text
    assert "SIGNED" not in text


def test_a_report_is_saved(widget, with_labels, qtbot, tmp_path, phantom):
    widget.view.formats.choose(("csv", "json", "txt"))
    widget.acts.sign("A. Roe")
    done(qtbot, widget)
    assert widget.view.reader.signed.text().startswith("Signed by A. Roe, ")
    widget.acts.save_to(tmp_path / "reports")
    done(qtbot, widget)
    names = [f"phantom_report.{kind}" for kind in ("csv", "json", "txt")]
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == names
    found = json.loads((tmp_path / "reports" / names[1]).read_text(encoding="utf-8"))
    ggo = found["measurements"]["parts"]["both"]["ggo"]["ml"]
    assert ggo == pytest.approx(phantom.volumes_ml[Label.GGO])
    assert found["reading"]["reader"] == "A. Roe"
    assert found["provenance"]["made"] == "unknown"


def test_a_result_of_the_session_knows_its_model(viewer, widget, qtbot, phantom, fake_segment):
    from napari_covseg.domain.progress import run_to_end
    from napari_covseg.workflows import segment as workflow

    ct = add_ct(viewer, phantom.volume)
    result = run_to_end(workflow.segment(phantom.volume, None))
    case = session_of(viewer).show(ct, as_segmented(result))
    widget.acts.copy()
    done(qtbot, widget)
    assert "model fake 1.0" in clipboard()
    assert "not corrected by hand" in clipboard()
    assert "made of nothing" in clipboard()
    case.lesions.data_setitem((np.array([20]), np.array([48]), np.array([30])), 3)
    widget.acts.copy()
    done(qtbot, widget)
    flat = " ".join(clipboard().split())
    assert "and corrected by hand" in flat
    assert "made of nothing" not in flat


def test_a_change_withdraws_the_sign_off(widget, with_labels, qtbot):
    _, _, lesions = with_labels
    widget.acts.sign("A. Roe")
    done(qtbot, widget)
    widget.view.reader.impression.setPlainText("Something else.")
    assert widget.view.reader.signed.text() == "Not signed"
    widget.acts.sign("A. Roe")
    done(qtbot, widget)
    lesions.data_setitem((np.array([20]), np.array([48]), np.array([30])), 3)
    assert widget.view.reader.signed.text() == "Not signed"


def test_labels_changed_behind_its_back_are_not_signed(widget, with_labels, qtbot):
    ct, _, lesions = with_labels
    widget.acts.sign("A. Roe")
    done(qtbot, widget)
    lesions.data[20, 48, 30] = 3
    widget.acts.measured = None
    widget.acts.copy()
    done(qtbot, widget)
    assert widget.text.readings.of(ct).signed == ""
    assert "SIGNED" not in clipboard()


def test_one_patients_text_stays_with_that_patient(viewer, widget, with_labels, phantom):
    first, _, _ = with_labels
    widget.view.reader.findings.setPlainText("Of the first.")
    widget.view.reader.co_rads.setCurrentIndex(3)
    second = add_ct(viewer, phantom.volume, "other")
    assert widget.ct.value is second
    assert widget.view.reader.findings.toPlainText() == ""
    assert widget.view.reader.co_rads.currentIndex() == 0
    widget.view.reader.findings.setPlainText("Of the second.")
    widget.ct.value = first
    assert widget.view.reader.findings.toPlainText() == "Of the first."
    assert widget.text.reading().co_rads == 2
    widget.ct.value = second
    assert widget.view.reader.findings.toPlainText() == "Of the second."


def test_what_was_measured_in_one_ct_is_not_told_of_another(
    viewer, widget, with_labels, qtbot, phantom
):
    first, _, _ = with_labels
    widget.acts.copy()
    done(qtbot, widget)
    one = widget.acts.measured.content
    # Another kernel, the same grid: napari shows the same labels over both.
    hu = (phantom.volume.hu + 100).astype(phantom.volume.hu.dtype)
    add_ct(viewer, replace(phantom.volume, hu=hu, case="second"), "second")
    widget.acts.copy()
    done(qtbot, widget)
    two = widget.acts.measured.content
    assert (one.case, two.case) == ("phantom", "second")
    assert two.result.density["both"].mean_hu > one.result.density["both"].mean_hu + 50
    widget.ct.value = first
    widget.acts.copy()
    done(qtbot, widget)
    assert widget.acts.measured.content.case == "phantom"


def test_scores_that_change_withdraw_the_sign_off(widget, with_labels, qtbot):
    from napari_covseg.plugin.reader_scores import ReaderScores

    ct, _, _ = with_labels
    names = ("right_upper", "right_middle", "right_lower", "left_upper", "left_lower")
    widget.study.set_reader(ct, ReaderScores("ct_score_25", dict.fromkeys(names, 1)))
    widget.acts.sign("A. Roe")
    done(qtbot, widget)
    widget.acts.copy()
    done(qtbot, widget)
    assert "SIGNED:\nA. Roe" in clipboard()
    widget.study.set_reader(ct, ReaderScores("ct_score_25", dict.fromkeys(names, 2)))
    widget.acts.copy()
    done(qtbot, widget)
    assert "; reader 10." in clipboard()
    assert "SIGNED" not in clipboard()
    assert widget.view.reader.signed.text() == "Not signed"


def test_what_is_written_while_it_is_measured_is_not_signed(widget, with_labels, qtbot):
    ct, _, _ = with_labels
    widget.acts.sign("A. Roe")
    widget.view.reader.impression.setPlainText("An afterthought.")
    done(qtbot, widget)
    assert widget.text.readings.of(ct).signed == ""
    widget.acts.sign("A. Roe")
    done(qtbot, widget)
    assert widget.text.readings.of(ct).reader == "A. Roe"


def test_other_labels_make_a_preview_old_and_withdraw_the_sign_off(
    viewer, widget, with_labels, qtbot, phantom
):
    _, _, lesions = with_labels
    widget.acts.sign("A. Roe")
    done(qtbot, widget)
    widget.acts.preview()
    done(qtbot, widget)
    assert widget.view.preview.stale.isHidden()
    viewer.layers.remove(lesions)
    add_labels(viewer, phantom.labels)
    widget._adopt()
    assert not widget.view.preview.stale.isHidden()
    assert widget.view.reader.signed.text() == "Not signed"


def test_other_lobes_make_a_preview_old(widget, with_labels, qtbot, phantom):
    ct, _, _ = with_labels
    widget.acts.preview()
    done(qtbot, widget)
    assert widget.view.preview.stale.isHidden()
    lobes = LobeMap(np.zeros(phantom.labels.labels.shape, np.uint8), phantom.volume.geometry)
    widget.session.take_lobes(ct, lobes)
    assert not widget.view.preview.stale.isHidden()


def test_text_is_found_again_after_the_viewer_was_closed(viewer, widget, with_labels, phantom):
    widget.view.reader.impression.setPlainText("Typical.")
    widget.view.reader.co_rads.setCurrentIndex(6)
    viewer.layers.clear()
    assert widget.view.reader.impression.toPlainText() == ""
    ct = add_ct(viewer, phantom.volume)
    assert widget.study.offered(ct).text == "your text for the report"
    assert widget.view.reader.impression.toPlainText() == ""
    widget.view.reader.impression.setPlainText("As before.")
    widget.study.take(ct)
    assert widget.view.reader.impression.toPlainText() == "Typical.\nAs before."
    assert widget.text.reading().co_rads == 5
    widget.study.flush()
    viewer.layers.clear()
    again = add_ct(viewer, phantom.volume)
    assert widget.study.offered(again).report.impression == "Typical.\nAs before."


def test_points_of_quantify_go_into_the_report(widget, with_labels, qtbot):
    from napari_covseg.plugin.reader_scores import ReaderScores

    ct, _, _ = with_labels
    names = ("right_upper", "right_middle", "right_lower", "left_upper", "left_lower")
    points = dict(zip(names, (1, 0, 2, 1, 4), strict=True))
    widget.study.set_reader(ct, ReaderScores("ct_score_25", points))
    widget.study.set_reader(ct, ReaderScores("total_severity_score", {"right_upper": 1}))
    (score,) = widget.text.reading().scores
    assert (score.key, score.value, score.parts) == ("ct_score_25", 8, (1, 0, 2, 1, 4))
    widget.acts.copy()
    done(qtbot, widget)
    assert "; reader 8." in clipboard()


def test_lobes_read_in_quantify_count_here_too(widget, with_labels, qtbot, phantom):
    ct, _, _ = with_labels
    widget.acts.copy()
    done(qtbot, widget)
    assert "By lobe (approximate): RUL " in clipboard()
    sides = (phantom.labels.labels > 0).astype(np.uint8)
    middle = sides.shape[2] // 2
    lobes = sides * np.uint8(Lobe.LEFT_LOWER)
    lobes[:, :, :middle] = sides[:, :, :middle] * np.uint8(Lobe.RIGHT_LOWER)
    widget.session.lobes[ct] = LobeMap(lobes, phantom.volume.geometry)
    widget.acts.copy()
    done(qtbot, widget)
    assert "By lobe: RUL – %" in " ".join(clipboard().split())


def test_preview_and_page(widget, with_labels, qtbot, monkeypatch):
    opened = []
    monkeypatch.setattr(
        "napari_covseg.plugin.widgets.report_acts.QDesktopServices.openUrl",
        lambda url: opened.append(url.toLocalFile()),
    )
    widget.acts.preview()
    done(qtbot, widget)
    assert not widget.view.preview.picture.pixmap().isNull() or widget.width() < 20
    assert "Opacities in" in widget.view.preview.text.text()
    widget.acts.browse()
    done(qtbot, widget)
    (path,) = opened
    assert "Chest CT: lung opacities" in Path(path).read_text(encoding="utf-8")
    widget.retire()
    assert not Path(path).exists()


def test_errors_are_told_and_it_goes_on(widget, with_labels, qtbot, errors, tmp_path):
    _, lungs, _ = with_labels
    (tmp_path / "file").write_text("x")
    widget.view.formats.choose(("txt",))
    widget.acts.save_to(tmp_path / "file")
    done(qtbot, widget)
    assert any("is a file" in text for text in errors("error"))
    assert not widget.view.save.isHidden()
    widget.view.formats.choose(())
    widget.acts.save_to(tmp_path)
    assert any("no format is chosen" in text for text in errors("error"))
    lungs.data[0, 0, 0] = 99
    widget.acts.measured = None
    widget.acts.copy()
    done(qtbot, widget)
    assert any("holds label 99" in text for text in errors("error"))


@pytest.fixture
def classified(with_labels, viewer):
    """What a classifier says of the CT: 0.55 for ill, which is unsure."""
    from napari_covseg.plugin.classifying import Classified
    from napari_covseg.workflows.classify import Classification, SliceAnswer

    ct, _, _ = with_labels
    grey = np.zeros(ct.data.shape[1:], np.float32)
    told = (("ill", "well"), (0.55, 0.45), (0.05, 0.05), 0.688, 0.64, True, (), 14, grey, grey)
    slices = (SliceAnswer(14, (0.55, 0.45), 0.688),)
    about = {"model": {"name": "eye", "version": "1", "sha256": "ab"}}
    return Classified(Classification(*told, slices, (), about), {})


def test_what_a_classifier_said_is_told_where_it_is_ticked(
    viewer, widget, with_labels, classified, qtbot, phantom
):
    ct, _, _ = with_labels
    box = widget.view.classifier
    assert box.isHidden()
    session_of(viewer).take_classified(ct, classified)
    assert not box.isHidden()
    assert not box.isChecked()
    widget.acts.copy()
    done(qtbot, widget)
    assert "CLASSIFIER" not in clipboard()
    box.setChecked(True)
    widget.acts.copy()
    done(qtbot, widget)
    assert "CLASSIFIER (RESEARCH, NOT A DIAGNOSIS):\neye 1: ill 55 %, well 45 %." in clipboard()
    assert "Unsure: ask a second reader." in clipboard()
    add_ct(viewer, phantom.volume, "other")
    assert box.isHidden()
    assert not box.isChecked(), "one patient's answer stays out of another's report"


def test_another_answer_of_the_classifier_withdraws_the_sign_off(
    viewer, widget, with_labels, classified, qtbot
):
    ct, _, _ = with_labels
    session_of(viewer).take_classified(ct, classified)
    for change in (
        lambda: widget.view.classifier.setChecked(True),
        lambda: session_of(viewer).take_classified(ct, replace(classified)),
        lambda: widget.view.classifier.setChecked(False),
    ):
        widget.acts.sign("A. Roe")
        done(qtbot, widget)
        assert widget.text.readings.of(ct).signed
        change()
        assert not widget.text.readings.of(ct).signed
    widget.acts.sign("A. Roe")
    done(qtbot, widget)
    session_of(viewer).take_classified(ct, classified)
    assert widget.text.readings.of(ct).signed, "what is not told is not signed"
