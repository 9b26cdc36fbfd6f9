"""Two readers' versions of one case, compared and joined in a store."""

import numpy as np
import pytest
from small_stores import corrected, lungs, new_store, predicted

from napari_covseg.cases.records import Kind, NewVersion, State
from napari_covseg.domain.errors import InputError, ResourceError, UsageError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.editing.consensus import Difference, Rule
from napari_covseg.workflows.consensus import read_both, save_joined, side_by_side

VOXEL_ML = 5.0 * 0.8 * 0.7 / 1000


@pytest.fixture
def store(tmp_path):
    return new_store(tmp_path / "store")


@pytest.fixture
def forked(store):
    """Two readers corrected one prediction: RA to 4 slices of lesion, CD to 3."""
    start = predicted(store)
    return corrected(store, start, "RA", size=4), corrected(
        store, start, "CD", size=3, reviewed=[2, 3]
    )


def _read(store, *pair):
    return run_to_end(read_both(store, *pair))


def _join(store, readings, rule, choices=None, **more):
    return run_to_end(save_joined(store, readings, rule, choices, author="B", **more))


def test_who_stands_side_by_side(store, forked):
    pair = side_by_side(store, "case_0001")
    assert [(one.number, one.author) for one in pair] == [(2, "RA"), (3, "CD")]
    store.accept(forked[0].id, reader="B", instead_of=[forked[1].id])
    assert side_by_side(store, "case_0001") is None


def test_what_failed_to_be_accepted_is_not_saved_twice(store, forked, monkeypatch):
    readings = _read(store, *forked)
    with monkeypatch.context() as broken:

        def full(*_, **__):
            raise ResourceError("the disk is full")

        broken.setattr(store, "accept", full)
        with pytest.raises(ResourceError):
            _join(store, readings, Rule.UNION, accept=True)
    saved = [one for one in store.history("case_0001") if one.kind is Kind.CONSENSUS]
    done = _join(store, readings, Rule.UNION, accept=True)
    assert [done.version.id] == [one.id for one in saved]
    assert store.case("case_0001").accepted == done.version.id
    # Joined otherwise it is another version.
    other = _join(store, readings, Rule.UNION, whole=True)
    assert other.version.id != done.version.id


def test_without_a_fork_nobody_stands_side_by_side(store):
    assert side_by_side(store, "case_0001") is None
    corrected(store, predicted(store))
    assert side_by_side(store, "case_0001") is None


def test_differences_and_figures_are_of_slices_that_both_checked(store, forked):
    readings = _read(store, *forked)
    found = readings.comparison
    assert (found.first_alone, found.second_alone) == ((0, 1), (3,))
    assert found.regions == ()  # in slice 2 both drew the same
    assert readings.agreement["ggo"].dice == pytest.approx(2 * 4 / (4 + 4))
    # Slices 2, 4 and 5 count: in slice 2 alone there is a lesion.
    assert readings.agreement["infection"].first_ml == pytest.approx(4 * VOXEL_ML)
    done = _join(store, readings, Rule.INTERSECTION)
    assert done.version.reviewed == {0, 1, 2, 3}
    # Slice 3 is CD's alone, who took its lesion away.
    assert np.array_equal(store.labels(done.version.id).labels, lungs(size=3))


@pytest.mark.parametrize(
    ("rule", "size"), [(Rule.UNION, 4), (Rule.INTERSECTION, 2), (Rule.FIRST, 4), (Rule.SECOND, 2)]
)
def test_a_consensus_settles_the_fork(store, rule, size):
    start = predicted(store)
    first = corrected(store, start, "RA", size=4, reviewed=range(6))
    second = corrected(store, start, "CD", size=2, reviewed=range(6), kind=Kind.IMPORT)
    readings = _read(store, first, second)
    done = _join(store, readings, rule, accept=True, minutes=3.0, comment="joined")
    saved = done.version
    assert (saved.kind, saved.parent, saved.merged) == (Kind.CONSENSUS, first.id, second.id)
    assert (saved.author, saved.minutes, saved.comment) == ("B", 3.0, "joined")
    assert np.array_equal(store.labels(saved.id).labels, lungs(size=size))
    assert store.case("case_0001").state == State.ACCEPTED
    assert store.case("case_0001").accepted == saved.id
    assert store.branches(saved.id) == ()
    assert side_by_side(store, "case_0001") is None


def test_a_choice_for_one_lesion(store):
    start = predicted(store)
    consolidation = np.where(lungs() == Label.GGO, Label.CONSOLIDATION, lungs()).astype(np.uint8)
    first = corrected(store, start, "RA", size=4, reviewed=range(6))
    second = store.save_version(
        "case_0001",
        consolidation,
        NewVersion(author="CD", kind=Kind.CORRECTION, parent=start.id, reviewed=range(6)),
    ).version
    readings = _read(store, first, second)
    # 8 voxels each, 0.02 ml: taken together as small.
    assert [(r.kind, r.voxels) for r in readings.comparison.regions] == [(Difference.SMALL, 16)]
    done = _join(store, readings, Rule.UNION, {0: Rule.SECOND})
    assert np.array_equal(store.labels(done.version.id).labels, consolidation)
    done = _join(store, readings, Rule.UNION)
    labels = store.labels(done.version.id).labels
    assert (labels == Label.INFECTION).sum() == 8
    assert (labels == Label.GGO).sum() == 8


def test_a_third_reader_keeps_it_from_being_accepted(store, forked):
    third = corrected(store, store.history("case_0001")[0], "EF", size=5)
    done = _join(store, _read(store, *forked), Rule.UNION, accept=True)
    assert done.review is None
    assert [one.id for one in done.beside] == [third.id]
    assert store.case("case_0001").accepted is None
    pair = side_by_side(store, "case_0001")
    assert [one.id for one in pair] == [third.id, done.version.id]
    last = _join(store, _read(store, *pair), Rule.UNION, accept=True)
    assert last.review is not None
    assert store.case("case_0001").accepted == last.version.id


def test_nothing_is_saved_that_could_not_be_accepted(store):
    start = predicted(store)
    pair = [corrected(store, start, who, size=n, reviewed=[]) for who, n in (("RA", 4), ("CD", 3))]
    readings = _read(store, *pair)
    with pytest.raises(InputError, match="no slice of version 2 or 3 is marked as reviewed"):
        _join(store, readings, Rule.UNION, accept=True)
    assert len(store.history("case_0001")) == 3
    done = _join(store, readings, Rule.UNION, accept=True, whole=True)
    assert done.version.reviewed == set(range(6))
    assert store.case("case_0001").accepted_slices == set(range(6))


def test_one_version_is_no_pair(store, forked):
    with pytest.raises(UsageError, match="two different versions"):
        _read(store, forked[0], forked[0])


def test_a_changed_file_is_refused(store, forked):
    path = store.folder / "versions" / f"{forked[1].sha256}.nii.gz"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="version 3"):
        _read(store, *forked)
