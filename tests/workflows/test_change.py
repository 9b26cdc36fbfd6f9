"""Two scans from files to what changed: JSON, CSV, map and page."""

import csv
import json
from dataclasses import replace
from io import BytesIO, StringIO

import numpy as np
import pytest
from label_phantom import ORIENTATIONS, series
from PIL import Image
from two_scans import Ball, affine, grid, scan

from napari_covseg.domain.change import ChangeLabel
from napari_covseg.domain.errors import InputError, UsageError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.io import write_labels, write_volume
from napari_covseg.quantify.change_figures import STATES
from napari_covseg.quantify.mapping import Mapping
from napari_covseg.reports.change_page import change_document
from napari_covseg.reports.change_pictures import change_picture, views_of
from napari_covseg.reports.document_html import document_html
from napari_covseg.workflows.change import ChangeSettings, ScanFiles, _pair, change_files

MOVED = affine((0, 0, 6), (1.0, 1.0, 1.05), (8, -5, 9))
NOW = (Ball(Label.GGO, (33.3, 0.4, 20.7), 10), Ball(Label.CONSOLIDATION, (-35, 10, -20), 9))
BEFORE = (Ball(Label.GGO, (-35, 10, -20), 9), Ball(Label.CONSOLIDATION, (36, 8, -28), 7))
WIDE = grid((2.5, 2.5, 3), (0, 5, 0), (-1, -1, 1), (8, -5, 9), (170, 130, 190))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    found = []
    for name, grid_, lesions, matrix in (
        ("march", grid(), NOW, None),
        ("january", WIDE, BEFORE, MOVED),
    ):
        volume, labels = scan(grid_, lesions, matrix)
        ct = write_volume(volume, folder / f"{name}.nii.gz")
        found.append(ScanFiles(ct, write_labels(labels, folder / f"{name}_labels.nii.gz")))
    return tuple(found)


@pytest.fixture(scope="module")
def result(files, tmp_path_factory):
    output = tmp_path_factory.mktemp("out")
    return run_to_end(change_files(*files, output, ChangeSettings(interval_days=61)))


def test_every_file_is_written_and_says_the_same(result):
    html, plain, table, _ = result.paths
    assert [path.name for path in result.paths] == [
        "march_change.html", "march_change.json", "march_change.csv", "march_change.nii.gz",
    ]  # fmt: skip
    content = json.loads(plain.read_text())
    both = content["parts"]["both"]
    rows = {
        (row["group"], row["name"], row["figure"], row["unit"]): row
        for row in csv.DictReader(StringIO(table.read_text()))
    }
    appeared = both["states"]["appeared"]["ml"]
    assert float(rows["part", "both", "appeared", "ml"]["value"]) == appeared
    assert appeared == pytest.approx(NOW[0].ml, rel=0.15)
    assert both["states"]["to_consolidation"]["ml"] == pytest.approx(NOW[1].ml, rel=0.25)
    assert rows["pair", "scans", "interval", "days"]["value"] == "61"
    assert rows["lesion", "1", "change_ml", "ml"]["note"] == "new"
    assert content["registration"]["verdict"] == "good"
    assert content["lesions"]["counts"] == {"new": 1, "matched": 1, "stable": 1, "resolved": 1}
    assert content["notice"].startswith("Research use only")
    page = html.read_text()
    assert "61 days before" in page
    assert "data:image/jpeg" in page
    assert 'src="http' not in page


def test_the_map_lies_on_the_current_scan(result, files):
    import nibabel as nib

    map_, current = nib.load(result.paths[3]), nib.load(files[0].labels)
    assert np.allclose(map_.affine, current.affine)
    values, labels = np.asarray(map_.dataobj), np.asarray(current.dataobj)
    appeared = values == ChangeLabel.APPEARED
    assert (labels[appeared] >= Label.GGO).all()
    assert (labels[values == ChangeLabel.RESOLVED] < Label.GGO).all()
    turned = labels[values == ChangeLabel.TO_CONSOLIDATION]
    assert len(turned)
    assert (turned == Label.CONSOLIDATION).all()


def test_files_that_do_not_belong_together_are_refused(files, tmp_path):
    current, prior = files
    with pytest.raises(UsageError, match="the same scan"):
        run_to_end(change_files(current, current, tmp_path))
    wrong = ScanFiles(prior.ct, current.labels)
    with pytest.raises(InputError, match=r"march_labels.nii.gz: not on the grid of january"):
        run_to_end(change_files(current, wrong, tmp_path))


def test_days_come_from_the_headers_and_other_patients_are_noticed(tmp_path):
    now, _ = series(tmp_path / "now", ORIENTATIONS["axial"], StudyDate="20200301")
    before, _ = series(tmp_path / "before", ORIENTATIONS["axial"], StudyDate="20200201")
    other, _ = series(tmp_path / "other", ORIENTATIONS["axial"], PatientID="other", StudyDate="")
    settings = ChangeSettings()
    assert _pair(ScanFiles(now), ScanFiles(before), settings) == (29, ())
    assert _pair(ScanFiles(before), ScanFiles(now), settings) == (-29, ())
    days, notes = _pair(ScanFiles(now), ScanFiles(other), settings)
    assert days is None
    assert "not of one patient" in notes[0]
    assert "4711" not in notes[0]
    assert _pair(ScanFiles(now), ScanFiles(before), ChangeSettings(interval_days=5)) == (5, ())


def test_a_poor_fit_is_written_over_all_that_rests_on_it(result):
    def page(verdict):
        fit = replace(result.change.registration, verdict=verdict)
        return document_html(
            change_document(replace(result.change, registration=fit), None, "1", "")
        )

    good, poor = page("good"), page("poor")
    assert "not to be relied on" not in good
    assert '<p class="strong">Poor fit of the lungs' in poor
    assert "<h2>The same lung in both scans: not to be relied on</h2>" in poor
    assert poor.count("<span>the lungs do not fit</span>") == len(STATES)


def test_a_poor_fit_is_written_into_the_pictures():
    volume, labels = scan(grid(), NOW)
    change = np.where(labels.labels == Label.GGO, np.uint8(ChangeLabel.APPEARED), np.uint8(0))
    views = views_of(labels, volume, volume, Mapping(np.eye(4)), change)
    good, poor = (
        np.asarray(Image.open(BytesIO(change_picture(views, poor=poor))), np.int16)
        for poor in (False, True)
    )
    third = good.shape[1] // 3
    for column, written in enumerate((True, False, True)):
        part = slice(column * third + 4, (column + 1) * third - 4)
        assert (np.abs(good[:, part] - poor[:, part]).max() > 100) == written
