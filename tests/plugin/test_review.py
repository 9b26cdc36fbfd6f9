"""The Review widget, driven in a real viewer on a real store."""

import numpy as np
import pytest
from qtpy.QtWidgets import QMessageBox
from taken_keys import taken_keys

from napari_covseg.cases import author as author_module
from napari_covseg.cases.records import Difficulty, Kind, NewVersion, State
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.labels import Label
from napari_covseg.plugin import autosave
from napari_covseg.plugin.desk import desk_of
from napari_covseg.plugin.layers import ct_layer
from napari_covseg.plugin.review_waiting import Shown
from napari_covseg.plugin.session import session_of
from napari_covseg.plugin.widgets.correct import CorrectWidget
from napari_covseg.plugin.widgets.correct_actions import KEYS
from napari_covseg.plugin.widgets.second_reader import ReviewWidget
from napari_covseg.plugin.widgets.second_reader_keys import BEFORE_KEY, NEXT_KEY, PREVIOUS_KEY

GGO, CONSOLIDATION = int(Label.GGO), int(Label.CONSOLIDATION)
MODEL = "a" * 64


@pytest.fixture(autouse=True)
def reader(monkeypatch, tmp_path):
    """The second reader is called B."""
    monkeypatch.setenv("COVSEG_AUTHOR", "B")
    monkeypatch.setattr(author_module, "author_file", lambda: tmp_path / "author.json")
    monkeypatch.setattr(autosave, "drafts_folder", lambda: tmp_path / "drafts")


@pytest.fixture
def predicted(phantom):
    """The prediction: without consolidation, and with too much GGO in one slice."""
    labels = phantom.labels.labels
    wrong = labels.copy()
    wrong[labels == CONSOLIDATION] = int(Label.RIGHT_LUNG)
    return wrong


@pytest.fixture
def store(tmp_path, phantom, predicted):
    """case_0001: AB corrected a prediction into the truth, in 4 minutes."""
    made = CaseStore.create(tmp_path / "store", author="AB")
    case = made.add_case(phantom.volume, author="AB").name
    start = made.save_version(
        case, predicted, NewVersion(author="AB", kind=Kind.PREDICTION, model=MODEL)
    )
    made.save_version(
        case,
        phantom.labels,
        NewVersion(
            author="AB",
            kind=Kind.CORRECTION,
            parent=start.version.id,
            reviewed=range(40),
            minutes=4.0,
            comment="dense part was missing",
        ),
    )
    return made


@pytest.fixture
def make_widget(viewer, qtbot):
    made = []

    def make():
        widget = ReviewWidget(viewer)
        viewer.window.add_dock_widget(widget, name=f"Review {len(made)}", area="right")
        widget.activate()
        made.append(widget)
        return widget

    yield make
    for widget in made:
        widget.retire()


@pytest.fixture
def widget(make_widget, viewer, store, qtbot):
    widget = make_widget()
    desk_of(viewer).store = store.folder
    settled(widget, qtbot)
    return widget


@pytest.fixture
def opened(widget, qtbot):
    widget.view.primary.click()
    settled(widget, qtbot)
    assert widget.view.is_at(widget.view.case)
    return widget


@pytest.fixture
def forked(store, phantom):
    """CD corrected the same prediction: drew the consolidation as GGO, and one lesion more."""
    labels = phantom.labels.labels.copy()
    labels[labels == CONSOLIDATION] = GGO
    extra = a_healthy_spot(labels)
    labels[extra] = GGO
    start = store.history("case_0001")[0]
    return store.save_version(
        "case_0001",
        labels,
        NewVersion(author="CD", kind=Kind.CORRECTION, parent=start.id, reviewed=range(40)),
    ).version


def a_healthy_spot(labels):
    """A box in the left lung with no lesion near."""
    left = labels == Label.LEFT_LUNG
    for z in range(labels.shape[0] - 3):
        near = left[z : z + 3].all(axis=0)
        for y in range(0, near.shape[0] - 6, 2):
            for x in range(0, near.shape[1] - 6, 2):
                if near[y : y + 6, x : x + 6].all():
                    return slice(z, z + 3), slice(y + 1, y + 5), slice(x + 1, x + 5)
    raise AssertionError("no room in the phantom")


def settled(widget, qtbot):
    qtbot.waitUntil(lambda: not widget.jobs_running())


def press(viewer, key):
    viewer.keymap[next(k for k in viewer.keymap if str(k) == key)](viewer)


def case_of(store):
    return store.case("case_0001")


def names(viewer):
    return [layer.name for layer in viewer.layers]


# The list


def test_without_a_store_it_says_what_to_do(make_widget, viewer, store, monkeypatch, qtbot):
    from qtpy.QtWidgets import QFileDialog

    widget = make_widget()
    assert widget.view.primary.text() == "Open dataset…"
    assert "Open a dataset" in widget.view.queue.empty.text()
    chosen = str(store.folder)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: chosen)
    widget.view.primary.click()
    settled(widget, qtbot)
    assert desk_of(viewer).store == store.folder
    assert widget.view.primary.text() == "Review next: case_0001 by AB"


def test_what_others_corrected_waits(widget, store):
    assert widget.view.primary.text() == "Review next: case_0001 by AB"
    table = widget.view.queue.table
    assert table.rowCount() == 1
    edited = store.history("case_0001")[1].edited_voxels
    assert table.texts(0)[:4] == ["case_0001", "AB", f"{edited:,}".replace(",", " "), "4"]


def test_ones_own_corrections_do_not_wait(make_widget, viewer, store, monkeypatch, qtbot):
    monkeypatch.setenv("COVSEG_AUTHOR", "AB")
    widget = make_widget()
    desk_of(viewer).store = store.folder
    settled(widget, qtbot)
    assert widget.view.queue.table.rowCount() == 0
    assert not widget.view.primary.isEnabled()
    assert "Nothing waits for you" in widget.view.queue.empty.text()
    widget.view.queue.shown.setCurrentText(str(Shown.ALL))
    settled(widget, qtbot)
    assert widget.view.queue.table.rowCount() == 1


def test_a_folder_that_is_no_store_is_refused(widget, tmp_path, errors, store):
    widget.open_store(tmp_path)
    assert "no case store here" in errors("error")[0]
    assert widget.desk.store == store.folder


# A case and its changes


def test_it_opens_with_who_when_and_how_much(opened, store, viewer, phantom):
    page, version = opened.view.case, store.history("case_0001")[1]
    assert page.title.text() == "case_0001, version 2 by AB"
    facts = page.facts.text()
    assert f"{version.edited_voxels:,}".replace(",", " ") + " voxels changed" in facts
    assert "4 min" in facts
    assert "“dense part was missing”" in facts
    truth, start = phantom.labels.labels, store.labels(store.history("case_0001")[0].id).labels
    lesion = [np.isin(one, (GGO, CONSOLIDATION)) for one in (start, truth)]
    dice = 2 * (lesion[0] & lesion[1]).sum() / (lesion[0].sum() + lesion[1].sum())
    assert f"all lesions {dice:.2f}, GGO 1.00, consolidation 0.00" in facts
    assert opened.view.primary.text() == "Accept case_0001 (all slices)"
    assert case_of(store).claimed_by == "B"
    _, lesions = session_of(viewer).labels_of(opened.desk.served.ct)
    assert (lesions.data == CONSOLIDATION).sum() == (truth == CONSOLIDATION).sum()


def test_prediction_and_edit_in_turn(opened, viewer):
    shown = {name: viewer.layers[name].visible for name in names(viewer)}
    assert shown["Lesions"]
    assert not shown["Before: lesions"]
    assert (viewer.layers["Before: lesions"].data == CONSOLIDATION).sum() == 0
    press(viewer, "0")
    assert viewer.layers["Before: lesions"].visible
    assert viewer.layers["Before: lungs"].visible
    assert not viewer.layers["Lesions"].visible
    assert opened.view.case.before.isChecked()
    press(viewer, "0")
    assert {name: viewer.layers[name].visible for name in names(viewer)} == shown
    opened.view.case.before.click()
    opened.rest()
    assert {name: viewer.layers[name].visible for name in names(viewer)} == shown
    assert not any(str(key) == "0" for key in viewer.keymap)


def test_changes_are_outlined_and_gone_through(opened, viewer, phantom):
    changes = viewer.layers["Changes"].data
    added = phantom.labels.labels == CONSOLIDATION
    assert ((changes == 2) == added).all()
    assert not (changes == 1).any()
    table = opened.view.case.table
    slices = [int(table.texts(row)[0].split()[0]) - 1 for row in range(table.rowCount())]
    assert slices == sorted(slices)
    assert all("Consol." in table.texts(row)[1] for row in range(table.rowCount()))
    assert viewer.dims.current_step[0] == slices[0]
    press(viewer, "8")
    assert viewer.dims.current_step[0] == slices[-1]
    press(viewer, "9")
    assert viewer.dims.current_step[0] == slices[0]
    table.chosen.emit(table.rowCount() - 1)
    assert viewer.dims.current_step[0] == slices[-1]
    opened.view.case.outlines.click()
    assert not viewer.layers["Changes"].visible


def test_keys_clash_neither_with_napari_nor_with_correct():
    ours = {BEFORE_KEY, NEXT_KEY, PREVIOUS_KEY}
    taken = taken_keys()
    assert {"P", "E", "Ctrl+Z", "V", "H", "F5"} <= taken
    assert ours & (taken | set(KEYS)) == set()
    assert len(ours) == 3


# Decisions


def test_accept(opened, store, viewer, qtbot):
    page = opened.view.case
    page.comment.setText("fine")
    page.difficulty.setCurrentIndex(page.difficulty.findText("Difficulty: hard"))
    opened.view.primary.click()
    settled(opened, qtbot)
    case = case_of(store)
    assert (case.state, case.comment, case.difficulty) == (State.ACCEPTED, "fine", Difficulty.HARD)
    assert case.accepted == store.history("case_0001")[1].id
    assert case.accepted_slices == set(range(40))
    assert store.reviews("case_0001")[-1].reader == "B"
    assert "version 2 by AB was accepted" in opened.view.state.text()
    assert opened.view.is_at(opened.view.queue)
    assert "Before: lesions" not in names(viewer)
    assert opened.view.queue.table.rowCount() == 0


def test_accept_only_what_was_reviewed_or_the_whole(widget, store, phantom, qtbot):
    start = store.history("case_0001")[1]
    store.save_version(
        "case_0001",
        phantom.labels,
        NewVersion(author="CD", kind=Kind.CORRECTION, parent=start.id, reviewed=[3, 4]),
    )
    widget.acts.open_next()
    settled(widget, qtbot)
    assert widget.view.primary.text() == "Accept case_0001 (2 of 40 slices)"
    widget.view.case.whole.click()
    settled(widget, qtbot)
    assert case_of(store).accepted_slices == set(range(40))


def test_sending_back_needs_a_comment(opened, store, qtbot):
    opened.view.case.back.click()
    settled(opened, qtbot)
    assert "Write a comment first" in opened.view.state.text()
    assert case_of(store).state == State.CORRECTED
    opened.view.case.comment.setText("the apex is missing")
    opened.view.case.back.click()
    settled(opened, qtbot)
    case = case_of(store)
    assert (case.state, case.comment) == (State.IN_WORK, "the apex is missing")
    assert case.claimed_by == ""  # the annotator can take it at once
    assert "sent back" in opened.view.state.text()


def test_flag_and_take_the_flag_away(opened, store, qtbot):
    opened.view.case.flag.click()
    assert case_of(store).state == State.CORRECTED
    opened.view.case.comment.setText("motion")
    opened.view.case.flag.click()
    settled(opened, qtbot)
    assert (case_of(store).state, case_of(store).comment) == (State.FLAGGED, "motion")
    assert opened.view.queue.table.rowCount() == 0
    opened.view.queue.shown.setCurrentText(str(Shown.FLAGGED))
    settled(opened, qtbot)
    opened.view.queue.table.opened.emit(0)
    settled(opened, qtbot)
    assert opened.view.case.flag.text() == "Take the flag away"
    assert "flag – “motion”" in opened.view.case.said.text()
    opened.view.case.flag.click()
    settled(opened, qtbot)
    assert case_of(store).state == State.CORRECTED


def test_a_comment_decides_nothing(opened, store, qtbot):
    page = opened.view.case
    page.difficulty.setCurrentIndex(page.difficulty.findText("Difficulty: easy"))
    page.say.click()
    settled(opened, qtbot)
    assert (case_of(store).state, case_of(store).difficulty) == (State.CORRECTED, Difficulty.EASY)
    assert opened.view.is_at(page)
    page.comment.setText("look at slice 12")
    page.say.click()
    settled(opened, qtbot)
    assert store.reviews("case_0001")[-1].comment == "look at slice 12"


def test_back_to_the_list_gives_the_case_back(opened, store, viewer, qtbot):
    opened.view.case.leave.click()
    settled(opened, qtbot)
    assert case_of(store).claimed_by == ""
    assert case_of(store).state == State.CORRECTED
    assert names(viewer) == ["CT case_0001", "Lungs", "Lesions"]


def test_labels_that_no_model_made(make_widget, viewer, tmp_path, phantom, qtbot):
    store = CaseStore.create(tmp_path / "imported", author="AB")
    case = store.add_case(phantom.volume, author="AB").name
    store.save_version(case, phantom.labels, NewVersion(author="AB", kind=Kind.IMPORT))
    widget = make_widget()
    desk_of(viewer).store = store.folder
    settled(widget, qtbot)
    widget.view.primary.click()
    settled(widget, qtbot)
    assert "no earlier version" in widget.view.case.facts.text()
    assert widget.view.case.changes.isHidden()
    press(viewer, "0")
    assert names(viewer) == ["CT case_0001", "Lungs", "Lesions"]
    widget.view.primary.click()  # no slice is marked: refused in words
    settled(widget, qtbot)
    assert store.case(case).accepted is None
    widget.view.case.whole.click()
    settled(widget, qtbot)
    assert store.case(case).accepted_slices == set(range(40))


def test_the_reader_corrects_himself(opened, store, viewer, qtbot):
    correct = CorrectWidget(viewer)
    viewer.window.add_dock_widget(correct, name="Correct", area="right")
    correct.activate()
    try:
        qtbot.waitUntil(lambda: not correct.jobs_running())
        spot = a_healthy_spot(store.labels(store.history("case_0001")[1].id).labels)
        _, lesions = session_of(viewer).labels_of(opened.desk.served.ct)
        where = tuple(np.mgrid[spot].reshape(3, -1))
        lesions.data_setitem(where, GGO)
        qtbot.waitUntil(lambda: "Save my correction" in opened.view.primary.text())
        assert not opened.view.case.own.isHidden()
        opened.view.primary.click()
        settled(opened, qtbot)
        third = store.history("case_0001")[-1]
        assert (third.number, third.author, third.kind) == (3, "B", Kind.CORRECTION)
        assert third.parent == store.history("case_0001")[1].id
        assert third.edited_voxels == 48
        assert (store.labels(third.id).labels[spot] == GGO).all()
        assert case_of(store).accepted == third.id
        assert "Your correction is version 3" in opened.view.state.text()
        assert not opened.desk.work.changed
        assert case_of(store).claimed_by == ""
    finally:
        correct.retire()


def test_unsaved_corrections_are_asked_for(opened, store, viewer, qtbot, monkeypatch, phantom):
    second = store.add_case(_other(phantom.volume), author="AB").name
    store.save_version(second, phantom.labels, NewVersion(author="AB", kind=Kind.IMPORT))
    correct = CorrectWidget(viewer)
    viewer.window.add_dock_widget(correct, name="Correct", area="right")
    correct.activate()
    try:
        _, lesions = session_of(viewer).labels_of(opened.desk.served.ct)
        lesions.data_setitem((np.array([1]), np.array([1]), np.array([1])), GGO)
        answers = [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes]
        monkeypatch.setattr(QMessageBox, "question", lambda *_: answers.pop(0))
        opened.refresh()
        settled(opened, qtbot)
        row = [one.record.name for one in opened.cases.listed].index(second)
        opened.acts.open_row(row)
        settled(opened, qtbot)
        assert opened.desk.served.record.name == "case_0001"
        opened.acts.open_row(row)
        settled(opened, qtbot)
        assert opened.desk.served.record.name == second
        assert answers == []
    finally:
        correct.retire()


def _other(volume):
    from dataclasses import replace

    return replace(volume, hu=volume.hu + np.int16(1))


def test_another_ct_in_its_place_ends_the_review(opened, store, viewer, qtbot, phantom):
    viewer.layers.remove(opened.desk.served.ct)
    settled(opened, qtbot)
    assert opened.view.is_at(opened.view.queue)
    assert "Changes" not in names(viewer)
    assert case_of(store).claimed_by == ""
    data, arguments, _ = ct_layer(phantom.volume)
    viewer.add_image(data, **arguments)
    assert opened.view.is_at(opened.view.queue)


# Two readers


def test_two_readers_side_by_side(opened, store, forked, viewer, qtbot):
    # CD saved while B was looking: accepting is refused and shows why.
    opened.view.primary.click()
    settled(opened, qtbot)
    assert case_of(store).accepted is None
    assert opened.view.primary.text() == "Compare AB and CD"
    opened.view.primary.click()
    settled(opened, qtbot)
    assert opened.view.is_at(opened.view.joint)
    assert {"Reader AB", "Reader CD", "Joined: lesions", "Difference"} <= set(names(viewer))
    assert not viewer.layers["Lesions"].visible
    assert "Join and accept case_0001" in opened.view.primary.text()
    opened.view.joint.leave.click()
    assert "Reader AB" not in names(viewer)
    assert viewer.layers["Lesions"].visible


@pytest.fixture
def joint(widget, forked, qtbot):
    widget.refresh()
    settled(widget, qtbot)
    assert widget.view.primary.text() == "Review next: case_0001 by AB and CD"
    widget.view.primary.click()
    settled(widget, qtbot)
    widget.view.primary.click()
    settled(widget, qtbot)
    assert widget.view.is_at(widget.view.joint)
    return widget


def test_differences_are_listed_and_figures_told(joint, store, forked, viewer, phantom):
    page, truth = joint.view.joint, phantom.labels.labels
    solid = int((truth == CONSOLIDATION).sum())
    kinds = {region.kind: region for region in joint.acts.joint.regions}
    assert kinds["only second"].voxels == 48
    assert sum(r.voxels for r in joint.acts.joint.regions if r.kind == "other class") == solid
    texts = [page.table.texts(row) for row in range(page.table.rowCount())]
    assert ["–", "GGO"] in [row[1:3] for row in texts]
    assert ["Consol.", "GGO"] in [row[1:3] for row in texts]
    figures = {page.figures.texts(r)[0]: page.figures.texts(r)[1:] for r in range(4)}
    assert figures["Consolidation"][1:] == ["0.0", "0.00"]
    lesions = int(np.isin(truth, (GGO, CONSOLIDATION)).sum())
    assert figures["All lesions"][2] == f"{2 * lesions / (2 * lesions + 48):.2f}"
    outline = viewer.layers["Reader CD"].data
    assert (outline == CONSOLIDATION).sum() == 0
    assert (outline == GGO).sum() == lesions + 48


def test_a_click_goes_to_a_difference_and_outlines_it(joint, viewer):
    row, region = next(
        (i, r) for i, r in enumerate(joint.acts.joint.regions) if r.kind == "only second"
    )
    joint.view.joint.table.chosen.emit(row)
    assert viewer.dims.current_step[0] == region.slice_index
    assert (viewer.layers["Difference"].data == 1).sum() == 48
    joint.view.joint.table.go_to(0)
    press(viewer, "9")
    assert (viewer.layers["Difference"].data == 1).sum() == joint.acts.joint.regions[1].voxels
    press(viewer, "0")
    assert not viewer.layers["Reader AB"].visible
    joint.rest()  # behind another tab the case's own layers are seen
    assert viewer.layers["Lesions"].visible
    assert not viewer.layers["Joined: lesions"].visible
    joint.activate()
    assert not viewer.layers["Lesions"].visible
    assert viewer.layers["Joined: lesions"].visible


@pytest.mark.parametrize(
    ("rule", "extra", "dense"),
    [
        ("first", False, CONSOLIDATION),
        ("second", True, GGO),
        ("union", True, int(Label.INFECTION)),
        ("intersection", False, int(Label.INFECTION)),
    ],
)
def test_a_consensus_by_each_rule(joint, store, phantom, qtbot, viewer, forked, rule, extra, dense):
    from napari_covseg.editing.consensus import Rule

    joint.view.joint.all[Rule(rule)].click()
    preview = viewer.layers["Joined: lesions"].data.copy()
    joint.view.joint.comment.setText("we agreed")
    joint.view.primary.click()
    settled(joint, qtbot)
    saved, case = store.history("case_0001")[-1], case_of(store)
    assert (saved.kind, saved.author, saved.comment) == (Kind.CONSENSUS, "B", "we agreed")
    assert (saved.parent, saved.merged) == (store.history("case_0001")[1].id, forked.id)
    assert (case.state, case.accepted) == (State.ACCEPTED, saved.id)
    labels, truth = store.labels(saved.id).labels, phantom.labels.labels
    spot = a_healthy_spot(truth)
    assert (labels[truth == CONSOLIDATION] == dense).all()
    assert (labels[spot] == GGO).all() == extra
    assert np.array_equal(preview, np.where(np.isin(labels, (3, 4, 5)), labels, 0))
    assert "Reader AB" not in names(viewer)
    assert "saved as version 4 and accepted" in joint.view.state.text()


def test_a_choice_for_each_lesion(joint, store, phantom, qtbot, viewer):
    table, truth = joint.view.joint.table, phantom.labels.labels
    for row, region in enumerate(joint.acts.joint.regions):
        box = table.box(row)
        wanted = "AB" if region.kind == "other class" else "Intersection"
        box.setCurrentText(wanted)
        box.activated.emit(box.currentIndex())
    assert (viewer.layers["Joined: lesions"].data == CONSOLIDATION).sum() == (
        truth == CONSOLIDATION
    ).sum()
    joint.view.joint.save.click()
    settled(joint, qtbot)
    saved = store.history("case_0001")[-1]
    assert np.array_equal(store.labels(saved.id).labels, truth)
    assert case_of(store).accepted is None
    assert store.branches(saved.id) == ()


def test_one_version_instead_of_the_other(widget, store, forked, qtbot, monkeypatch):
    widget.refresh()
    settled(widget, qtbot)
    widget.view.primary.click()
    settled(widget, qtbot)
    asked = []
    answer = QMessageBox.StandardButton.Yes
    monkeypatch.setattr(QMessageBox, "question", lambda *a: (asked.append(a[2]), answer)[1])
    widget.view.case.accept.click()
    settled(widget, qtbot)
    assert "set aside version 2 by AB" in asked[0]
    assert case_of(store).accepted == forked.id
    assert store.history("case_0001")[1].set_aside


def test_two_versions_chosen_by_hand(opened, qtbot, viewer):
    versions = opened.view.case.versions
    assert [versions.first.currentText(), versions.second.currentText()] == [
        "1  AB, predicted",
        "2  AB, corrected",
    ]
    versions.second.setCurrentIndex(0)
    versions.compare.click()
    assert "two different versions" in opened.view.state.text()
    versions.second.setCurrentIndex(1)
    versions.compare.click()
    settled(opened, qtbot)
    assert opened.view.is_at(opened.view.joint)
    assert "Reader AB (1)" in names(viewer)


def test_long_names_need_no_scrolling_sideways(make_widget, viewer, store, phantom, qtbot):
    labels = phantom.labels.labels.copy()
    labels[a_healthy_spot(labels)] = GGO
    start = store.history("case_0001")[0]
    store.save_version(
        "case_0001",
        labels,
        NewVersion(
            author="Professor Maximiliane von Hohenberg-Lichtenstein",
            kind=Kind.CORRECTION,
            parent=start.id,
            reviewed=range(40),
        ),
    )
    widget = make_widget()
    desk_of(viewer).store = store.folder
    for page in (widget.view.queue, widget.view.case, widget.view.joint):
        settled(widget, qtbot)
        assert widget.view.is_at(page)
        assert page.minimumSizeHint().width() <= 350
        widget.view.primary.click()
    assert widget.view.joint.table.horizontalHeaderItem(2).text() == "Professor M…"


def test_a_fork_waits_for_its_own_readers_too(
    make_widget, viewer, store, forked, qtbot, monkeypatch
):
    monkeypatch.setenv("COVSEG_AUTHOR", "CD")
    widget = make_widget()
    desk_of(viewer).store = store.folder
    settled(widget, qtbot)
    assert widget.view.primary.text() == "Review next: case_0001 by AB and CD"
    widget.view.primary.click()
    settled(widget, qtbot)
    assert widget.view.primary.text() == "Compare AB and CD"


# Damage


def test_a_changed_label_file_is_refused(widget, store, errors, viewer, qtbot):
    path = store.folder / "versions" / f"{store.history('case_0001')[1].sha256}.nii.gz"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-20])
    widget.view.primary.click()
    settled(widget, qtbot)
    assert "case_0001 version 2" in errors("error")[0]
    assert widget.view.is_at(widget.view.queue)
    assert names(viewer) == []
    assert case_of(store).claimed_by == ""


def test_a_damaged_prediction_costs_only_the_comparison(widget, store, qtbot):
    path = store.folder / "versions" / f"{store.history('case_0001')[0].sha256}.nii.gz"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-20])
    widget.view.primary.click()
    settled(widget, qtbot)
    assert "case_0001 version 1" in widget.view.case.note.text()
    assert widget.view.case.changes.isHidden()
    widget.view.primary.click()
    settled(widget, qtbot)
    assert case_of(store).state == State.ACCEPTED


def test_a_store_that_vanished(opened, store, errors, qtbot, tmp_path):
    store.folder.rename(tmp_path / "gone")
    opened.view.primary.click()
    settled(opened, qtbot)
    assert "no case store here" in errors("error")[0]
    assert opened.view.is_at(opened.view.case)  # nothing is lost: bring it back, accept again
    (tmp_path / "gone").rename(store.folder)
    opened.view.primary.click()
    settled(opened, qtbot)
    assert case_of(store).state == State.ACCEPTED


def test_a_store_that_may_only_be_read(widget, store, errors, qtbot, monkeypatch):
    from napari_covseg.cases.database import Database
    from napari_covseg.domain.errors import ResourceError

    def refuse(self):
        raise ResourceError("store: may only be read")

    monkeypatch.setattr(Database, "write", refuse)
    widget.view.primary.click()
    settled(widget, qtbot)
    assert "may only be read" in widget.view.case.note.text()
    widget.view.primary.click()
    settled(widget, qtbot)
    assert "may only be read" in errors("error")[-1]
    assert widget.view.is_at(widget.view.case)
    monkeypatch.undo()
    assert case_of(store).state == State.CORRECTED


def test_retired_it_holds_nothing(opened, viewer, qtbot):
    opened.retire()
    assert not any(str(key) in ("0", "8", "9") for key in viewer.keymap)
    assert "Changes" not in names(viewer)
    desk_of(viewer).touched.emit()
    desk_of(viewer).store = None
