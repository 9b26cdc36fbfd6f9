"""The Dataset widget, driven in a real viewer on real stores."""

import nibabel
import numpy as np
import pytest
from qtpy.QtWidgets import QInputDialog, QMessageBox
from small_stores import SHAPE, lungs, new_store, volume

from napari_covseg.cases.database import Database
from napari_covseg.cases.records import Difficulty, Kind, NewVersion, Score, State
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import ResourceError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import Progress
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io import write_volume
from napari_covseg.plugin import annotating, autosave, claim_keeper
from napari_covseg.plugin.case_saving import Remarks
from napari_covseg.plugin.layers import ct_layer, label_layers
from napari_covseg.plugin.recent_stores import recent_stores
from napari_covseg.plugin.widgets import dataset as dataset_module
from napari_covseg.plugin.widgets import dataset_store_acts
from napari_covseg.plugin.widgets.correct import CorrectWidget
from napari_covseg.plugin.widgets.dataset import DatasetWidget
from napari_covseg.plugin.widgets.dataset_add_dialog import AddDialog
from napari_covseg.workflows.dataset_add import AddRequest
from napari_covseg.workflows.store_models import live_hash

GGO = int(Label.GGO)
LESION = (0, 4, 4)
"""A voxel of the lesion that `lungs` draws."""


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    monkeypatch.setenv("COVSEG_AUTHOR", "A")
    monkeypatch.setattr(autosave, "drafts_folder", lambda: tmp_path / "drafts")
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Yes)


@pytest.fixture
def widget(viewer, qtbot):
    from napari._app_model import get_app_model

    get_app_model()
    viewer.window.add_plugin_dock_widget("napari-covseg", "Dataset")
    (made,) = viewer.window._qt_window.findChildren(DatasetWidget)
    yield made
    qtbot.waitUntil(lambda: not made.jobs_running())
    made.retire()
    for correct in viewer.window._qt_window.findChildren(CorrectWidget):
        correct.retire()


@pytest.fixture
def done(widget, qtbot):
    """Wait until nothing runs any more."""

    def wait():
        qtbot.waitUntil(lambda: not widget.jobs_running() and not widget._stale)

    return wait


@pytest.fixture
def store(tmp_path):
    """Three predicted cases; the second is the one to correct first, at slice 5 of 6."""
    made = new_store(tmp_path / "store", cases=3)
    model = live_hash(made)
    for number, value in ((1, 1.0), (2, 9.0), (3, 4.0)):
        name = f"case_000{number}"
        made.save_version(name, lungs(), NewVersion(author="RA", kind=Kind.PREDICTION, model=model))
        made.record_scores([Score(name, model, value, 4)])
    return made


@pytest.fixture
def opened(widget, store, done):
    widget.stores.open(store.folder)
    done()
    return widget


@pytest.fixture
def working(opened, done):
    """The next case is in work."""
    opened.view.run.click()
    done()
    assert opened.desk.served.record.name == "case_0002"
    return opened


def corrector(widget):
    (found,) = widget.session.viewer.window._qt_window.findChildren(CorrectWidget)
    found.activate()
    return found


def delete_lesion(widget):
    """Shift+D over the lesion, in its slice."""
    correct, viewer = corrector(widget), widget.session.viewer
    widget.viewing.go_to_slice(LESION[0])
    lesions = correct.correction.lesions
    viewer.cursor.position = tuple(float(v) for v in lesions.data_to_world(LESION))
    viewer.keymap[next(k for k in viewer.keymap if str(k) == "Shift+D")](viewer)
    assert not lesions.data.any()


def mark(widget, *slices):
    for z in slices:
        corrector(widget).correction.slices.mark(z)


def rows(widget):
    return [line.record.name for line in widget.view.queue.table.cases.lines]


def answer_with(monkeypatch, text):
    """Press a button of the next message box."""

    def execute(box):
        next(button for button in box.buttons() if button.text() == text).click()

    monkeypatch.setattr(QMessageBox, "exec", execute)


# The store


def test_without_a_store_it_says_what_to_do(widget, tmp_path, done, errors):
    assert widget.view.run.text() == "Open a case store…"
    assert not widget.view.bar.empty.isHidden()
    widget.stores.open(tmp_path)
    done()
    assert "no case store here" in errors("error")[0]
    assert widget.desk.store is None
    widget.stores.take_paths([tmp_path / "scan.nii.gz"])
    assert "Open a case store first" in errors("error")[1]


def test_from_an_empty_folder_to_two_accepted_cases(widget, tmp_path, done, monkeypatch):
    folder = tmp_path / "new"
    folder.mkdir()
    widget.stores.take_paths([folder])
    done()
    assert widget.desk.store == folder
    assert recent_stores() == [folder]
    assert widget.view.run.text() == "Add scans to begin"
    for seed in (0, 1):
        write_volume(volume(seed), tmp_path / f"scan{seed}.nii.gz")
    files = [tmp_path / "scan0.nii.gz", tmp_path / "scan1.nii.gz"]
    monkeypatch.setattr(
        dataset_store_acts, "ask_what_to_add", lambda paths, who, _: AddRequest(tuple(paths), who)
    )
    widget.stores.take_paths([*files, tmp_path / "no.nii.gz"][:2])
    done()
    assert "2 added." in widget.view.state.text()
    assert widget.view.queue.filter.buttons[State.NEW].text() == "new 2"
    store = CaseStore.open(folder)
    for case in ("case_0001", "case_0002"):
        saved = store.save_version(
            case, lungs(), NewVersion(author="A", kind=Kind.PREDICTION, model="a" * 64)
        )
        store.record_scores([Score(case, live_hash(store), int(case[-1]), 4)])
        assert saved.version.number == 1
    widget.refresh()
    done()
    assert rows(widget) == ["case_0002", "case_0001"]
    assert widget.view.run.text() == "Open next: case_0002, slice 5"

    widget.view.run.click()
    done()
    assert widget.viewing.viewer.dims.current_step[0] == 4
    assert store.case("case_0002").claimed_by == "A"
    assert widget.view.run.text() == "Accept case_0002 and open next"
    delete_lesion(widget)
    mark(widget, 0, 1)
    widget.desk.correction.seconds = 90.0
    widget.view.case.difficulty.buttons[Difficulty.HARD].click()
    corrector(widget).files.autosave.save()
    done()
    widget.view.run.click()
    done()
    record, (_, version) = store.case("case_0002"), store.history("case_0002")
    assert (record.state, record.difficulty, record.claimed_by) == (
        *(State.ACCEPTED, Difficulty.HARD, ""),
    )
    assert (version.author, version.reviewed, version.minutes) == ("A", {0, 1}, 1.5)
    accepted = np.asarray(nibabel.load(store.labels_path("case_0002")).dataobj)
    assert (accepted == GGO).sum() == 0
    assert (accepted == Label.IGNORE).sum() == 4 * SHAPE[1] * SHAPE[2]
    assert list((tmp_path / "drafts").glob("*.covseg-draft")) == []
    assert widget.desk.served.record.name == "case_0001"
    assert not corrector(widget).correction.slices.reviewed.any()

    widget.view.case.whole.setChecked(True)
    widget.view.run.click()
    done()
    assert store.case("case_0001").accepted_slices == set(range(6))
    assert len(store.history("case_0001")) == 1, "the prediction itself was right"
    assert widget.view.run.text() == "No case waits for you"
    assert widget.desk.served is None
    assert len(widget.viewing.viewer.layers) == 0


def test_the_list_can_be_filtered_and_ordered(opened, done):
    view = opened.view
    assert rows(opened) == ["case_0002", "case_0003", "case_0001"]
    view.queue.order.value = annotating.Order.FIRST_COME
    done()
    assert rows(opened) == ["case_0001", "case_0002", "case_0003"]
    view.queue.filter.buttons[State.ACCEPTED].click()
    assert rows(opened) == []
    assert view.queue.text.text() == "0 of 3 cases, 3 wait for you"
    view.queue.filter.buttons[State.PREDICTED].click()
    assert len(rows(opened)) == 3
    assert all(button.text() for button in view.queue.filter.buttons.values())


# The case in work


def test_a_draft_is_saved_when_asked_when_leaving_and_now_and_then(
    working, store, done, monkeypatch
):
    delete_lesion(working)
    working.view.case.draft.click()
    done()
    assert [one.kind for one in store.history("case_0002")] == [Kind.PREDICTION, Kind.DRAFT]
    assert not working.desk.work.changed
    assert "Saved as version 2 of case_0002." in corrector(working).files.state()
    mark(working, 3)
    working._tick()
    assert working.view.case.state.text() == "1 of 6 slices reviewed · 0 min · not saved"
    monkeypatch.setattr(dataset_module, "DRAFT_AFTER_S", 0.0)
    working._tick()
    done()
    assert store.history("case_0002")[-1].reviewed == {3}
    monkeypatch.setattr(dataset_module, "DRAFT_AFTER_S", 1e9)

    mark(working, 5)
    working.acts.open("case_0003")
    done()
    assert store.history("case_0002")[-1].reviewed == {3, 5}
    assert working.desk.served.record.name == "case_0003"
    working.acts.open("case_0002")
    done()
    assert len(store.history("case_0003")) == 1, "nothing was drawn on it"
    marks = corrector(working).correction.slices.reviewed
    assert np.flatnonzero(marks).tolist() == [3, 5]
    assert not working.desk.work.changed
    assert corrector(working).files.autosave.older is None, "all is in the store"


def test_flagged_with_a_comment_and_taken_back(working, store, done, monkeypatch):
    monkeypatch.setattr(QInputDialog, "getText", lambda *_: ("motion", True))
    working.view.case.flag.click()
    done()
    record = store.case("case_0002")
    assert (record.state, record.comment, record.claimed_by) == (State.FLAGGED, "motion", "")
    assert working.desk.served is None
    assert working.view.run.text() == "Open next: case_0003, slice 5"
    table = working.view.queue.table
    row = rows(working).index("case_0002")
    assert table.cases.index(row, 0).data() == "case_0002 ✎"
    assert "Comment: motion" in table.cases.index(row, 0).data(3)
    working.acts.open("case_0002")
    done()
    assert working.view.case.flag.text() == "Take flag away"
    working.view.case.flag.click()
    done()
    assert store.case("case_0002").state is State.PREDICTED
    assert working.view.case.flag.text() == "Flag"


def test_for_a_second_reader_and_given_back(working, store, done):
    delete_lesion(working)
    working.view.case.second.click()
    done()
    assert store.case("case_0002").state is State.CORRECTED
    assert store.case("case_0002").accepted is None
    working.view.run.click()
    done()
    assert store.case("case_0003").claimed_by == "A"
    working.view.case.release.click()
    done()
    assert store.case("case_0003").claimed_by == ""
    assert store.case("case_0003").state is State.PREDICTED


def test_two_annotators_of_one_case(working, store, done, monkeypatch):
    first = store.history("case_0002")[0]
    theirs = store.save_version(
        "case_0002",
        lungs(size=5),
        NewVersion(author="B", kind=Kind.CORRECTION, parent=first.id, reviewed=[2]),
    ).version
    delete_lesion(working)
    answer_with(monkeypatch, "Not now")
    working.view.run.click()
    done()
    mine = store.history("case_0002")[-1]
    assert (mine.author, mine.number) == ("A", 3)
    assert store.case("case_0002").accepted is None
    assert working.desk.served.version.id == mine.id, "it stays on the desk"

    answer_with(monkeypatch, "Accept mine")
    working.view.run.click()
    done()
    assert store.case("case_0002").accepted == mine.id
    assert store.version(theirs.id).set_aside
    assert len(store.history("case_0002")) == 3, "nothing was saved twice"
    assert working.desk.served.record.name == "case_0003"


def test_a_case_that_someone_has(opened, store, done, monkeypatch):
    store.claim("case_0002", "B")
    opened.refresh()
    done()
    assert opened.view.run.text() == "Open next: case_0003, slice 5"
    said = []
    monkeypatch.setattr(
        QMessageBox,
        "question",
        lambda *args: said.append(args[2]) or QMessageBox.StandardButton.No,
    )
    opened.view.queue.table.opened.emit("case_0002")
    done()
    assert "B has it in work since" in said[0]
    assert opened.desk.served is None
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Yes)
    opened.view.queue.table.opened.emit("case_0002")
    done()
    assert opened.desk.served.record.name == "case_0002"
    assert opened.view.case.note.text() == "B has this case in work too"


def test_old_versions_can_be_taken_up_again(working, store, done):
    working.view.history_fold.expand(animate=False)
    delete_lesion(working)
    working.view.case.draft.click()
    done()
    table = working.view.versions.table
    assert [table.item(row, 2).text() for row in range(2)] == ["draft", "prediction"]
    table.selectRow(1)
    working.view.versions.restore.click()
    done()
    assert [one.kind for one in store.history("case_0002")][-1] is Kind.RESTORED
    assert working.desk.served.version.number == 3
    assert (corrector(working).correction.lesions.data == GGO).sum() == (lungs() == GGO).sum()


def test_nothing_said_of_a_case_sticks_to_the_next(working, store, done):
    from napari_covseg.domain.progress import run_to_end
    from napari_covseg.plugin.desk import load_steps

    working.view.case.whole.setChecked(True)
    working.view.case.comment.setText("noise")
    working.view.case.difficulty.buttons[Difficulty.HARD].click()
    working.desk.serve(run_to_end(load_steps(store.folder, "case_0003")))
    done()
    assert not working.view.case.whole.isChecked()
    assert working.view.case.remarks == Remarks()
    assert working.view.run.text() == "Accept case_0003 and open next"


def test_what_is_drawn_while_the_next_case_is_read_is_saved_too(working, store, done, monkeypatch):
    from napari_covseg.plugin.widgets import dataset_acts

    read = dataset_acts.open_steps
    going = []

    def slowly(*args, **more):
        while not going:
            yield Progress(0, 1, "a slow share")
        return (yield from read(*args, **more))

    monkeypatch.setattr(dataset_acts, "open_steps", slowly)
    working.acts.open("case_0003")
    assert working.acts.runner.busy
    assert working.view.case.comment.isEnabled(), "who types goes on typing"
    delete_lesion(working)
    going.append(True)
    done()
    assert working.desk.served.record.name == "case_0003"
    (_, draft) = store.history("case_0002")
    assert (draft.kind, draft.edited_voxels) == (Kind.DRAFT, int((lungs() == GGO).sum()))


def test_what_was_drawn_is_of_who_drew_it(working, store, done, monkeypatch):
    delete_lesion(working)
    named = []

    def ask(_parent, again):
        monkeypatch.setenv("COVSEG_AUTHOR", "B")
        named.append(again)

    monkeypatch.setattr(
        dataset_module,
        "author_or_ask",
        lambda parent, again=False: ask(parent, again) if again else "A" if not named else "B",
    )
    working.view.bar.author.click()
    done()
    assert named == [True]
    assert store.history("case_0002")[-1].author == "A"
    mark(working, 5)
    working.view.case.draft.click()
    done()
    assert [one.author for one in store.history("case_0002")] == ["RA", "A", "B"]


def test_a_case_that_another_widget_served_meanwhile_stays(working, store, done):
    from napari_covseg.domain.progress import run_to_end
    from napari_covseg.plugin.desk import load_steps

    delete_lesion(working)
    working.view.case.second.click()
    working.desk.serve(run_to_end(load_steps(store.folder, "case_0003")))
    done()
    assert store.case("case_0002").state is State.CORRECTED
    assert working.desk.served.record.name == "case_0003"


def test_a_draft_renews_the_claim(working, store, done, monkeypatch):
    from datetime import timedelta

    from napari_covseg.cases import claims, rows, versions

    later = claims.now() + timedelta(minutes=100)
    for module in (claims, rows, versions):
        monkeypatch.setattr(module, "now", lambda *_: later)
    delete_lesion(working)
    monkeypatch.setattr(dataset_module, "DRAFT_AFTER_S", 0.0)
    working._tick()
    done()
    monkeypatch.setattr(dataset_module, "DRAFT_AFTER_S", 1e9)
    later += timedelta(minutes=100)
    assert store.case("case_0002").claimed_by == "A"


def test_a_claim_is_renewed_while_the_case_is_open(working, store, qtbot, monkeypatch):
    """Also where nothing is drawn; whoever has taken the case since then is named."""
    before = store.case("case_0002").claimed_until

    def renewed():
        working._tick()
        qtbot.waitUntil(lambda: not working.keeper.runner.busy, timeout=20_000)

    working._tick()
    renewed()
    assert store.case("case_0002").claimed_until == before, "it was claimed just now"
    monkeypatch.setattr(claim_keeper, "RENEW_AFTER_S", 0.0)
    renewed()
    assert store.case("case_0002").claimed_until > before
    store.release("case_0002", "A")
    store.claim("case_0002", "B")
    renewed()
    note = working.view.case.note
    assert note.text().startswith("B has taken case_0002 into work since your time was up")
    assert store.case("case_0002").claimed_by == "B"
    store.release("case_0002", "B")
    renewed()
    assert (note.text(), store.case("case_0002").claimed_by) == ("", "A")


def test_who_saves_after_the_case_was_taken_is_told(working, store, done):
    store.release("case_0002", "A")
    store.claim("case_0002", "B")
    delete_lesion(working)
    working.view.case.draft.click()
    done()
    assert "B has case_0002 in work now" in working.view.state.text()
    assert [one.author for one in store.history("case_0002")] == ["RA", "A"]
    assert store.case("case_0002").claimed_by == "B"


# What goes wrong


def test_an_empty_correction_is_not_accepted(working, store, done, errors):
    correct = corrector(working)
    for layer in correct.correction.layers:
        layer.data_setitem(np.nonzero(layer.data), 0)
    working.view.case.whole.setChecked(True)
    working.view.run.click()
    done()
    assert "no lung or lesion is drawn" in errors("error")[0]
    assert len(store.history("case_0002")) == 1
    assert working.desk.served.record.name == "case_0002"


def test_a_store_that_may_only_be_read(opened, store, done, errors, monkeypatch):
    def refuse(self):
        raise ResourceError("store: the case store may not be written to; nothing was saved")

    monkeypatch.setattr(Database, "write", refuse)
    monkeypatch.setattr(annotating.os, "access", lambda *_: False)
    opened.refresh()
    done()
    assert "may only be read" in opened.view.trouble.text()
    assert not opened.view.add.isEnabled()
    opened.view.run.click()
    done()
    assert opened.desk.served.record.name == "case_0002"
    assert "may not be written to" in opened.view.case.note.text()
    delete_lesion(opened)
    opened.view.case.draft.click()
    done()
    assert "may not be written to" in errors("error")[0]
    assert opened.desk.work.changed
    assert not opened.desk.correction.lesions.data.any()


def test_a_store_that_vanishes_and_comes_back(working, store, done, errors):
    delete_lesion(working)
    away = store.folder.with_name("away")
    store.folder.rename(away)
    working.refresh()
    done()
    assert "no case store here" in working.view.trouble.text()
    working.view.run.click()
    done()
    assert errors("error")
    assert working.desk.served.record.name == "case_0002", "the work is still there"
    away.rename(store.folder)
    working.refresh()
    done()
    assert working.view.trouble.isHidden()
    working.view.run.click()
    done()
    assert store.case("case_0002").state is State.ACCEPTED


def test_a_tampered_label_file_is_told_and_the_case_given_back(opened, store, done, errors):
    version = store.history("case_0002")[0]
    file = store.folder / "versions" / f"{version.sha256}.nii.gz"
    file.chmod(0o644)
    file.write_bytes(b"changed")
    opened.view.run.click()
    done()
    assert "was changed after it was saved" in errors("error")[0]
    assert opened.desk.served is None
    assert store.case("case_0002").claimed_by == ""


# Adding and predicting


def test_the_ct_in_the_viewer_is_added_with_its_labels(opened, store, done, viewer):
    scan, labels = volume(7), lungs()
    labels[3][labels[3] == 2] = Label.LUNG
    labels[0][labels[0] == GGO] = Label.INFECTION
    labels[5] = Label.IGNORE
    data, arguments, _ = ct_layer(scan)
    viewer.add_image(data, **arguments)
    for data, arguments, _ in label_layers(LabelMap(labels, scan.geometry, "any")):
        viewer.add_labels(data, **arguments)
    opened.view.add_shown.click()
    done()
    assert opened.view.state.text() == "Added as case_0004 (corrected)."
    kept = store.labels(store.case("case_0004").newest)
    assert np.array_equal(kept.labels, labels)
    opened.view.add_shown.click()
    done()
    assert "in the store already: case_0004" in opened.view.state.text()


def test_what_the_dialog_asks_for(qtbot, tmp_path, settings_file, errors):
    dialog = AddDialog([tmp_path])
    qtbot.addWidget(dialog)
    dialog.label_map.setText("lung=1,infection=2+3")
    dialog.accept_labels.setChecked(True)
    request = dialog.request("A")
    assert (request.inputs, request.accept, request.patients) == ((tmp_path,), True, None)
    assert request.label_map == {1: Label.LUNG, 2: Label.INFECTION, 3: Label.INFECTION}
    dialog.label_map.setText("nonsense")
    dialog._on_ok()
    assert errors("error")
    assert not dialog.result()


@pytest.fixture
def fake_predict(monkeypatch):
    """`predict_cases` without a network; ``stay`` keeps it at the first case."""
    from napari_covseg.workflows import dataset_predict

    class Fake:
        stay, request = False, None

        def __call__(self, request):
            self.request = request
            yield Progress(0, 1, "case 1 of 1: segmenting")
            while self.stay:
                yield Progress(0, 1, "case 1 of 1: segmenting")
            store = CaseStore.open(request.store)
            model = live_hash(store)
            more = {"author": request.author, "kind": Kind.PREDICTION, "model": model}
            store.save_version("case_0004", lungs(), NewVersion(**more))
            score = Score("case_0004", model, 20.0, 2)
            store.record_scores([score])
            return dataset_predict.PredictResult(
                model, (dataset_predict.Predicted("case_0004", 1, score),)
            )

    fake = Fake()
    monkeypatch.setattr(dataset_predict, "predict_cases", fake)
    return fake


def test_predict_and_rank_runs_beside_the_work(working, store, done, fake_predict, qtbot):
    store.add_case(volume(9), author="RA")
    working.refresh()
    done()
    button = working.view.predict
    assert button.text() == "Predict and rank 1 case"
    fake_predict.stay = True
    button.click()
    qtbot.waitUntil(lambda: fake_predict.request is not None)
    working.view.case.draft.click()
    qtbot.waitUntil(lambda: not working.acts.runner.busy)
    assert working.predicting.runner.busy
    working.view.predicting.cancel.click()
    done()
    assert "Stopped" in working.view.state.text()
    fake_predict.stay = False
    button.click()
    done()
    assert (fake_predict.request.store, fake_predict.request.author) == (store.folder, "A")
    assert rows(working)[0] == "case_0004"
    assert button.text() == "All cases are ranked"
    assert working.desk.served.record.name == "case_0002"


def test_a_case_opened_without_labels_shows_its_prediction_when_it_comes(
    opened, store, done, fake_predict
):
    store.add_case(volume(9), author="RA")
    opened.acts.open("case_0004")
    done()
    assert opened.desk.served.version is None
    opened.view.case.draft.click()
    assert "has no labels yet" in opened.view.state.text()
    opened.view.predict.click()
    done()
    assert opened.desk.served.version.number == 1
    assert (corrector(opened).correction.lesions.data == GGO).sum() == (lungs() == GGO).sum()
