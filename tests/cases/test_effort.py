import json

import numpy as np
import pytest
from small_stores import MODEL, corrected, lungs, new_store, predicted, volume

from napari_covseg.cases import effort as module
from napari_covseg.cases.effort import effort_of
from napari_covseg.cases.effort_records import CaseEffort, Effort, Generation, verdict
from napari_covseg.cases.records import Kind, NewModel, NewVersion
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.progress import run_to_end

NEXT = "b" * 64
VOXEL_ML = 5.0 * 0.8 * 0.7 / 1000


def effort(store: CaseStore) -> Effort:
    return run_to_end(effort_of(store))


def one_case(store: CaseStore, case: str, model: str = MODEL, **more) -> None:
    version = corrected(store, predicted(store, case, model), **more)
    store.accept(version.id, reader="B")


@pytest.fixture
def store(tmp_path) -> CaseStore:
    return new_store(tmp_path / "store", cases=4)


def test_a_corrected_case(store):
    one_case(store, "case_0001", size=4)
    (case,) = effort(store).cases
    # The lesion grew from two slices to four; of these the slices 0 to 2 were reviewed.
    assert case.edited_voxels == 4
    assert case.edited_ml == pytest.approx(4 * VOXEL_ML)
    assert case.dice["ggo"] == pytest.approx(2 * 8 / (8 + 12))
    assert case.dice["lung"] == 1.0
    assert "consolidation" not in case.dice
    assert (case.minutes, case.slices, case.model) == (2.5, 3, MODEL)
    assert (case.by, case.people, case.problem) == ("B", ("RA",), "")


def test_whole_scans_and_several_hands(store):
    first = corrected(store, predicted(store), size=4, author="RA", minutes=3.0)
    second = corrected(
        store, first, size=5, author="C", minutes=1.5, reviewed=[0, 1, 2, 3], kind=Kind.CORRECTION
    )
    store.accept(second.id, reader="B", whole=True)
    corrected(store, second, size=1, author="D", minutes=50.0)
    found = effort(store)
    (case,) = found.cases
    assert (case.minutes, case.people, case.slices) == (4.5, ("RA", "C"), 6)
    assert case.edited_voxels == 12
    people = {one.person: one for one in found.people}
    assert set(people) == {"RA", "C"}, "what came after the acceptance is not counted"
    assert (people["RA"].edited_voxels, people["C"].edited_voxels) == (8, 4)
    assert (people["RA"].slices, people["C"].slices) == (3, 1)
    assert people["C"].edited_ml == pytest.approx(4 * VOXEL_ML)


def test_who_joins_two_readers_is_not_given_what_both_reviewed(store):
    start = predicted(store)
    first = corrected(store, start, size=4, author="RA", reviewed=[0, 1])
    second = corrected(store, start, size=5, author="C", reviewed=[1, 2, 3])
    joined = store.save_version(
        "case_0001",
        lungs(size=5),
        NewVersion(
            author="D",
            kind=Kind.CONSENSUS,
            parent=first.id,
            merged=second.id,
            reviewed=[0, 1, 2, 3, 4],
        ),
    )
    store.accept(joined.version.id, reader="D")
    assert {one.person: one.slices for one in effort(store).people} == {"RA": 2, "C": 3, "D": 1}


def test_without_a_prediction_or_minutes(store):
    drawn = store.save_version(
        "case_0002", lungs(), NewVersion(author="RA", kind=Kind.IMPORT, reviewed=range(6))
    ).version
    store.accept(drawn.id, reader="RA")
    one_case(store, "case_0001")
    predicted(store, "case_0003")
    found = effort(store)
    assert [one.case for one in found.cases] == ["case_0002", "case_0001"]
    imported = found.cases[0]
    assert (imported.model, imported.minutes, imported.edited_voxels) == (None, None, None)
    assert imported.dice == {}
    none, some = found.generations
    assert (none.name, none.cases, none.timed, none.minutes) == ("no prediction", 1, 0, None)
    assert (some.model, some.cases, some.timed, some.minutes) == (MODEL, 1, 1, 2.5)
    assert some.seconds_per_slice == pytest.approx(50.0)
    assert (found.minutes, found.edited_voxels) == (2.5, 4)
    content = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert content["total"]["without_prediction"] == 1
    assert content["cases"][1]["dice"]["ggo"] == pytest.approx(0.8)


def test_generations_are_means_in_the_order_of_acceptance(store):
    one_case(store, "case_0003", minutes=10.0, size=6)
    one_case(store, "case_0001", minutes=20.0, size=4)
    one_case(store, "case_0002", NEXT, minutes=3.0, size=3)
    store.record_model(NewModel(NEXT, "round-2", code_version="1"), author="RA")
    found = effort(store)
    first, second = found.generations
    assert (first.cases, first.minutes, first.name) == (2, 15.0, "a" * 8)
    assert (second.cases, second.minutes, second.name) == (1, 3.0, "round-2")
    assert first.edited_ml == pytest.approx(4 * VOXEL_ML)
    assert verdict(found).startswith(
        "from aaaaaaaa to round-2: minutes a case went from 15.0 to 3.0 (-80 %), edited ml"
    )
    assert verdict(found).endswith("few cases (2 and 1), so this says little")


def test_what_was_counted_is_kept(store, monkeypatch):
    one_case(store, "case_0001")
    first = effort(store)
    monkeypatch.setattr(module, "joint_histogram", None)
    assert effort(CaseStore.open(store.folder)) == first
    one_case(store, "case_0002", size=5)
    with pytest.raises(TypeError):
        effort(store)
    monkeypatch.undo()
    assert len(effort(store).cases) == 2
    file = store.folder / "cache" / "effort.json"
    assert len(json.loads(file.read_text())["pairs"]) == 2
    for damage in ("{", "[]", '{"format": 1, "pairs": {"a": [1]}}', '{"format": 9}'):
        file.write_text(damage)
        assert effort(store).cases[0] == first.cases[0]
    version = corrected(store, store.version(store.case("case_0001").accepted), size=6)
    store.accept(version.id, reader="B")
    effort(store)
    assert len(json.loads(file.read_text())["pairs"]) == 2, "the pair that is gone was dropped"


def test_a_cancelled_count_keeps_what_it_has(store):
    for number in (1, 2, 3):
        one_case(store, f"case_000{number}", size=2 + number)
    steps = effort_of(store)
    for _ in range(3):
        next(steps)
    steps.close()
    file = store.folder / "cache" / "effort.json"
    assert len(json.loads(file.read_text())["pairs"]) == 1


def test_a_tampered_label_costs_one_case_only(store):
    one_case(store, "case_0001")
    one_case(store, "case_0002", size=6)
    accepted = store.version(store.case("case_0002").accepted)
    file = store.folder / "versions" / f"{accepted.sha256}.nii.gz"
    file.chmod(0o644)
    file.write_bytes(file.read_bytes() + b" ")
    good, bad = effort(store).cases
    assert good.edited_voxels == 4
    assert (bad.edited_voxels, bad.dice, bad.minutes) == (None, {}, 2.5)
    assert "was changed after it was saved" in bad.problem


def test_an_empty_store(store):
    found = effort(store)
    assert (found.cases, found.people, found.generations, found.minutes) == ((), (), (), 0)
    assert verdict(found).startswith("nothing to compare yet")
    assert not (store.folder / "cache").exists()


def test_unlike_axes_are_compared_as_they_are_shown(store):
    case = store.add_case(volume(9), author="RA").name
    first = store.save_version(
        case, lungs(), NewVersion(author="RA", kind=Kind.PREDICTION, model=MODEL)
    )
    changed = lungs()
    changed[0, 5, 5] = 4
    after = store.save_version(
        case,
        changed,
        NewVersion(author="RA", kind=Kind.CORRECTION, parent=first.version.id, reviewed=[0]),
    )
    store.accept(after.version.id, reader="RA")
    (found,) = effort(store).cases
    assert found.edited_voxels == 1
    assert found.dice["consolidation"] == 0.0
    assert np.isclose(found.dice["ggo"], 2 * 3 / (4 + 3))


def generation(model: str | None, minutes: float | None, cases: int = 9) -> Generation:
    return Generation(model, model or "no prediction", cases, cases, minutes, None, None, {})


@pytest.mark.parametrize(
    ("generations", "told"),
    [
        ([generation("a", 4.0)], "nothing to compare yet: that takes"),
        ([generation("a", None), generation("b", 3.0)], "no minutes were told for a or b"),
        ([generation("a", 4.0), generation("b", 3.0)], "from a to b: minutes a case went from 4.0"),
        ([generation("a", 4.0), generation(None, 12.0)], "from no prediction to a: minutes a case"),
    ],
)
def test_the_sentence(generations, told):
    cases: tuple[CaseEffort, ...] = ()
    sentence = verdict(Effort(cases, (), tuple(generations)))
    assert told in sentence
    assert "few cases" not in sentence


def test_a_case_that_another_program_adds_meanwhile_does_no_harm(store, monkeypatch):
    one_case(store, "case_0001")
    read = store.histories

    def later():
        found = read()
        monkeypatch.setattr(store, "histories", read)
        one_case(store, "case_0002")
        return found

    monkeypatch.setattr(store, "histories", later)
    assert [one.case for one in effort(store).cases] == ["case_0001"]
