import json

import pytest
from small_stores import corrected, new_store, predicted

from napari_covseg.cases import author as author_module
from napari_covseg.cases.store import CaseStore
from napari_covseg.cli.main import main


@pytest.fixture(autouse=True)
def nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(author_module, "author_file", lambda: tmp_path / "author.json")
    monkeypatch.delenv("COVSEG_AUTHOR", raising=False)


@pytest.fixture
def folder(tmp_path):
    """RA has 4 slices of lesion, CD 2; both checked all six slices."""
    store = new_store(tmp_path / "store")
    start = predicted(store)
    for author, size in (("RA", 4), ("CD", 2)):
        corrected(store, start, author, size=size, reviewed=range(6))
    return store.folder


def _run(folder, *arguments):
    return main(["dataset", "consensus", str(folder), "case_0001", *arguments])


def test_differences_are_shown_and_nothing_is_saved(folder, capsys):
    assert _run(folder) == 0
    shown = capsys.readouterr().out
    assert "RA (2)" in shown
    assert "CD (3)" in shown
    assert "small" in shown
    assert len(CaseStore.open(folder).history("case_0001")) == 3


def test_a_consensus_is_saved_and_accepted(folder, capsys):
    more = ("--versions", "3,2", "--by", "intersection", "--accept", "--author", "B", "--json")
    assert _run(folder, *more) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["versions"] == [3, 2]
    assert told["agreement"]["ggo"]["dice"] == pytest.approx(2 * 8 / (8 + 16))
    (one,) = told["differences"]
    assert (one["kind"], one["voxels"], one["slice"]) == ("small", 8, 2)
    assert (one["first"], one["second"]) == (["right_lung"], ["ggo"])
    assert told["saved"] == {
        "id": told["saved"]["id"], "number": 4, "accepted": True, "beside": [],
    }  # fmt: skip
    store = CaseStore.open(folder)
    assert store.case("case_0001").accepted == told["saved"]["id"]


def test_a_version_that_still_stands_beside_is_told(folder, capsys):
    store = CaseStore.open(folder)
    corrected(store, store.history("case_0001")[0], "EF", size=5, reviewed=range(6))
    assert _run(folder, "--versions", "2,3", "--by", "union", "--accept", "--author", "B") == 0
    shown = capsys.readouterr()
    assert "version 5 is the union\n" in shown.out
    assert "version 4 of EF stands beside it still" in shown.err


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--accept"], 2, "go with --by"),
        (["--versions", "2"], 2, "expected two numbers"),
        (["--versions", "2,9"], 3, "9"),
        (["--by", "union"], 2, "say who you are"),
    ],
)
def test_what_is_refused(folder, capsys, arguments, code, told):
    assert _run(folder, *arguments) == code
    assert told in capsys.readouterr().err
    assert len(CaseStore.open(folder).history("case_0001")) == 3


def test_a_case_without_a_fork(tmp_path, capsys):
    store = new_store(tmp_path / "store")
    corrected(store, predicted(store))
    assert _run(store.folder) == 3
    assert "no two readers' versions stand side by side" in capsys.readouterr().err
