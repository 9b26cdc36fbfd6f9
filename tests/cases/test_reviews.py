import json

import numpy as np
import pytest
from small_stores import corrected, lungs, new_store, predicted

from napari_covseg.cases.records import Decision, Difficulty, Kind, NewVersion, OpenBranches, State
from napari_covseg.domain.errors import InputError
from napari_covseg.domain.labels import Label
from napari_covseg.io.labels import read_labels


@pytest.fixture
def store(tmp_path):
    return new_store(tmp_path / "store")


def _written(store):
    return read_labels(store.labels_path("case_0001")).labels


def test_unreviewed_slices_of_an_accepted_case_are_ignore(store):
    version = corrected(store, predicted(store), reviewed=[1, 4])
    review = store.accept(version.id, reader="B", comment=" fine ", difficulty=Difficulty.HARD)
    assert (review.decision, review.reader, review.reviewed) == (Decision.ACCEPT, "B", {1, 4})
    written = _written(store)
    np.testing.assert_array_equal(written[[1, 4]], lungs(size=4)[[1, 4]])
    assert (written[[0, 2, 3, 5]] == Label.IGNORE).all()
    record = store.case("case_0001")
    assert (record.state, record.accepted, record.accepted_slices) == (
        *(State.ACCEPTED, version.id),
        {1, 4},
    )
    assert (record.comment, record.difficulty) == ("fine", Difficulty.HARD)
    assert store.reviews("case_0001") == [review]
    assert store.verify() == []


def test_a_reader_can_vouch_for_the_whole_scan(store):
    version = predicted(store)
    store.accept(version.id, reader="B", whole=True)
    np.testing.assert_array_equal(_written(store), lungs())


def test_what_would_teach_nothing_is_not_accepted(store):
    version = predicted(store)
    with pytest.raises(InputError, match="no slice is marked as reviewed"):
        store.accept(version.id, reader="B")
    empty = store.save_version(
        "case_0001", np.zeros_like(lungs()), NewVersion(author="A", kind=Kind.IMPORT, reviewed=[0])
    ).version
    with pytest.raises(InputError, match="label map is empty"):
        store.accept(empty.id, reader="B", whole=True)
    assert store.case("case_0001").accepted is None
    assert not store.labels_path("case_0001").exists()


def test_a_later_correction_does_not_touch_accepted_labels_until_it_is_accepted(store):
    first = corrected(store, predicted(store))
    store.accept(first.id, reader="B", whole=True)
    second = corrected(store, first, size=6)
    record = store.case("case_0001")
    assert (record.state, record.accepted) == (State.CORRECTED, first.id)
    np.testing.assert_array_equal(_written(store), lungs(size=4))
    store.accept(second.id, reader="B", whole=True)
    np.testing.assert_array_equal(_written(store), lungs(size=6))


def test_send_back_takes_labels_out_of_training(store):
    with pytest.raises(InputError, match="no label version yet"):
        store.send_back("case_0001", reader="B", comment="too wide")
    version = corrected(store, predicted(store))
    store.accept(version.id, reader="B")
    store.send_back("case_0001", reader="B", comment="too wide")
    record = store.case("case_0001")
    assert (record.state, record.accepted, record.comment) == (State.IN_WORK, None, "too wide")
    assert not store.labels_path("case_0001").exists()
    assert json.loads((store.folder / "dataset.json").read_text())["numTraining"] == 0
    assert [r.decision for r in store.reviews("case_0001")] == ["accept", "send back"]
    assert len(store.history("case_0001")) == 2


def test_flags(store):
    for expected in (State.NEW, State.PREDICTED, State.CORRECTED):
        if expected is State.PREDICTED:
            version = predicted(store)
        if expected is State.CORRECTED:
            corrected(store, version)
        store.flag("case_0001", reader="A", comment="motion")
        record = store.case("case_0001")
        assert (record.state, record.comment) == (State.FLAGGED, "motion")
        store.unflag("case_0001", reader="A")
        record = store.case("case_0001")
        assert (record.state, record.comment) == (expected, "")


def test_work_on_a_flagged_case_keeps_the_flag(store):
    version = predicted(store)
    store.flag("case_0001", reader="A", comment="motion")
    corrected(store, version)
    assert store.case("case_0001").state is State.FLAGGED
    store.unflag("case_0001", reader="A")
    assert store.case("case_0001").state is State.CORRECTED


def test_a_flag_on_accepted_labels_and_back(store):
    version = corrected(store, predicted(store))
    store.accept(version.id, reader="B")
    store.flag("case_0001", reader="A", comment="look")
    assert store.case("case_0001").accepted == version.id
    store.unflag("case_0001", reader="A")
    assert store.case("case_0001").state is State.ACCEPTED


def test_a_comment_changes_nothing_else(store):
    predicted(store)
    store.comment("case_0001", reader="A", comment="small", difficulty=Difficulty.EASY)
    record = store.case("case_0001")
    assert (record.state, record.comment, record.difficulty) == (
        *(State.PREDICTED, "small"),
        Difficulty.EASY,
    )


def test_accepting_over_another_reader_needs_a_word(store):
    first = predicted(store)
    ours = corrected(store, first, author="A", size=3)
    theirs = corrected(store, first, author="B", size=5)
    with pytest.raises(OpenBranches, match="beside version 3 stands version 2 of A"):
        store.accept(theirs.id, reader="C")
    assert store.case("case_0001").accepted is None
    store.accept(theirs.id, reader="C", instead_of=[ours.id])
    assert store.version(ours.id).set_aside
    assert not store.version(theirs.id).set_aside
    assert store.branches(theirs.id) == ()
    unaware = corrected(store, ours, author="A", size=4)
    assert [one.id for one in store.branches(unaware.id)] == [theirs.id], "A is told"
    store.accept(ours.id, reader="C", instead_of=[theirs.id, unaware.id])
    assert not store.version(ours.id).set_aside
