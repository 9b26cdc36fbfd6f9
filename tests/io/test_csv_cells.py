import pytest

from napari_covseg.io.csv_cells import csv_cell


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "-", "-case"]
)
def test_what_would_be_run_becomes_text(text):
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["-1.5", "+3", "-inf", "case_1", "a=b", "", -2, 1.5, None])
def test_the_rest_stays(value):
    assert csv_cell(value) is value
