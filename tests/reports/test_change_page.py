"""The words of the page of change."""

import pytest

from napari_covseg.quantify.lesion_changes import LesionChange
from napari_covseg.reports.change_page import _days, became, signed


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0"), (-0.04, "0"), (0.26, "+0.3"), (-3.14, "−3.1"), (1234.4, "+1234")],
)
def test_differences_have_a_sign(value, text):
    assert signed(value) == text


def _lesion(kind, trend):
    none = (None,) * 6
    return LesionChange(kind, trend, (1,), (1,), *none, "left", (0.0, 0.0, 0.0), 0)


@pytest.mark.parametrize(
    ("kind", "trend", "text"),
    [
        ("matched", "grown", "grown"),
        ("new", "", "new"),
        ("merged", "shrunk", "merged, shrunk"),
        ("not_compared", "", "not compared"),
    ],
)
def test_what_became_of_a_lesion(kind, trend, text):
    assert became(_lesion(kind, trend)) == text


def test_days():
    assert _days(None) == ""
    assert _days(1) == ", 1 day before"
    assert _days(61) == ", 61 days before"
    assert _days(-2) == ", 2 days after"
