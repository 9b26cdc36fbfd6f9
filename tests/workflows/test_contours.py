"""An RTSTRUCT goes out by export, and comes in wherever a label map does, onto its CT."""

from __future__ import annotations

import numpy as np
import pytest
from label_phantom import label_map, series

from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import InputError, UsageError
from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io import read_labels, read_volume, write_labels
from napari_covseg.quantify.volumes import measure
from napari_covseg.workflows.dataset_add import AddRequest, add_cases, add_labels
from napari_covseg.workflows.evaluate import EvaluateSettings, evaluate
from napari_covseg.workflows.export import ExportSettings, export
from napari_covseg.workflows.quantify import quantify_files


@pytest.fixture
def scan(tmp_path):
    """A series, its labels, and the RTSTRUCT that export wrote of them."""
    folder, centre = series(tmp_path / "ct")
    volume = read_volume(folder)
    labels = LabelMap.like(volume, label_map(volume.geometry, centre).labels)
    path = write_labels(labels, tmp_path / f"{volume.case}_labels.nii.gz")
    settings = ExportSettings("rtstruct", made_by="corrected", person="Roe^Ann")
    result = run_to_end(export(path, tmp_path, settings, folder))
    assert result.paths == (tmp_path / f"{volume.case}_rtstruct.dcm",)
    assert result.warnings == ()
    return folder, labels, result.paths[0], path


def test_it_goes_back_to_nifti_with_its_scan(scan, tmp_path):
    folder, labels, contours, _ = scan
    output = tmp_path / "back.nii.gz"
    run_to_end(export(contours, output, ExportSettings("nifti"), folder))
    assert np.array_equal(read_labels(output).labels, labels.labels)
    with pytest.raises(InputError, match="no voxels of their own"):
        run_to_end(export(contours, output, ExportSettings("nifti")))
    with pytest.raises(UsageError, match="rtstruct needs --source"):
        run_to_end(export(output, tmp_path, ExportSettings("rtstruct")))


def test_it_is_evaluated_on_the_grid_of_the_other(scan, tmp_path):
    _, _, contours, path = scan
    for name, file in (("drawn", contours), ("made", path)):
        (tmp_path / name).mkdir()
        (tmp_path / name / file.name).write_bytes(file.read_bytes())
    settings = EvaluateSettings(surface=False)
    for first, second in (("made", "drawn"), ("drawn", "made")):
        result = run_to_end(evaluate(tmp_path / first, tmp_path / second, settings))
        (case,) = result.scores
        assert not result.errors
        assert case.figures("ggo")["dice"] == 1.0
    both = run_to_end(evaluate(tmp_path / "drawn", tmp_path / "drawn", settings))
    assert "no voxels of their own" in str(next(iter(both.errors.values())))


def test_it_is_measured_on_its_scan(scan):
    folder, labels, contours, _ = scan
    found = run_to_end(quantify_files(contours, folder))
    assert found.parts["both"].ggo.ml == pytest.approx(measure(labels).both.ggo_ml)


def test_it_comes_into_a_store(scan, tmp_path):
    folder, labels, contours, _ = scan
    store = CaseStore.create(tmp_path / "store", author="Ann")
    request = AddRequest((folder,), "Ann", labels=contours)
    (added,) = run_to_end(add_cases(store, request))
    assert added.error is None
    held = store.labels(store.case(added.case).newest)
    assert np.array_equal(held.labels, labels.labels)
    later = CaseStore.create(tmp_path / "later", author="Ann")
    (bare,) = run_to_end(add_cases(later, AddRequest((folder,), "Ann")))
    version = add_labels(later, bare.case, contours, author="Ann")
    assert np.array_equal(later.labels(version.id).labels, labels.labels)
