"""Two scans from files to what changed: JSON, CSV, map and page."""

import csv
import json
from dataclasses import replace
from datetime import date
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
from napari_covseg.io import read_volume, write_labels, write_volume
from napari_covseg.quantify.change_figures import STATES
from napari_covseg.quantify.mapping import Mapping
from napari_covseg.reports.change_page import change_document
from napari_covseg.reports.change_pictures import change_picture, views_of
from napari_covseg.reports.document_html import document_html
from napari_covseg.workflows.change import (
    ChangeSettings,
    ScanFiles,
    _patient_notes,
    change_files,
    compare,
    days_between,
)

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
    assert rows["pair", "scans", "interval", "days"]["fit"] == ""
    assert rows["lesion", "1", "change_ml", "ml"]["note"] == "new"
    rest = [row for row in rows.values() if row["group"] in ("part", "lobe_approximate", "lesion")]
    assert {row["fit"] for row in rest} == {"good"}
    alone = rows["prior_scan", "both", "lesions", "ml"]
    assert float(alone["value"]) == content["prior"]["both"]["lesions_ml"]
    assert alone["fit"] == ""
    assert content["lobes_from"] == "approximate"
    assert ("lobe_approximate", "right_middle", "appeared", "ml") in rows
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


def ct(folder, **header):
    path, _ = series(folder, ORIENTATIONS["axial"], **header)
    return path


def test_days_come_from_the_headers(tmp_path):
    now, before, undated = (
        read_volume(ct(tmp_path / name, StudyDate=day))
        for name, day in (("now", "20200301"), ("before", "20200201"), ("undated", ""))
    )
    assert days_between(before, now) == 29
    assert days_between(now, before) == -29
    assert days_between(undated, now) is None
    assert "2020" not in repr(now)
    later = ct(tmp_path / "later", StudyDate="20200301", AcquisitionDate="20200302")
    assert days_between(before, read_volume(later)) == 30


def test_days_that_are_given_go_before_those_of_the_headers():
    current, prior = (scan(grid(), lesions) for lesions in (NOW, BEFORE))
    dated = [
        (replace(volume, taken=date(2020, month, 1)), labels)
        for month, (volume, labels) in ((3, current), (2, prior))
    ]
    assert run_to_end(compare(*dated)).change.interval_days == 29
    assert run_to_end(compare(*dated, interval_days=5)).change.interval_days == 5


def test_other_patients_are_noticed_but_not_a_missing_id(tmp_path):
    one, same = (ScanFiles(ct(tmp_path / name)) for name in ("one", "same"))
    other, unnamed = (
        ScanFiles(ct(tmp_path / (name or "unnamed"), PatientID=name)) for name in ("other", "")
    )
    assert _patient_notes(one, same) == ()
    assert _patient_notes(one, unnamed) == ()
    (note,) = _patient_notes(one, other)
    assert "not of one patient" in note
    assert "4711" not in note


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
