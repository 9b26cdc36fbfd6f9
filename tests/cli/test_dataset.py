import io
import json

import numpy as np
import pytest
from small_stores import corrected, lungs, new_store, predicted, volume

from napari_covseg.cases import author as author_module
from napari_covseg.cases.records import NewModel, Score
from napari_covseg.cases.store import CaseStore
from napari_covseg.cli.main import main
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io.labels import read_labels
from napari_covseg.io.write import write_labels, write_volume


@pytest.fixture(autouse=True)
def kept_author(tmp_path, monkeypatch):
    """No test sees or writes the name of whoever runs it."""
    file = tmp_path / "settings" / "author.json"
    monkeypatch.setattr(author_module, "author_file", lambda: file)
    monkeypatch.delenv("COVSEG_AUTHOR", raising=False)
    return file


@pytest.fixture
def folder(tmp_path):
    return new_store(tmp_path / "store", cases=2).folder


def _json(capsys, *arguments, code=0):
    assert main(["dataset", *map(str, arguments), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_from_nothing_to_an_nnunet_dataset(tmp_path, capsys):
    store, scan = tmp_path / "store", write_volume(volume(), tmp_path / "scan.nii.gz")
    drawn = write_labels(LabelMap.like(volume(), lungs()), tmp_path / "scan.seg.nrrd")
    assert main(["dataset", "init", str(store), "--author", "RA"]) == 0
    added = _json(capsys_after(capsys), "add", store, scan, "--labels", drawn, "--author", "RA")
    assert [(c["case"], c["state"]) for c in added["cases"]] == [("case_0001", "corrected")]
    edited = write_labels(LabelMap.like(volume(), lungs(size=4)), tmp_path / "edited.seg.nrrd")
    version = _json(
        *(capsys, "add", store, edited, "--case", "case_0001", "--reviewed", "0-3"),
        *("--minutes", "2.5", "--accept", "--author", "B"),
    )
    assert (version["number"], version["reviewed"], version["minutes"]) == (2, "0-3", 2.5)
    assert (version["edited_voxels"], version["beside"]) == (8, [])
    (case,) = _json(capsys, "list", store)["cases"]
    assert (case["state"], case["accepted_slices"]) == ("accepted", "0-3")
    assert _json(capsys, "verify", store) == {"sound": True, "problems": []}
    done = _json(capsys, "export", store, "--output", tmp_path / "out")
    assert done["accepted"] == ["case_0001"]
    labels = read_labels(tmp_path / "out" / "labelsTr" / "case_0001.nii.gz").labels
    np.testing.assert_array_equal(labels[:4], lungs(size=4)[:4])


def capsys_after(capsys):
    capsys.readouterr()
    return capsys


def test_one_case_for_3d_slicer(folder, tmp_path, capsys):
    predicted(CaseStore.open(folder))
    out = tmp_path / "x.seg.nrrd"
    told = _json(capsys, "export", folder, "--case", "case_0001", "--output", out)
    assert told == {"case": "case_0001", "file": str(out)}
    np.testing.assert_array_equal(read_labels(out).labels, lungs())
    for wrong in (["--all", "--case", "case_0001"], ["--version", "1"]):
        assert main(["dataset", "export", str(folder), "--output", str(out), *wrong]) == 2


def test_history_and_restore(folder, capsys):
    store = CaseStore.open(folder)
    second = corrected(store, predicted(store))
    store.accept(second.id, reader="B", comment="fine")
    content = _json(capsys, "history", folder, "case_0001")
    assert [v["number"] for v in content["history"]] == [1, 2]
    assert content["history"][1]["parent"] == content["history"][0]["id"]
    assert content["accepted"] == second.id
    assert content["reviews"][0]["comment"] == "fine"
    assert main(["dataset", "history", str(folder), "case_0001"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("2*")
    restored = _json(capsys, "restore", folder, "case_0001", 1, "--author", "RA")
    assert (restored["number"], restored["kind"]) == (3, "restored")
    assert restored["sha256"] == content["history"][0]["sha256"]
    assert main(["dataset", "restore", str(folder), "case_0001", "9", "--author", "RA"]) == 3
    assert "no version 9; it has 1 to 3" in capsys.readouterr().err


def test_next(folder, capsys):
    store = CaseStore.open(folder)
    model = "a" * 64
    store.record_model(NewModel(model, "better", code_version="0"), author="RA")
    store.record_scores([Score("case_0002", model, 1.0, slice=4)])
    assert _json(capsys, "next", folder, "--author", "A", "--peek")["case"] == "case_0001"
    peeked = _json(capsys, "next", folder, "--author", "A", "--peek", "--model", "aaaa")
    assert (peeked["case"], peeked["slice"], peeked["claimed_by"]) == ("case_0002", 4, "")
    store.promote(model, by="RA", why="better")
    taken = _json(capsys, "next", folder, "--author", "A")
    assert (taken["case"], taken["claimed_by"]) == ("case_0002", "A")
    assert taken["image"] == str(store.image_path("case_0002"))
    assert _json(capsys, "next", folder, "--author", "B")["case"] == "case_0001"
    assert main(["dataset", "next", str(folder), "--author", "C"]) == 3
    assert "no case waits for C" in capsys.readouterr().err
    corrected(store, predicted(store, "case_0001"), author="B")
    review = _json(capsys, "next", folder, "--review", "--author", "A")
    assert (review["case"], review["state"]) == ("case_0001", "corrected")


def test_list(folder, capsys):
    CaseStore.open(folder).flag("case_0002", reader="A", comment="motion")
    assert main(["dataset", "list", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[2].split() == ["case_0002", "patient_0002", "flagged", "0", "motion"]
    assert lines[3] == "1 new, 1 flagged"
    assert [c["case"] for c in _json(capsys, "list", folder, "--state", "new")["cases"]] == [
        "case_0001"
    ]
    assert _json(capsys, "list", folder, "--patient", "patient_0009")["cases"] == []


def test_verify_tells_what_is_wrong(folder, capsys):
    (folder / "imagesTr" / "case_0002_0000.nii.gz").unlink()
    told = _json(capsys, "verify", folder, code=3)
    assert not told["sound"]
    assert [p["file"] for p in told["problems"]] == ["imagesTr/case_0002_0000.nii.gz"]
    assert main(["dataset", "verify", str(folder)]) == 3
    assert "1 files are not sound" in capsys.readouterr().out


def test_each_input_gets_its_result_or_its_line(folder, tmp_path, capsys):
    good = write_volume(volume(7), tmp_path / "good.nii.gz")
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"no scan")
    added = _json(capsys, "add", folder, bad, good, "--author", "RA", code=3)
    assert [c["case"] for c in added["cases"]] == ["case_0003"]
    assert added["errors"][0]["input"] == "bad.nii.gz"
    assert main(["dataset", "add", str(folder), str(good), "--author", "RA"]) == 0
    assert "case_0003 of patient_0003, new, was there already" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--reviewed", "0-3"],
        ["--case", "case_0001", "--reviewed", "some"],
        ["--case", "case_0001", "--reviewed", "0-99"],
        ["--window", "5", "1"],
        ["--label-map", "heart=1"],
    ],
)
def test_wrong_usage(folder, tmp_path, capsys, arguments):
    drawn = write_labels(LabelMap.like(volume(), lungs()), tmp_path / "x.nii.gz")
    assert main(["dataset", "add", str(folder), str(drawn), "--author", "RA", *arguments]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_no_store(tmp_path, capsys):
    assert main(["dataset", "list", str(tmp_path)]) == 3
    assert "covseg dataset init makes one" in capsys.readouterr().err


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_author_is_asked_once_and_remembered(tmp_path, monkeypatch, capsys, kept_author):
    assert main(["dataset", "init", str(tmp_path / "a")]) == 2
    assert "say who you are" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", _Terminal("  R. Adler \n"))
    assert main(["dataset", "init", str(tmp_path / "b")]) == 0
    out = capsys.readouterr()
    assert "Your name or initials" in out.err
    assert "Your name" not in out.out
    assert json.loads(kept_author.read_text()) == {"author": "R. Adler"}
    assert main(["dataset", "init", str(tmp_path / "c")]) == 0, "not asked again"
    monkeypatch.setenv("COVSEG_AUTHOR", "E")
    assert main(["dataset", "init", str(tmp_path / "d")]) == 0
    assert main(["dataset", "init", str(tmp_path / "e"), "--author", "F"]) == 0
    authors = [CaseStore.open(tmp_path / n).events()[0].actor for n in "bcde"]
    assert authors == ["R. Adler", "R. Adler", "E", "F"]
    assert json.loads(kept_author.read_text()) == {"author": "R. Adler"}


def test_where_the_author_is_kept_is_the_users_own_folder(monkeypatch, tmp_path):
    monkeypatch.undo()
    assert author_module.author_file().parts[-2:] == ("napari-covseg", "author.json")
