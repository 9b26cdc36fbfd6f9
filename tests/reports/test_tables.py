import csv
import math
from dataclasses import replace

import numpy as np
import pytest
from crossval_contents import counts, measured, three_folds

from napari_covseg.metrics.summary import bootstrap_interval
from napari_covseg.reports.crossval_content import CrossvalContent
from napari_covseg.reports.tables import (
    Row,
    case_dice,
    cases_csv,
    class_table,
    summary,
    table_csv,
)


def rows(content: CrossvalContent, name: str = "infection") -> dict[str, Row]:
    return {row.name: row for row in class_table(content, name)}


def test_folds_average_patients_not_cases() -> None:
    found = rows(three_folds())
    # Patient 1: (0.5 + 1.0) / 2; patient 2: 0.25.
    assert found["Fold 1"].values["dice"] == pytest.approx(0.5)
    assert found["Fold 1"].values["median_dice"] == pytest.approx(0.5)
    # All voxels: 2 * 16 / (2 * 16 + 8 + 8).
    assert found["Fold 1"].values["pooled_dice"] == pytest.approx(2 / 3)
    assert found["Fold 1"].values["sensitivity"] == pytest.approx(0.5)
    assert (found["Fold 1"].patients, found["Fold 1"].cases) == (2, 3)
    assert found["Fold 2"].values["dice"] == pytest.approx(0.8)
    assert found["Fold 2"].values["specificity"] == pytest.approx(88 / 90)


def test_a_failed_fold_counts_nowhere() -> None:
    found = rows(three_folds())
    assert (found["Fold 3"].patients, found["Fold 3"].cases) == (0, 0)
    assert math.isnan(found["Fold 3"].values["dice"])
    assert found["Mean of folds"].values["dice"] == pytest.approx(0.65)
    assert found["Median of folds"].values["dice"] == pytest.approx(0.65)
    assert found["SD of folds"].values["dice"] == pytest.approx(0.3 / math.sqrt(2))


def test_over_patients() -> None:
    found = rows(three_folds())
    patients = [0.75, 0.25, 0.8]
    mean = found["Mean of patients"]
    assert (mean.patients, mean.cases) == (3, 4)
    assert mean.values["dice"] == pytest.approx(0.6)
    assert mean.values["pooled_dice"] == pytest.approx(2 * 24 / (2 * 24 + 10 + 10))
    assert found["Median of patients"].values["dice"] == pytest.approx(0.75)
    assert found["SD of patients"].values["dice"] == pytest.approx(np.std(patients, ddof=1))
    low, high = bootstrap_interval(patients)
    assert found["95 % interval, from"].values["dice"] == pytest.approx(low)
    assert found["95 % interval, to"].values["dice"] == pytest.approx(high)
    assert math.isnan(found["SD of patients"].values["pooled_dice"])


def test_a_class_that_only_one_case_marks() -> None:
    found = rows(three_folds(), "lung")
    assert found["Mean of patients"].values["dice"] == pytest.approx(0.9)
    assert (found["Mean of patients"].patients, found["Mean of patients"].cases) == (1, 1)
    assert math.isnan(found["SD of patients"].values["dice"])
    assert math.isnan(found["Fold 2"].values["dice"])


def test_nothing_in_either_map_is_no_value() -> None:
    content = three_folds()
    nothing = measured(2, "d", 4, counts(0, 0, 0))
    fold = replace(content.folds[1], measured=(*content.folds[1].measured, nothing))
    found = rows(replace(content, folds=(fold,)))
    assert (found["Fold 2"].patients, found["Fold 2"].cases) == (1, 1)
    assert found["Fold 2"].values["dice"] == pytest.approx(0.8)
    assert found["Fold 2"].values["specificity"] == pytest.approx((88 / 90 + 1) / 2)


def test_a_case_measured_in_several_folds_counts_once() -> None:
    content = three_folds()
    again = measured(2, "b", 2, counts(3, 1, 1))
    fold = replace(content.folds[1], measured=(*content.folds[1].measured, again))
    content = replace(content, folds=(content.folds[0], fold), turned_round=True)
    mean = rows(content)["Mean of patients"]
    assert (mean.patients, mean.cases) == (3, 4)
    assert mean.values["dice"] == pytest.approx((0.75 + (0.25 + 0.75) / 2 + 0.8) / 3)
    assert case_dice(content, "infection")["b"] == (pytest.approx(0.5), 1)
    assert summary(content)["infection"]["dice"]["measurements"] == 5


def test_csv_holds_the_table() -> None:
    found = list(csv.DictReader(table_csv(three_folds()).splitlines()))
    (one,) = [r for r in found if (r["class"], r["row"]) == ("infection", "Mean of folds")]
    assert float(one["dice"]) == pytest.approx(0.65)
    (failed,) = [r for r in found if (r["class"], r["row"]) == ("infection", "Fold 3")]
    assert (failed["dice"], failed["patients"]) == ("", "0")


def test_csv_of_cases_holds_what_figures_are_made_of() -> None:
    found = list(csv.DictReader(cases_csv(three_folds()).splitlines()))
    assert [row["case"] for row in found if row["class"] == "infection"] == ["a1", "a2", "b", "c"]
    assert [row["case"] for row in found if row["class"] == "lung"] == ["a1"]
    last = found[-1]
    assert (last["both"], last["predicted_only"], last["reference_only"]) == ("8", "2", "2")
    assert float(last["precision"]) == pytest.approx(0.8)


def test_summary() -> None:
    found = summary(three_folds())["infection"]
    assert found["dice"]["mean"] == pytest.approx(0.6)
    assert found["dice"]["median"] == pytest.approx(0.75)
    assert found["over_folds"]["mean"]["dice"] == pytest.approx(0.65)
    assert [fold["fold"] for fold in found["folds"]] == [1, 2, 3]
    assert found["folds"][0]["dice"] == pytest.approx(0.5)
