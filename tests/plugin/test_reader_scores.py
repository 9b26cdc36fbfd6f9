"""A reader's scores against the measured ones."""

import pytest
from block_lungs import blocks, measured

from napari_covseg.domain.labels import Label
from napari_covseg.plugin.reader_scores import ReaderScores, agreement_text, part_names


@pytest.fixture(scope="module")
def result():
    labels = blocks()
    labels[2:14, 10:50, 60:80] = Label.GGO
    return measured(labels)


def test_parts_are_read_right_before_left():
    assert part_names("ct_score_25")[0] == "right_upper"
    assert part_names("ct_score_25")[-1] == "left_lower"
    assert len(part_names("ct_severity_score")) == 20


def test_agreement_says_both_sums_and_kappa(result):
    ours = dict(result.scores["ct_score_25"].parts)
    assert ours["right_upper"] == 0
    assert ours["left_lower"] > 0
    same = agreement_text(ReaderScores("ct_score_25", ours), result)
    total = sum(ours.values())
    assert same.startswith(f"Yours {total}, measured {total} of 25. Same points in 5 of 5 lobes")
    assert "(quadratic) 1.00" in same
    other = {**ours, "right_upper": 2, "right_middle": 1}
    text = agreement_text(ReaderScores("ct_score_25", other), result)
    assert text.startswith(f"Yours {total + 3}, measured {total} of 25. Same points in 3 of 5")
    assert "one apart in 1, more in 1." in text
    assert "(quadratic) 1.00" not in text


def test_parts_not_read_are_left_out(result):
    text = agreement_text(ReaderScores("ct_score_25", {"left_lower": 0}), result)
    assert "over the 1 lobes you read" in text
    assert "Same points in 0 of 1" in text


def test_what_is_missing_is_said(result):
    assert "Choose your points" in agreement_text(ReaderScores("ct_score_25", {}), result)
    assert "Nothing is measured" in agreement_text(
        ReaderScores("ct_score_25", {"left_lower": 1}), None
    )
    one_lung = blocks()
    one_lung[one_lung == Label.LEFT_LUNG] = 0
    text = agreement_text(ReaderScores("ct_score_25", {"left_lower": 1}), measured(one_lung))
    assert "no left lung was found" in text
