"""The Retrain widget in a real viewer, with a tiny network in a process of its own."""

import math
from functools import partial

import pytest
from toy_stores import SETTINGS, accept, add_patient, poisoned, toy_store, untrained

from napari_covseg.cases.gate import GateDecision, Way
from napari_covseg.cases.held_out import Role, roles_of
from napari_covseg.cases.store import CaseStore
from napari_covseg.plugin import curves as curves_module
from napari_covseg.plugin.model_list import Verdict
from napari_covseg.plugin.retrain_texts import forecast, learn, run_text, why_not
from napari_covseg.plugin.retraining import material_of
from napari_covseg.plugin.widgets import retrain as module
from napari_covseg.plugin.widgets import retrain_model_acts as acts_module
from napari_covseg.plugin.widgets.retrain import RetrainWidget
from napari_covseg.plugin.widgets.retrain_reason import ReasonDialog
from napari_covseg.workflows.models import add_model, promote_model

LONG = " ".join(SETTINGS).replace("epochs=10", "epochs=100000")


@pytest.fixture
def qtbot(qtbot):
    """More patient still: a process of its own first loads torch, on a busy machine in a minute."""
    qtbot.waitUntil = partial(qtbot.waitUntil, timeout=300_000)
    return qtbot


@pytest.fixture
def widget(make_napari_viewer, settings_file, monkeypatch, qtbot):
    """A widget that is seen; who asks gets yes, and nobody need say who they are."""
    monkeypatch.setenv("COVSEG_AUTHOR", "RA")
    monkeypatch.setattr(module, "agreed", lambda parent, question: True)
    viewer = make_napari_viewer(show=True)
    made = RetrainWidget(viewer)
    made.beside = viewer
    viewer.window.add_dock_widget(made, name="Retrain")
    qtbot.waitUntil(made.isVisible)
    yield made
    made.retire()


@pytest.fixture
def use(widget, qtbot):
    """Take a store onto the desk; returns when it was read."""

    def take(store):
        widget.desk.store = store.folder
        qtbot.waitUntil(lambda: widget.overview is not None and not widget.jobs_running())

    return take


def with_base(store: CaseStore, folder) -> str:
    base = add_model(store, str(untrained(folder)), author="RA")
    promote_model(store, base, by="RA", why="to start with")
    return base.sha256


def done(widget) -> bool:
    return widget.retraining is None and not widget.jobs_running()


def reasons(monkeypatch, why: str | None) -> list[str]:
    """Answer the next dialogs that ask for a reason; returns what they told."""
    told: list[str] = []
    monkeypatch.setattr(acts_module, "ask_reason", lambda _, title, text: told.append(text) or why)
    return told


@pytest.mark.slow
def test_better_is_promoted_worse_refused_overruled_and_rolled_back(
    widget, use, tmp_path, qtbot, monkeypatch
):
    store = toy_store(tmp_path / "store", 6)
    base = with_base(store, tmp_path / "base")
    use(store)
    view = widget.view
    assert view.run.text().startswith("Retrain on 6 accepted cases,\nabout ")
    view.options.settings.setText(" ".join(SETTINGS).replace("every=10", "every=5"))
    view.run.click()
    assert not view.running.isHidden()
    qtbot.waitUntil(lambda: done(widget))
    first = store.live_model().sha256
    assert first != base
    assert view.verdict.title.text().endswith(f"store-1 ({first[:8]}) is live</b>")
    assert view.verdict.reason.text().startswith("Better overall (mean Dice +")
    assert view.verdict.promote.isHidden()
    assert "1 in 4 models that are no better passes" in view.verdict.certainty.text()
    (curve,) = view.curves.curves.trainings
    assert len(curve.dice) == 2
    assert all(math.isfinite(loss) for _, loss in curve.loss)
    assert [one.sha256 for one in view.models.lines] == [first, base, None]

    roles = roles_of(store)
    for seed, case in enumerate(store.cases()):
        if roles[case.patient] is Role.TRAINING:
            accept(store, case.name, poisoned(seed))
    view.options.share.setValue(100)
    _pause_and_resume(widget, qtbot)
    assert store.live_model().sha256 == first
    worse = view.models.lines[0]
    assert not worse.live
    assert f"store-2 ({worse.sha256[:8]}) refused by the gate" in view.verdict.title.text()
    assert view.verdict.reason.text().startswith("Worse overall: mean Dice -")

    told = reasons(monkeypatch, "the references are wrong")
    view.verdict.promote.click()
    qtbot.waitUntil(lambda: done(widget))
    assert told == [view.verdict.reason.text()]
    kept = store.promotions()[-1]
    assert (kept.model, kept.forced, kept.why) == (worse.sha256, True, "the references are wrong")
    assert "against the gate or without it" in view.state.text()

    view.models.rollback.click()
    qtbot.waitUntil(lambda: done(widget))
    assert store.live_model().sha256 == first
    assert view.state.text().startswith(f"store-1 ({first[:8]}) is live again; store-2 (")
    view.undo.click()
    qtbot.waitUntil(lambda: done(widget))
    assert store.live_model().sha256 == worse.sha256
    assert view.undo.isHidden()
    assert view.log.text.text().count("store-2") == 3
    _compare(widget, qtbot, worse.sha256, first)


def _pause_and_resume(widget, qtbot) -> None:
    """Stop a retraining midway: its process is gone; what it knew is not."""
    view = widget.view
    view.run.click()
    qtbot.waitUntil(lambda: bool(view.curves.curves.trainings))
    child = widget.retraining.handle
    view.running.pause.click()
    qtbot.waitUntil(lambda: done(widget))
    assert not child.running
    assert "Paused" in view.state.text()
    assert "Retraining 2 (RA, " in view.unfinished.text.text()
    assert not view.run.isEnabled()
    view.unfinished.resume.click()
    qtbot.waitUntil(lambda: done(widget))
    assert view.unfinished.isHidden()
    (curve,) = view.curves.curves.trainings
    assert [x for x, _ in curve.loss] == sorted(x for x, _ in curve.loss)
    assert curve.loss[-1][0] > 95


def _compare(widget, qtbot, live, other) -> None:
    """The better one against the worse one, that is live now: the gate says so."""
    view, before = widget.view, len(CaseStore.open(widget.desk.store).promotions())
    view.models.choose(other)
    assert view.models.compare.text() == "Compare with live"
    view.models.compare.click()
    qtbot.waitUntil(lambda: done(widget))
    assert view.verdict.title.text().endswith("passes the gate</b>")
    assert len(CaseStore.open(widget.desk.store).promotions()) == before


@pytest.mark.slow
def test_a_killed_one_leaves_the_live_model_and_is_offered_again(
    widget, use, tmp_path, qtbot, errors
):
    store = toy_store(tmp_path / "store", 5)
    base = with_base(store, tmp_path / "base")
    use(store)
    view = widget.view
    view.options.settings.setText(LONG)
    view.run.click()
    qtbot.waitUntil(lambda: bool(view.curves.curves.trainings))
    widget.retraining.handle.kill()
    qtbot.waitUntil(lambda: done(widget))
    (line,) = errors("error")
    assert line.startswith("the process was killed, often because memory ran out")
    assert "The live model is as it was." in view.state.text()
    assert store.live_model().sha256 == base
    assert not view.unfinished.isHidden()

    view.unfinished.resume.click()
    qtbot.waitUntil(lambda: view.running.step.text().startswith("Epoch "))
    child = widget.retraining.handle
    widget.close()
    qtbot.waitUntil(lambda: not child.running)
    again = RetrainWidget(widget.beside)
    widget.beside.window.add_dock_widget(again, name="Again")
    qtbot.waitUntil(lambda: again.overview is not None and done(again))
    assert again.overview.unfinished.number == 1
    again.view.unfinished.discard.click()
    qtbot.waitUntil(lambda: done(again))
    assert store.runs()[0].outcome == "given up"
    assert again.overview.unfinished is None
    assert again.view.run.isEnabled()
    again.retire()


def test_it_says_what_to_do_first(widget, use, tmp_path):
    view = widget.view
    assert "open one in Dataset" in view.empty.text()
    assert not view.run.isEnabled()
    store = CaseStore.create(tmp_path / "store", author="RA")
    use(store)
    assert "No case of this store is accepted yet" in view.empty.text()
    assert not view.run.isEnabled()
    add_patient(store, 0)
    assert why_not(material_of(store)).startswith("All accepted cases are of one patient")
    add_patient(store, 1)
    assert why_not(material_of(store)) == ""


def test_a_change_by_another_widget_is_seen(widget, use, tmp_path, qtbot):
    store = toy_store(tmp_path / "store", 1)
    use(store)
    assert not widget.view.run.isEnabled()
    add_patient(store, 1)
    widget.desk.touched.emit()
    qtbot.waitUntil(widget.view.run.isEnabled)
    assert "each is left out" in widget.view.material.text()


def test_what_was_compared_and_then_promoted_is_not_offered_again(widget, use, tmp_path, qtbot):
    store = toy_store(tmp_path / "store", 1)
    base = add_model(store, str(untrained(tmp_path / "base")), author="RA")
    use(store)
    new, old = widget.overview.models
    decision = GateDecision(True, "better", "sure", Way.HELD_OUT, 2, 2, 0)
    widget.view.verdict.show_verdict(Verdict(old, new, decision, asked=True))
    assert not widget.view.verdict.promote.isHidden()
    promote_model(store, base, by="RA", why="better")
    widget.desk.touched.emit()
    qtbot.waitUntil(lambda: widget.overview.live.sha256 == base.sha256)
    assert widget.view.verdict.promote.isHidden()
    assert widget.view.verdict.verdict.asked


def test_a_store_that_cannot_be_written_to(widget, use, tmp_path, qtbot, errors):
    store = toy_store(tmp_path / "store", 2)
    use(store)
    (store.folder / "retraining").write_text("in the way")
    widget.view.run.click()
    qtbot.waitUntil(lambda: done(widget))
    assert "retraining: the folder cannot be made" in errors("error")[0]
    assert widget.view.run.isVisible()
    assert store.live_model() is None


def test_a_store_that_is_gone(widget, tmp_path, qtbot, errors):
    widget.desk.store = tmp_path / "gone"
    qtbot.waitUntil(lambda: bool(errors("error")))
    assert "no case store here" in errors("error")[0]
    assert not widget.view.run.isEnabled()


def test_options_become_the_request(widget, tmp_path):
    options = widget.view.options
    assert options.request(tmp_path, "RA") == module.replace(
        options.request(tmp_path, "RA"), settings=(), share=None, start="live", promote=True
    )
    options.minutes.setValue(2.5)
    options.share.setValue(50)
    options.start.setCurrentIndex(1)
    options.promote.setChecked(False)
    options.volume_ml.setValue(5)
    options.settings.setText("learning_rate=1e-4 epochs=3")
    made = options.request(tmp_path, "RA")
    assert made.settings == ("learning_rate=1e-4", "epochs=3", "minutes=2.5")
    assert (made.share, made.start, made.promote) == (0.5, "shipped", False)
    assert made.rule.volume_margin_ml == 5
    assert "changed" in options.text()


def test_no_reason_no_promotion(widget):
    dialog = ReasonDialog("Promote", "The gate: refused.", widget)
    assert not dialog.ok.isEnabled()
    dialog.text.setPlainText("  \n ")
    assert not dialog.ok.isEnabled()
    dialog.text.setPlainText("small\nlesions")
    assert dialog.ok.isEnabled()
    assert dialog.reason == "small lesions"


def test_time_is_guessed_and_learnt(settings_file, tmp_path):
    from napari_covseg.models.device import Device

    six = material_of(toy_store(tmp_path / "six", 6))
    assert (six.training, six.validating, six.held_out, six.trainings) == (3, 1, 2, 1)
    assert not six.drawn
    few = material_of(toy_store(tmp_path / "few", 3))
    assert (few.in_turn, few.trainings, len(few.measured)) == (True, 4, 3)
    cpu, card = Device("cpu", "CPU (2 cores)"), Device("cuda:0", "NVIDIA H100")
    guess = forecast(six, cpu)
    assert forecast(six, card) < guess
    assert forecast(six, cpu, minutes=0.1) < guess
    learn(six, cpu, None, 3 * guess)
    assert forecast(six, cpu) == pytest.approx(3 * guess, rel=1e-3)
    assert run_text(six, card, None).endswith("on NVIDIA H100")
    assert run_text(six, None, None) == "Retrain on 6 accepted cases"


def test_trainings_become_curves():
    from napari_covseg.training.outcome import TrainingProgress

    curves = curves_module.Curves()
    for place in range(0, 101, 10):
        assert curves.take(TrainingProgress(place, 100, "", loss=1 / (place + 1)))
    assert not curves.take(TrainingProgress(100, 100, "", loss=math.nan))
    assert not curves.take(TrainingProgress(100, 100, "", loss=0.5))
    curves.take(TrainingProgress(0, 100, "", loss=1.0))
    assert [len(one.loss) for one in curves.trainings] == [11, 1]
