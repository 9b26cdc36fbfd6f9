"""A reader's scores of many cases: read from a CSV, held against what was measured."""

import json

import pytest

from napari_covseg.domain.errors import InputError
from napari_covseg.metrics.agreement import cohens_kappa, icc_agreement
from napari_covseg.reports.findings_content import ReaderScore, Reading
from napari_covseg.workflows.report_agreement import agreement, read_scores, write_agreement
from napari_covseg.workflows.report_request import ReportRequest


def csv_of(folder, text):
    path = folder / "scores.csv"
    path.write_text(text, encoding="utf-8-sig")
    return path


def test_scores_are_read_by_case_and_go_to_that_case_alone(tmp_path):
    path = csv_of(tmp_path, "case,ct25,tss,remark\na,1+0+2+0+1,3,x\nb,,5,\n")
    found = read_scores(path)
    assert found["a"] == (
        ReaderScore("ct_score_25", 4, (1, 0, 2, 0, 1)),
        ReaderScore("total_severity_score", 3),
    )
    assert found["b"] == (ReaderScore("total_severity_score", 5),)
    request = ReportRequest(scores=found, reading=Reading(impression="seen"))
    assert request.reading_of("b") == Reading(impression="seen", scores=found["b"])
    assert request.reading_of("c") == Reading(impression="seen")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("case,age\na,3\n", "some of lss, lhos, ct25, tss, ctss"),
        ("name,tss\na,3\n", "a column case"),
        ("case,tss\n", "a row for each case"),
        ("case,tss\na,21\n", "a: tss 21: expected 0 to 20"),
        ("case,tss\na,many\n", "a: many: expected a number"),
        ("case,tss\na,3\na,4\n", "the case a has two rows"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, text, said):
    with pytest.raises(InputError, match=said):
        read_scores(csv_of(tmp_path, text))


def test_agreement_over_cases(tmp_path):
    reader, measured = (3, 5, 8, 12), (2, 5, 9, 10)
    rows = [
        {"case": str(n), "reader_ct_score_25": a, "ct_score_25": b}
        for n, (a, b) in enumerate(zip(reader, measured, strict=True))
    ]
    rows += [{"case": "cut", "reader_ct_score_25": 4, "ct_score_25": None}, {"case": "failed"}]
    found = agreement(rows)
    assert list(found) == ["ct_score_25"]
    one = found["ct_score_25"]
    assert (one.cases, one.equal) == (4, 1)
    assert one.kappa_quadratic == cohens_kappa(reader, measured, "quadratic")
    assert one.icc_agreement == icc_agreement(list(zip(reader, measured, strict=True)))
    assert one.difference.bias == pytest.approx((1 + 0 - 1 + 2) / 4)  # reader minus measured
    held = json.loads(write_agreement(found, tmp_path).read_text())
    assert held["ct_score_25"]["kappa_quadratic"]["value"] == one.kappa_quadratic.value
    assert agreement([{"case": "a", "ct_score_25": 3}]) == {}
