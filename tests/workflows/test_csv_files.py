"""No table that a spreadsheet opens holds a formula made of the name of somebody's file."""

from __future__ import annotations

import csv
from datetime import UTC, datetime

from napari_covseg.cases.effort_records import CaseEffort, Effort
from napari_covseg.workflows.effort import write_effort_csv
from napari_covseg.workflows.report_cases import write_cases

BAD = '=HYPERLINK("http://example.org")'


def test_many_cases(tmp_path):
    path = write_cases([{"case": BAD, "mean_hu": -812.5, "warnings": "-1 slice"}], tmp_path)
    (row,) = csv.DictReader(path.open(newline=""))
    assert (row["case"], row["mean_hu"], row["warnings"]) == (f"'{BAD}", "-812.5", "'-1 slice")


def test_effort(tmp_path):
    one = CaseEffort(
        case=BAD, patient="patient_0001", accepted=datetime(2026, 1, 1, tzinfo=UTC), by="@SUM(A1)",
        people=("@SUM(A1)",), model=None, minutes=None, slices=3, edited_voxels=None,
        edited_ml=None, dice={}, problem="",
    )  # fmt: skip
    path = write_effort_csv(Effort((one,), (), ()), tmp_path / "effort.csv")
    (row,) = csv.DictReader(path.open(newline=""))
    assert (row["case"], row["accepted_by"], row["people"]) == (f"'{BAD}", "'@SUM(A1)", "'@SUM(A1)")
