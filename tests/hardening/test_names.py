"""Names that are not ASCII, very long, or the commands of a spreadsheet."""

import json
import os
import sys

import numpy as np
import pytest
from kill_actions import model_in
from label_phantom import label_map
from small_stores import corrected, new_store, predicted, volume

from napari_covseg.cases.store import CaseStore
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
