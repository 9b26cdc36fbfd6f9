from dataclasses import replace

from crossval_contents import measured, three_folds

from napari_covseg.reports.crossval_content import (
    CrossvalContent,
    how_split,
    limits,
    to_json,
    what_measured,
)


def with_measured(content: CrossvalContent, **changes: object) -> CrossvalContent:
    folds = tuple(
        replace(fold, measured=tuple(replace(one, **changes) for one in fold.measured))
        for fold in content.folds
    )
    return replace(content, folds=folds)


def test_counts() -> None:
    content = three_folds()
    assert (content.patients, content.cases) == (3, 4)
    assert [fold.number for fold in content.failed] == [3]


def test_the_split_is_told() -> None:
    content = three_folds()
    assert "3 folds by patient" in how_split(content)
    assert "seed 7" in how_split(content)
    assert "every case was measured once" in how_split(content)
    turned = how_split(replace(content, turned_round=True))
    assert "every case was measured 2 times" in turned
    assert "once, by a network" not in turned


def test_what_is_measured_is_told() -> None:
    content = three_folds()
    assert "without post-processing" in what_measured(content)
    assert "whole pipeline" in what_measured(replace(content, postprocessed=True))


def test_slices_without_infection_decide_what_can_be_said() -> None:
    content = three_folds()
    assert any("Every annotated slice holds infection" in line for line in limits(content))
    some = with_measured(content, slices=20, lesion_slices=18)
    assert any("Only 8 of 80 annotated slices" in line for line in limits(some))
    many = with_measured(content, slices=20, lesion_slices=5)
    assert not any("annotated slice" in line for line in limits(many))


def test_classes_that_could_not_be_measured_are_told() -> None:
    said = "\n".join(limits(three_folds()))
    assert "Lungs could be measured in 1 of 4 cases: the other references mark no lungs." in said
    assert "GGO could not be measured: the references do not say which lesions are GGO." in said
    assert "Infection" not in said


def test_few_patients_are_told() -> None:
    content = three_folds()
    assert any(line.startswith("3 patients only") for line in limits(content))
    many = tuple(measured(1, f"c{n}", n, None) for n in range(12))
    content = replace(content, folds=(replace(content.folds[0], measured=many),))
    assert not any("patients only" in line for line in limits(content))


def test_plain_values() -> None:
    plain = to_json(three_folds())
    assert plain["folds"][2]["error"] == "the loss is no longer a number"
    assert plain["folds"][0]["error"] is None
    assert plain["folds"][0]["curve"]["loss"] == (2.0, 1.0)
    assert plain["cases"] == 4
