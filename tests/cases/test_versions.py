import numpy as np
import pytest
from small_stores import MODEL, SHAPE, corrected, lungs, new_store, predicted

from napari_covseg.cases.encoding import numbers_from, ranges_from
from napari_covseg.cases.records import Kind, NewVersion, State
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import InputError, UsageError
from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.volume import LabelMap


@pytest.fixture
def store(tmp_path):
    return new_store(tmp_path / "store")


def test_slices_as_text():
    assert ranges_from([3, 0, 1, 2, 9, 9]) == "0-3,9"
    assert numbers_from("0-3,9") == {0, 1, 2, 3, 9}
    assert numbers_from("") == frozenset()
    assert ranges_from([]) == ""


def test_a_version_keeps_everything(store):
    first = predicted(store)
    assert (first.number, first.kind, first.model, first.parent) == (
        1,
        Kind.PREDICTION,
        MODEL,
        None,
    )
    assert first.edited_voxels == np.count_nonzero(lungs())
    assert store.case("case_0001").state is State.PREDICTED
    second = corrected(store, first, author=" R.  Adler ", comment=" top added ")
    kept = CaseStore.open(store.folder).history("case_0001")
    assert kept == [first, second]
    assert second.author == "R. Adler"
    assert (second.parent, second.model) == (first.id, MODEL)
    assert second.reviewed == {0, 1, 2}
    assert second.minutes == 2.5
    assert second.comment == "top added"
    assert second.edited_voxels == 2 * 2 * 2, "the lesion grew by two slices of four voxels"
    assert second.created >= first.created
    np.testing.assert_array_equal(store.labels(second.id).labels, lungs(size=4))
    np.testing.assert_array_equal(store.edited_voxels(second.id), lungs() != lungs(size=4))
    assert store.labels(second.id).to_native == store.case("case_0001").to_native
    assert store.case("case_0001").state is State.CORRECTED


def test_edits_can_be_counted_from_the_prediction(store):
    first = predicted(store)
    second = corrected(store, corrected(store, first, size=4), size=6)
    assert second.edited_voxels == 8
    assert store.edited_voxels(second.id, since=first.id).sum() == 16
    assert store.base_prediction(second.id) == first
    alone = store.save_version(
        "case_0001", lungs(), NewVersion(author="RA", kind=Kind.IMPORT)
    ).version
    assert store.base_prediction(alone.id) is None


def test_label_files_are_named_by_their_content_and_shared(store):
    import hashlib

    first = predicted(store)
    second = corrected(store, first)
    third = corrected(store, second, size=2, author="B")
    assert third.sha256 == first.sha256 != second.sha256
    files = sorted((store.folder / "versions").iterdir())
    assert [f.name for f in files] == sorted(f"{v.sha256}.nii.gz" for v in (first, second))
    assert all(hashlib.sha256(f.read_bytes()).hexdigest() == f.name[:64] for f in files)


def test_drafts(store):
    first = predicted(store)
    draft = store.save_version(
        "case_0001",
        lungs(size=3),
        NewVersion(author="RA", kind=Kind.DRAFT, parent=first.id, reviewed=[0]),
    ).version
    record = store.case("case_0001")
    assert (record.state, record.claimed_by) == (State.IN_WORK, "RA")
    again = store.save_version(
        "case_0001",
        lungs(size=3),
        NewVersion(author="RA", kind=Kind.DRAFT, parent=draft.id, reviewed=[0]),
    )
    assert again.version == draft, "nothing changed, so nothing is kept"
    more = store.save_version(
        "case_0001",
        lungs(size=3),
        NewVersion(author="RA", kind=Kind.DRAFT, parent=draft.id, reviewed=[0, 1]),
    )
    assert more.version.number == 3
    done = store.save_version(
        "case_0001",
        lungs(size=3),
        NewVersion(author="RA", kind=Kind.CORRECTION, parent=more.version.id),
    ).version
    assert done.reviewed == {0, 1}, "those of the parent"
    assert store.case("case_0001").claimed_by == "", "a finished case is given back"
    assert [v.kind for v in store.history("case_0001", drafts=False)] == [
        "prediction",
        "correction",
    ]


def test_an_empty_correction_is_refused(store):
    first = predicted(store)
    with pytest.raises(InputError, match="nothing was changed"):
        corrected(store, first, size=2, reviewed=None)
    confirmed = corrected(store, first, size=2, reviewed=[4])
    assert confirmed.edited_voxels == 0, "to look and find it right is work too"
    assert len(store.history("case_0001")) == 2


def test_labels_that_do_not_fit(store):
    grid = store.case("case_0001").geometry
    moved = np.array(grid.affine)
    moved[0, 3] += 3
    wrong = {
        "12 x 10 x 5 .* image 12 x 10 x 6": lungs()[:5],
        "3.0 mm beside its image": LabelMap(lungs(), Geometry(SHAPE, moved)),
        "other values": np.full(SHAPE, 8, np.uint8),
        "other values than labels": lungs().astype(np.int32),
    }
    for message, labels in wrong.items():
        with pytest.raises(InputError, match=message):
            store.save_version("case_0001", labels, NewVersion(author="RA", kind=Kind.IMPORT))
    assert store.history("case_0001") == []
    assert list((store.folder / "versions").iterdir()) == []
    fitting = LabelMap(lungs(), Geometry(SHAPE, grid.affine + 1e-4))
    assert store.save_version(
        "case_0001", fitting, NewVersion(author="RA", kind=Kind.IMPORT)
    ).version


def test_contradictions_are_refused(tmp_path):
    store = new_store(tmp_path / "two", cases=2)
    other = predicted(store, "case_0002")
    for wrong in (
        {"parent": other.id},
        {"kind": Kind.PREDICTION},
        {"reviewed": [6]},
        {"reviewed": [-1]},
        {"minutes": -1.0},
        {"minutes": float("nan")},
        {"author": ""},
    ):
        with pytest.raises(UsageError):
            store.save_version(
                "case_0001",
                lungs(),
                NewVersion(**{"author": "RA", "kind": Kind.CORRECTION, **wrong}),
            )
    with pytest.raises(InputError, match="no such case"):
        store.save_version("case_0009", lungs(), NewVersion(author="RA", kind=Kind.IMPORT))
    with pytest.raises(InputError, match="no such label version"):
        store.save_version(
            "case_0001", lungs(), NewVersion(author="RA", kind=Kind.DRAFT, parent="0" * 32)
        )


def test_restore_is_a_new_version(store):
    first = predicted(store)
    second = corrected(store, first)
    saved = store.restore(first.id, author="B")
    restored = saved.version
    assert (restored.number, restored.kind, restored.parent) == (3, Kind.RESTORED, second.id)
    assert restored.sha256 == first.sha256
    assert restored.edited_voxels == 8
    assert saved.branches == ()
    np.testing.assert_array_equal(store.labels(restored.id).labels, lungs())
    assert [v.id for v in store.history("case_0001")] == [first.id, second.id, restored.id]
    with pytest.raises(InputError, match="is the newest"):
        store.restore(restored.id, author="B")


def test_two_annotators_from_one_version_both_keep_their_work(store):
    first = predicted(store)
    ours = store.save_version(
        "case_0001", lungs(size=3), NewVersion(author="A", kind=Kind.CORRECTION, parent=first.id)
    )
    assert ours.branches == ()
    theirs = store.save_version(
        "case_0001", lungs(size=5), NewVersion(author="B", kind=Kind.CORRECTION, parent=first.id)
    )
    assert [one.id for one in theirs.branches] == [ours.version.id]
    later = store.save_version(
        "case_0001",
        lungs(size=4),
        NewVersion(author="A", kind=Kind.CORRECTION, parent=ours.version.id),
    )
    assert [one.id for one in later.branches] == [theirs.version.id], "both are told"
    assert [e.actor for e in store.events(kind="branch")] == ["B", "A"]
    np.testing.assert_array_equal(store.labels(theirs.version.id).labels, lungs(size=5))
    joined = store.save_version(
        "case_0001",
        lungs(size=5),
        NewVersion(
            author="C", kind=Kind.CONSENSUS, parent=later.version.id, merged=theirs.version.id
        ),
    )
    assert joined.branches == ()
    assert store.branches(joined.version.id) == ()


def test_ones_own_forsaken_draft_is_no_branch(store):
    first = predicted(store)
    store.save_version(
        "case_0001", lungs(size=3), NewVersion(author="A", kind=Kind.DRAFT, parent=first.id)
    )
    anew = store.save_version(
        "case_0001", lungs(size=5), NewVersion(author="A", kind=Kind.CORRECTION, parent=first.id)
    )
    assert anew.branches == ()
    second_window = store.save_version(
        "case_0001", lungs(size=4), NewVersion(author="A", kind=Kind.CORRECTION, parent=first.id)
    )
    assert [one.id for one in second_window.branches] == [anew.version.id]


def test_a_new_prediction_disturbs_nobody(store):
    ours = corrected(store, predicted(store))
    newer = store.save_version(
        "case_0001", lungs(size=1), NewVersion(author="RA", kind=Kind.PREDICTION, model="b" * 64)
    )
    assert store.case("case_0001").state is State.CORRECTED
    assert store.branches(ours.id) == ()
    assert store.prediction("case_0001", "b" * 64) == newer.version
    assert store.prediction("case_0001", MODEL).number == 1
    assert store.prediction("case_0001", "c" * 64) is None


def test_the_same_work_saved_again_is_the_newest_version_or_a_new_one(store):
    """Who was not told what came of a save does it once more; who insists is heard."""
    first = predicted(store)
    second = corrected(store, first)
    assert corrected(store, first).id == second.id
    store.send_back("case_0001", reader="B", comment="look again")
    store.claim("case_0001", "RA")
    assert corrected(store, first).id == second.id
    record = store.case("case_0001")
    assert (record.state, record.claimed_by, record.versions) == (State.CORRECTED, "", 2)
    other = corrected(store, first, author="B", size=5)
    again = corrected(store, first)
    assert (again.number, again.sha256) == (4, second.sha256), "it is not the newest any more"
    store.accept(other.id, reader="B", instead_of=[one.id for one in store.branches(other.id)])
    assert store.version(again.id).set_aside
    assert corrected(store, first).number == 5, "what was set aside is put forward again"
