"""Names that are not ASCII, very long, or the commands of a spreadsheet."""

import json
import os
import sys

import numpy as np
import pytest
from kill_actions import model_in
from label_phantom import label_map
from segment_command import command, listed
from small_requests import request_maker
from small_stores import corrected, new_store, predicted, volume

from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import InputError
from napari_covseg.domain.geometry import Geometry
from napari_covseg.io import read_labels, read_volume, write_labels, write_volume
from napari_covseg.io.atomic import write_json
from napari_covseg.io.inputs import case_name
from napari_covseg.models.zoo import load

LONG = "ü" * 120
"""240 bytes; with an ending the 255 that a name may have."""


def _deep(folder, parts=8):
    """A path of more than 260 characters."""
    for _ in range(parts):
        folder = folder / ("Ünïcödé ÄÖÜ 患者 " + "x" * 30)
    folder.mkdir(parents=True)
    assert len(str(folder)) > 260
    return folder


@pytest.mark.skipif(os.name == "nt", reason="Windows allows such paths only where it is set so")
def test_long_names_and_paths_are_written_and_read(tmp_path):
    folder = _deep(tmp_path)
    for name in (f"{LONG}.nii.gz", f"{LONG}.seg.nrrd", "患者 ü.mha", "a b\tc.nii"):
        labels = label_map(Geometry.from_spacing((4, 8, 9), (5.0, 2.0, 2.0)))
        write_labels(labels, folder / name)
        assert np.array_equal(read_labels(folder / name).labels, labels.labels)
        assert case_name(folder / name) == name.split(".")[0]
    write_volume(volume(), folder / f"{LONG}.nrrd")
    assert np.array_equal(read_volume(folder / f"{LONG}.nrrd").hu, volume().hu)
    write_json(folder / f"{LONG}.json", {"é": 1})
    assert json.loads((folder / f"{LONG}.json").read_text("utf-8")) == {"é": 1}
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


@pytest.mark.skipif(os.name == "nt", reason="Windows allows such paths only where it is set so")
def test_a_store_and_a_model_in_a_long_path(tmp_path):
    from napari_covseg.workflows.models import add_model

    # SQLite opens no file whose path has more than 512 bytes.
    folder = _deep(tmp_path, 5)
    store = new_store(folder / "Спеціальний store")
    store.accept(corrected(store, predicted(store), author="Žoë 患者").id, reader="Ø")
    model = add_model(store, str(model_in(folder, 0)), author="A")
    again = CaseStore.open(store.folder)
    assert again.verify() == []
    assert again.history("case_0001")[-1].author == "Žoë 患者"
    assert load(again.model_folder(model.sha256)).sha256 == model.sha256


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_names_that_are_no_text(tmp_path):
    path = tmp_path / os.fsdecode(b"a\xff\xfe.nii.gz")
    write_volume(volume(), path)
    read = read_volume(path)
    assert read.case == "a__"
    write_json(tmp_path / os.fsdecode(b"\xff.json"), {"path": str(path)})
    assert b"a??" in (tmp_path / os.fsdecode(b"\xff.json")).read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="Windows allows such paths only where it is set so")
def test_commands_in_long_paths(tmp_path, capsys):
    """Names that are as long as a name may be, and one whose results would be longer."""
    from napari_covseg.cli.main import main

    make, folder = request_maker(tmp_path), _deep(tmp_path)
    scan, out = folder / f"{LONG}.nii.gz", folder / "результаты"
    make("a").path.rename(scan)
    assert main(command(scan, tmp_path / "model", out, "--json")) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert (result["case"], listed(out)) == (LONG, [f"{LONG}.json", f"{LONG}_labels.nii.gz"])
    labels = out / f"{LONG}_labels.nii.gz"
    arguments = ["report", str(scan), "--labels", str(labels), "--output", str(out)]
    assert main([*arguments, "--format", "json,csv", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["results"]
    assert told["paths"]
    assert all(LONG in path for path in told["paths"])
    copy = folder / f"{LONG}.seg.nrrd"
    assert main(["export", str(labels), "--format", "seg-nrrd", "--output", str(copy)]) == 0
    assert np.array_equal(read_labels(copy).labels, read_labels(labels).labels)
    capsys.readouterr()

    longer = scan.rename(folder / f"{LONG}12345678.nii.gz")
    assert main(command(longer, tmp_path / "model", out)) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert "12345678" in line
    assert "too long" in line
    assert len([p for p in out.iterdir() if "12345678" in p.name or "tmp" in p.name]) == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows allows such paths only where it is set so")
def test_a_store_whose_path_sqlite_does_not_open(tmp_path):
    folder = tmp_path
    while len(os.fsencode(folder)) < 510:
        folder = folder / ("x" * 40)
    folder.mkdir(parents=True)
    with pytest.raises(InputError, match="too long for its index"):
        new_store(folder / "store")
    assert list((folder / "store").iterdir()) == []
    near = new_store(tmp_path / "store")
    far = near.folder.rename(folder / "moved")
    with pytest.raises(InputError, match="move the store to a shorter path"):
        CaseStore.open(far)
    assert CaseStore.open(far.rename(tmp_path / "back")).cases()[0].name == "case_0001"
