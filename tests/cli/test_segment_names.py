"""The same DICOM series twice: names go by the order of the inputs, not by who is read first."""

import json
import shutil
import time

import numpy as np
import pytest
from dicom_maker import image
from segment_command import command, listed

from napari_covseg.cli.main import main
from napari_covseg.workflows import segment_many


@pytest.fixture
def copies(tmp_path):
    """Three folders with one series each; the first two hold the same, but for the voxels."""
    for name, uid, level in (("a", "1.2.3.4", 0), ("b", "1.2.3.4", 300), ("c", "1.2.3.5", 0)):
        (tmp_path / "in" / name).mkdir(parents=True)
        for z in range(6):
            hu = np.full((16, 16), level - 800, np.int16)
            one = image(hu, (0, 0, 20.0 * z), spacing=(20.0, 20.0), StudyInstanceUID=uid)
            one.SeriesInstanceUID = f"{uid}.1"
            one.save_as(tmp_path / "in" / name / f"{z}.dcm", enforce_file_format=True)
    return tmp_path / "in"


@pytest.fixture
def slow_first(monkeypatch):
    """Reading the first takes longer than all the others together."""
    real = segment_many._read

    def slow(request):
        if request.path.name == "a":
            time.sleep(1.0)
        return real(request)

    monkeypatch.setattr(segment_many, "_read", slow)


def run(capsys, *arguments):
    """Each input's name, and whether it was done before."""
    assert main(command(*arguments, "--json")) == 0
    found = json.loads(capsys.readouterr().out)["results"]
    return {one["input"].rsplit("/", 1)[-1]: (one["case"], one["done_before"]) for one in found}


def first_hash(copies, out, case):
    return json.loads((out / f"{case}.json").read_text())["provenance"]["input"]["sha256"]


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_the_first_input_has_the_name(copies, model_folder, tmp_path, capsys, slow_first, jobs):
    out = tmp_path / "out"
    found = run(capsys, copies, model_folder, out, "--jobs", jobs)
    first, third = found["a"][0], found["c"][0]
    assert found == {"a": (first, False), "b": (f"{first}_2", False), "c": (third, False)}
    assert third != first
    a, b = (first_hash(copies, out, case) for case in (first, f"{first}_2"))
    assert a != b
    assert len(listed(out)) == 6

    # Again: all are done, without reading one; also those that are asked for alone.
    before = {one: (name, True) for one, (name, _) in found.items()}
    assert run(capsys, copies, model_folder, out, "--jobs", jobs) == before
    assert run(capsys, copies / "b", model_folder, out) == {"b": before["b"]}
    (out / f"{first}.json").unlink()
    again = run(capsys, copies, model_folder, out, "--jobs", jobs)
    assert again == {**before, "a": (first, False)}
    (out / f"{first}_2_labels.nii.gz").write_bytes(b"")
    again = run(capsys, copies, model_folder, out, "--jobs", jobs)
    assert again == {**before, "b": (f"{first}_2", False)}
    assert [first_hash(copies, out, case) for case in (first, f"{first}_2")] == [a, b]


def test_a_name_is_kept_while_no_input_before_it_has_it(
    copies, model_folder, tmp_path, capsys, slow_first
):
    out = tmp_path / "out"
    ((first, _),) = run(capsys, copies / "b", model_folder, out).values()
    found = run(capsys, copies, model_folder, out, "--jobs", "2")
    assert (found["a"], found["b"]) == ((first, False), (f"{first}_2", False))
    # In the other order each keeps what it has.
    arguments = command(copies / "b", model_folder, out, "--json")
    arguments.insert(2, str(copies / "a"))
    assert main(arguments) == 0
    told = json.loads(capsys.readouterr().out)["results"]
    assert [(one["case"], one["done_before"]) for one in told] == [
        (f"{first}_2", True),
        (first, True),
    ]


def test_one_that_cannot_be_read_holds_nobody_up(copies, model_folder, tmp_path, capsys):
    shutil.rmtree(copies / "c")
    for file in (copies / "a").iterdir():
        file.write_bytes(file.read_bytes()[:700])
    arguments = command(copies / "a", model_folder, tmp_path / "out", "--json")
    arguments.insert(2, str(copies / "b"))
    assert main(arguments) == 3
    (told,) = json.loads(capsys.readouterr().out)["results"]
    assert not told["case"].endswith("_2")


def test_a_file_called_as_a_series_before_it(
    copies, scan, model_folder, tmp_path, capsys, slow_first
):
    ((name, _),) = run(capsys, copies / "a", model_folder, tmp_path / "first").values()
    file = shutil.copy(scan, tmp_path / f"{name}.nii.gz")
    arguments = command(copies / "a", model_folder, tmp_path / "out", "--json")
    arguments.insert(2, str(file))
    assert main(arguments) == 0
    told = json.loads(capsys.readouterr().out)["results"]
    assert [one["case"] for one in told] == [name, f"{name}_2"]
