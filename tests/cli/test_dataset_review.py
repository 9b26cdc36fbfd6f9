import json

import pytest
from small_stores import corrected, new_store, predicted

from napari_covseg.cases.records import Difficulty, State
from napari_covseg.cases.store import CaseStore
from napari_covseg.cli.main import main


@pytest.fixture
def store(tmp_path):
    return new_store(tmp_path / "store", cases=2)


def run(store: CaseStore, verb: str, *arguments: str, by: str = "B", code: int = 0) -> None:
    command = ["dataset", verb, str(store.folder), "case_0001", *arguments, "--author", by]
    assert main(command) == code


def test_accept_and_send_back(store, capsys):
    first = corrected(store, predicted(store))
    run(store, "accept", "--comment", "fine", "--difficulty", "hard")
    assert capsys.readouterr().out == "case_0001: version 2 is accepted, 3 slices\n"
    case = store.case("case_0001")
    assert (case.state, case.accepted, case.comment) == (State.ACCEPTED, first.id, "fine")
    assert case.difficulty is Difficulty.HARD
    assert store.reviews("case_0001")[-1].reader == "B"
    run(store, "send-back", "--comment", "see slice 4", "--json")
    told = json.loads(capsys.readouterr().out)
    assert (told["state"], told["accepted"], told["decision"]) == ("in work", None, "send back")
    run(store, "accept", "--version", "2", "--whole")
    assert len(store.case("case_0001").accepted_slices) == 6


def test_what_is_accepted_if_nobody_says(store, capsys):
    first = predicted(store)
    run(store, "accept", code=3)
    assert "no person has finished a version yet" in capsys.readouterr().err
    run(store, "accept", "--version", "1", code=3)
    assert "no slice is marked as reviewed" in capsys.readouterr().err
    run(store, "accept", "--version", "1", "--whole")
    assert store.case("case_0001").accepted == first.id
    mine = corrected(store, first)
    predicted(store, model="b" * 64)
    run(store, "accept")
    assert store.case("case_0001").accepted == mine.id


def test_one_of_two_readers(store, capsys):
    base = predicted(store)
    mine, theirs = corrected(store, base), corrected(store, base, author="C", size=5)
    run(store, "accept", "--version", "2", code=3)
    assert "beside version 2 stands version 3 of C" in capsys.readouterr().err
    run(store, "accept", "--version", "2", "--instead-of", "3")
    assert store.case("case_0001").accepted == mine.id
    assert store.version(theirs.id).set_aside
    run(store, "accept", "--instead-of", "3;4", code=2)
    assert "--instead-of 3;4: expected numbers" in capsys.readouterr().err
    run(store, "accept", "--version", "9", code=3)
    capsys.readouterr()


def test_flag_and_comment(store, capsys):
    run(store, "flag", "--comment", "motion")
    case = store.case("case_0001")
    assert (case.state, case.comment) == (State.FLAGGED, "motion")
    run(store, "comment", "left lower lobe", "--difficulty", "medium")
    run(store, "comment", code=2)
    assert "say something" in capsys.readouterr().err
    run(store, "unflag")
    case = store.case("case_0001")
    assert (case.state, case.difficulty) == (State.NEW, Difficulty.MEDIUM)
    assert [one.decision for one in store.reviews("case_0001")] == ["flag", "comment", "unflag"]


def test_take_and_give_back(store, capsys):
    run(store, "claim", by="RA")
    assert store.case("case_0001").claimed_by == "RA"
    run(store, "claim", by="B", code=3)
    run(store, "release", by="B", code=3)
    assert "RA has it in work, and only they can give it back" in capsys.readouterr().err
    run(store, "release", by="RA")
    assert store.case("case_0001").claimed_by == ""


def test_a_case_that_is_not_there(store, capsys):
    for verb, more in (
        ("accept", []),
        ("send-back", ["--comment", "x"]),
        ("flag", ["--comment", "x"]),
        ("comment", ["x"]),
        ("release", []),
    ):
        command = ["dataset", verb, str(store.folder), "case_9", *more, "--author", "B"]
        assert main(command) == 3
        assert capsys.readouterr().err.startswith("covseg: case_9: no such case in this store")
