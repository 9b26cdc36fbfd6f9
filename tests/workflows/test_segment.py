import json
import os
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from napari_covseg import __version__
from napari_covseg.domain.errors import InputError, ModelError, ResourceError, UsageError
from napari_covseg.domain.geometry import Geometry, Reorientation
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.inference.frame import plan_frame
from napari_covseg.io import make_phantom, read_labels, read_volume, write_volume
from napari_covseg.models import zoo
from napari_covseg.models.checkpoint import Model
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.workflows.segment import (
    RESEARCH_USE,
    SegmentSettings,
    input_hash,
    segment,
    segment_file,
)

CPU = SegmentSettings(device="cpu")


class Oracle(nn.Module):
    """Knows the classes of every slice and answers with them in turn."""

    def __init__(self, volume, truth, recipe):
        super().__init__()
        frame = plan_frame(volume, recipe)
        height, width = frame.padded
        classes = np.array([0, 1, 1, 2, 3])[truth[:, *frame.slices]]
        down, right = height - classes.shape[1], width - classes.shape[2]
        self.classes = torch.from_numpy(np.pad(classes, ((0, 0), (0, down), (0, right))))
        self.done = 0

    def forward(self, pixels):
        answer = self.classes[self.done : self.done + len(pixels)]
        self.done += len(pixels)
        return nn.functional.one_hot(answer, 4).permute(0, 3, 1, 2).float() * 50


@pytest.fixture
def oracle(monkeypatch, phantom):
    """The model is replaced by one that knows the phantom; inference copies it for each run."""
    recipe = AxialRecipe(pixel_mm=2.8)
    network = Oracle(phantom.volume, phantom.labels.labels, recipe)
    model = Model("oracle", "1", "f" * 64, network, recipe, {})
    monkeypatch.setattr(zoo, "load", lambda name: model)
    return model


@pytest.fixture(scope="module")
def phantom():
    return make_phantom((40, 128, 128), (7.5, 2.8, 2.8))


def test_phantom_is_segmented_with_sides(oracle, phantom):
    result = run_to_end(segment(phantom.volume, CPU))
    found, truth = result.labels.labels, phantom.labels.labels
    # All that was told comes back on its side; only holes (vessels) were added.
    assert np.array_equal(found[truth > 0], truth[truth > 0])
    assert ((found > 0) & (truth == 0)).sum() < 0.02 * (truth > 0).sum()
    assert result.labels.geometry is phantom.volume.geometry
    lung_ml = sum(phantom.volumes_ml.values())
    assert result.measurements.both.lung_ml == pytest.approx(lung_ml, rel=0.02)
    assert result.measurements.both.ggo_ml == pytest.approx(phantom.volumes_ml[Label.GGO])


def test_a_model_that_cannot_tell_lesions_apart_marks_infection(oracle, phantom, monkeypatch):
    told = run_to_end(segment(phantom.volume, CPU))
    monkeypatch.setattr(
        zoo, "load", lambda name: replace(oracle, card={"tells_lesions_apart": False})
    )
    oracle.network.done = 0
    found = run_to_end(segment(phantom.volume, CPU))
    lesions = np.isin(told.labels.labels, (Label.GGO, Label.CONSOLIDATION))
    assert set(np.unique(found.labels.labels)) == {0, 1, 2, Label.INFECTION}
    assert np.array_equal(found.labels.labels == Label.INFECTION, lesions)
    both, before = found.measurements.both, told.measurements.both
    assert (both.ggo_ml, both.consolidation_ml) == (0, 0)
    assert both.lesions_percent == before.lesions_percent > 0
    assert "do not say which lesions are GGO" in " ".join(found.warnings)
    assert not any("GGO" in warning for warning in told.warnings)


def test_provenance_names_everything_and_no_patient(oracle, phantom):
    result = run_to_end(segment(phantom.volume, CPU))
    about = result.provenance
    assert about["software_version"] == __version__
    assert about["model"] == {"name": "oracle", "version": "1", "sha256": "f" * 64}
    assert about["device"]["name"] == "cpu"
    assert about["settings"] == {"model": "oracle", "device": "cpu", "flips": "none"}
    assert about["input"]["shape_zyx"] == [40, 128, 128]
    assert about["input"]["spacing_zyx_mm"] == [7.5, 2.8, 2.8]
    assert about["input"]["sha256"] == input_hash(phantom.volume)
    json.dumps(about, allow_nan=False)


def test_hash_changes_with_a_voxel_and_with_the_affine_but_not_with_memory_order(phantom):
    volume = phantom.volume
    changed = volume.hu.copy()
    changed[3, 4, 5] += 1
    moved = Geometry(volume.geometry.shape, np.diag([2.8, 2.8, 7.5001, 1.0]))
    hashes = {
        input_hash(volume),
        input_hash(replace(volume, hu=changed)),
        input_hash(replace(volume, geometry=moved)),
        input_hash(replace(volume, hu=volume.hu.astype(np.float32))),
    }
    assert len(hashes) == 4
    assert input_hash(replace(volume, hu=np.asfortranarray(volume.hu))) == input_hash(volume)


def test_warnings_of_reader_and_result_are_gathered(oracle, phantom):
    volume = replace(phantom.volume, warnings=("slices were resampled",))
    warnings = run_to_end(segment(volume, CPU)).warnings
    assert warnings[0] == "slices were resampled"
    assert "Pixels are 2.8 mm large" in warnings[1]
    assert len(warnings) == 2


def test_same_input_same_output(oracle, phantom):
    once, again = (run_to_end(segment(phantom.volume, CPU)) for _ in range(2))
    assert np.array_equal(once.labels.labels, again.labels.labels)
    assert once.measurements == again.measurements
    assert once.provenance == again.provenance


TURNS = [
    Reorientation(),
    Reorientation((0, 1, 2), (True, True, False)),
    Reorientation((0, 1, 2), (False, False, True)),
    Reorientation((2, 0, 1), (True, False, True)),
]


@pytest.mark.parametrize("to_native", TURNS)
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_file_to_file_keeps_the_files_grid_and_sides(oracle, phantom, to_native, suffix, tmp_path):
    """Flipped, permuted and oblique files: label map in the same grid, left stays left."""
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    geometry = Geometry(phantom.volume.geometry.shape, turn @ phantom.volume.geometry.affine)
    volume = replace(phantom.volume, geometry=geometry, to_native=to_native)
    path = write_volume(volume, tmp_path / f"scan{suffix}")
    done = run_to_end(segment_file(path, tmp_path / "out", CPU))
    assert done.labels_path == tmp_path / "out" / "scan_labels.nii.gz"
    back = read_labels(done.labels_path)
    assert back.geometry.same_as(geometry)
    assert back.to_native == to_native
    assert np.array_equal(back.labels, done.result.labels.labels)
    truth = phantom.labels.labels
    assert np.array_equal(back.labels[truth > 0], truth[truth > 0])
    assert read_volume(path).geometry.same_as(back.geometry)


def test_json_beside_the_label_map(oracle, phantom, tmp_path):
    path = write_volume(phantom.volume, tmp_path / "scan_0000.nii.gz")
    done = run_to_end(segment_file(path, tmp_path, CPU))
    assert done.json_path == tmp_path / "scan.json"
    report = json.loads(done.json_path.read_text())
    assert report == done.report
    assert report["case"] == "scan"
    assert report["labels_file"] == "scan_labels.nii.gz"
    assert report["notice"] == RESEARCH_USE
    assert report["measurements"]["both"]["lung_ml"] == done.result.measurements.both.lung_ml
    assert report["provenance"]["input"]["format"] == "NIfTI"


def test_case_name_can_be_given(oracle, phantom, tmp_path):
    path = write_volume(phantom.volume, tmp_path / "scan.nii.gz")
    done = run_to_end(
        segment_file(path, tmp_path / "out", CPU, name_case=lambda name: f"{name}-other")
    )
    assert sorted(os.listdir(tmp_path / "out")) == ["scan-other.json", "scan-other_labels.nii.gz"]
    assert done.report["case"] == "scan-other"


def test_cancelling_leaves_no_file(oracle, phantom, tmp_path):
    path = write_volume(phantom.volume, tmp_path / "scan.nii.gz")
    total = len(list(segment_file(path, tmp_path / "whole", CPU)))
    for stop_after in (1, total // 2, total):
        steps = segment_file(path, tmp_path / "out", CPU)
        for _ in range(stop_after):
            next(steps)
        steps.close()
        assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize("culprit", ["_write", "atomic"])
def test_full_disk_leaves_no_file(oracle, phantom, tmp_path, monkeypatch, culprit):
    from napari_covseg.io import write

    path = write_volume(phantom.volume, tmp_path / "scan.nii.gz")

    def full(*args, **kwargs):
        raise ResourceError("scan_labels.nii.gz: the disk is full")

    monkeypatch.setattr(write, "_write" if culprit == "_write" else "atomic_file", full)
    with pytest.raises(ResourceError, match="disk is full"):
        run_to_end(segment_file(path, tmp_path / "out", CPU))
    assert os.listdir(tmp_path / "out") == []


def test_output_that_is_a_file_is_wrong_usage(oracle, phantom, tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(UsageError, match="expects a folder"):
        run_to_end(segment_file(tmp_path / "scan.nii.gz", tmp_path / "out", CPU))


def test_unreadable_input_is_an_input_error(oracle, tmp_path):
    (tmp_path / "scan.nii.gz").write_bytes(b"")
    with pytest.raises(InputError):
        run_to_end(segment_file(tmp_path / "scan.nii.gz", tmp_path / "out", CPU))


def test_memory_that_runs_out_is_a_resource_error(oracle, phantom, monkeypatch):
    from napari_covseg.inference import postprocess

    def full(*args):
        raise MemoryError

    monkeypatch.setattr(postprocess, "_side_field", full)
    with pytest.raises(ResourceError, match="not enough memory"):
        run_to_end(segment(phantom.volume, CPU))


def test_model_and_settings_that_do_not_exist(phantom):
    with pytest.raises(ModelError):
        run_to_end(segment(phantom.volume, SegmentSettings(model="/nowhere", device="cpu")))
    with pytest.raises(UsageError, match="unknown flips"):
        SegmentSettings(flips="sideways")
    with pytest.raises(UsageError, match="unknown device"):
        run_to_end(segment(phantom.volume, SegmentSettings(device="tpu")))


def test_model_from_a_folder(model_folder, phantom):
    settings = SegmentSettings(model=str(model_folder), device="cpu", flips="left-right")
    result = run_to_end(segment(phantom.volume, settings))
    assert result.provenance["model"]["name"] == "tiny"
    assert result.provenance["settings"]["flips"] == "left-right"
    assert torch.is_grad_enabled()


def test_progress_has_few_messages_and_never_exceeds_its_total(oracle, phantom):
    steps = list(segment(phantom.volume, CPU))
    assert all(0 <= step.done <= step.total for step in steps)
    assert steps[0].message == "loading the model"
    assert len({step.message for step in steps}) <= 6


@pytest.mark.parametrize("work", ["workflows.segment.input_hash", "inference.plausibility.check"])
def test_what_fails_beside_the_rest_fails_the_run(work, oracle, phantom, monkeypatch):
    def no_memory(*_):
        raise MemoryError

    monkeypatch.setattr(f"napari_covseg.{work}", no_memory)
    with pytest.raises(ResourceError, match="not enough memory"):
        run_to_end(segment(phantom.volume, CPU))


def test_closing_while_the_hash_is_made_waits_for_nothing(oracle, phantom, monkeypatch):
    go_on = threading.Event()
    monkeypatch.setattr("napari_covseg.workflows.segment.input_hash", lambda _: str(go_on.wait(60)))
    steps = segment(phantom.volume, CPU)
    try:
        assert any(step.message.startswith("telling left") for step in steps)
        steps.close()
        assert not go_on.is_set()
    finally:
        go_on.set()
