import base64
import re
from dataclasses import replace

from crossval_contents import three_folds

from napari_covseg.reports.html import RESEARCH_USE, number, report_html


def cells(html: str, first: str) -> list[str]:
    """The cells of the first row that begins with ``first``."""
    row = re.search(rf"<tr[^>]*><td>{re.escape(first)}</td>(.*?)</tr>", html)
    assert row is not None
    return re.findall(r"<td>(.*?)</td>", row[1])


def test_it_stands_alone() -> None:
    html = report_html(three_folds(), {"box_plots": b"\x89PNG-something"})
    assert re.findall(r'(?:src|href)="(?!data:)', html) == []
    assert "<script" not in html
    assert "http" not in html
    (encoded,) = re.findall(r'src="data:image/png;base64,([^"]*)"', html)
    assert base64.b64decode(encoded) == b"\x89PNG-something"


def test_it_says_what_it_is_for_and_how_it_was_made() -> None:
    html = report_html(three_folds(), {})
    assert RESEARCH_USE in html
    assert "seed 7" in html
    assert "What these data cannot show" in html
    assert "without post-processing" in html


def test_figures_are_those_of_the_tables() -> None:
    html = report_html(three_folds(), {})
    infection = html[html.index("<h3>Infection") :]
    assert cells(infection, "Fold 1") == ["2", "3", "0.500", "0.500", "0.667", "0.500", "0.970"]
    assert cells(infection, "Mean of folds")[2] == "0.650"
    assert cells(infection, "Mean of patients")[:3] == ["3", "4", "0.600"]
    assert cells(infection, "Fold 3")[2] == "–"
    assert "<h3>GGO" not in html


def test_a_failed_fold_is_said_first() -> None:
    html = report_html(three_folds(), {})
    assert "1 of 3 folds failed" in html
    assert html.index("Fold 3: the loss is no longer a number") < html.index("<table>")
    fine = replace(three_folds(), folds=three_folds().folds[:2])
    assert "failed" not in report_html(fine, {}).split("</style>")[1]


def test_text_is_no_markup() -> None:
    html = report_html(replace(three_folds(), datasets=("<b>x</b>",)), {})
    assert "<b>x</b>" not in html
    assert "&lt;b&gt;x" in html
    assert "2 &lt; 3" in html


def test_numbers() -> None:
    assert number(0.12345) == "0.123"
    assert number(0.99951) == "0.9995"
    assert number(0.999999) == "0.9999"
    assert number(1.0) == "1.000"
    assert number(float("nan")) == "–"
