import json
import math
from dataclasses import replace

import pytest

from napari_covseg.cases.gate import (
    JUDGED,
    ClassFigures,
    GateDecision,
    GateRule,
    Way,
    certainty,
    judge,
)
from napari_covseg.domain.errors import UsageError

NAN = math.nan


def figures(dice, error=1.0, volume=200.0, **classes):
    """The same Dice for every class, but for those given: (dice, error, volume) or None."""
    found = {name: ClassFigures(dice, error, volume) for name in JUDGED}
    for name, said in classes.items():
        found.pop(name)
        if said is not None:
            found[name] = ClassFigures(*said)
    return found


def decide(old, new, patients=None, rule=None, way=Way.HELD_OUT):
    old = {f"case_{n}": one for n, one in enumerate(old)}
    new = {f"case_{n}": one for n, one in enumerate(new)}
    patients = patients or {case: f"of {case}" for case in new}
    return judge(old, new, patients, way, rule)


def row(decision, name, figure="dice"):
    (found,) = [r for r in decision.rows if (r.name, r.figure) == (name, figure)]
    return found


def test_a_better_model_passes():
    done = decide([figures(d) for d in (0.5, 0.6, 0.7)], [figures(d) for d in (0.6, 0.7, 0.9)])
    assert done.promote
    assert (done.patients, done.cases, done.old_trained_on) == (3, 3, 0)
    overall = row(done, "overall")
    assert overall.old == pytest.approx(0.6)
    assert overall.difference == pytest.approx(0.4 / 3)
    assert overall.low == pytest.approx(0.1)
    assert overall.high == pytest.approx(0.2)
    assert done.reason.startswith("better overall (mean Dice +0.133, 95 % interval +0.100 to")
    assert len(done.rows) == 1 + 2 * len(JUDGED)


def test_a_worse_and_an_uncertain_model_do_not():
    worse = decide([figures(0.6)] * 3, [figures(d) for d in (0.5, 0.4, 0.5)])
    assert not worse.promote
    assert worse.reason.startswith("worse overall: mean Dice -0.133")
    mixed = decide([figures(0.6)] * 4, [figures(d) for d in (0.7, 0.58, 0.7, 0.59)])
    assert not mixed.promote
    assert mixed.reason.startswith("not shown to be better overall: mean Dice +0.0")


def test_the_same_model_is_not_better():
    done = decide([figures(0.6)] * 3, [figures(0.6)] * 3)
    assert not done.promote
    assert done.reason == "the models do not differ for any of 3 patients"


def test_one_class_that_may_be_worse_refuses():
    old = [figures(0.5, ggo=(0.6, 1.0, 50.0)) for _ in range(4)]
    new = [figures(0.8, ggo=(d, 1.0, 50.0)) for d in (0.5, 0.54, 0.56, 0.6)]
    done = decide(old, new)
    assert row(done, "overall").passed
    assert not row(done, "ggo").passed
    assert not done.promote
    assert "but it may be worse in GGO (Dice -0.050, 95 % interval" in done.reason
    assert "margin -0.050)" in done.reason
    assert decide(old, new, rule=GateRule(dice_margin=0.2)).promote


def test_the_interval_counts_not_the_mean():
    old = [figures(0.5, ggo=(0.6, 1.0, 50.0)) for _ in range(4)]
    new = [figures(0.8, ggo=(d, 1.0, 50.0)) for d in (0.4, 0.7, 0.65, 0.65)]
    done = decide(old, new)
    assert row(done, "ggo").difference == pytest.approx(0.0)
    assert not row(done, "ggo").passed


def test_false_lesions_where_there_are_none_are_volume_errors():
    absent, flooded = (NAN, 0.0, 0.0), (0.0, 80.0, 0.0)
    old = [figures(0.5, consolidation=absent) for _ in range(3)]
    new = [figures(0.8, consolidation=flooded) for _ in range(3)]
    done = decide(old, new)
    dice, volume = row(done, "consolidation"), row(done, "consolidation", "volume_error_ml")
    assert dice.patients == 0
    assert dice.note == "no reference holds it"
    assert dice.passed
    assert (volume.difference, volume.margin, volume.passed) == (80.0, 10.0, False)
    assert "consolidation (volume error +80.0 ml" in done.reason
    assert row(done, "overall").difference == pytest.approx(0.3), "absent classes have no Dice"


def test_volume_errors_have_no_sign_and_a_margin_by_volume():
    old = [figures(0.5, lung=(0.9, -400.0, 5000.0)) for _ in range(3)]
    better = [figures(0.8, lung=(0.9, 390.0, 5000.0)) for _ in range(3)]
    done = decide(old, better)
    volume = row(done, "lung", "volume_error_ml")
    assert (volume.old, volume.new, volume.difference) == (400.0, 390.0, -10.0)
    assert volume.margin == 500.0
    assert done.promote
    worse = [figures(0.8, lung=(0.9, 900.0, 5000.0)) for _ in range(3)]
    assert not decide(old, worse).promote


def test_a_class_that_no_reference_knows():
    old, new = [figures(0.5, ggo=None)] * 3, [figures(0.6, ggo=None)] * 3
    done = decide(old, new)
    assert done.promote
    assert math.isnan(row(done, "ggo").difference)
    assert row(done, "ggo", "volume_error_ml").note == "no reference says anything of it"


def test_a_class_of_one_patient_has_no_interval():
    old = [figures(0.5, ggo=(0.5, 1.0, 9.0)), *[figures(0.5, ggo=(NAN, 0.0, 0.0))] * 2]
    slightly = [figures(0.6, ggo=(0.46, 1.0, 9.0)), *[figures(0.6, ggo=(NAN, 0.0, 0.0))] * 2]
    done = decide(old, slightly)
    assert done.promote
    assert row(done, "ggo").note == "one patient: no interval"
    much = [figures(0.7, ggo=(0.4, 1.0, 9.0)), *[figures(0.7, ggo=(NAN, 0.0, 0.0))] * 2]
    assert not decide(old, much).promote


def test_patients_count_once():
    patients = {"case_0": "a", "case_1": "a", "case_2": "b"}
    new = [figures(d) for d in (0.7, 0.9, 0.6)]
    done = decide([figures(0.5)] * 3, new, patients)
    assert (done.patients, done.cases) == (2, 3)
    assert row(done, "overall").difference == pytest.approx(0.2)
    one = decide([figures(0.5)] * 2, [figures(0.9)] * 2, {"case_0": "a", "case_1": "a"})
    assert not one.promote
    assert one.reason.startswith("1 patient could be measured for both models, at least 2")
    assert one.rows == ()


def test_cases_the_old_model_trained_on_are_left_out():
    new = [figures(0.9)] * 4
    done = decide([figures(0.5)] * 2, new)
    assert (done.cases, done.old_trained_on) == (2, 2)
    none = decide([], new)
    assert none.reason == (
        "no patients could be measured for both models (on the patients of 4 cases the old one "
        "has trained), at least 2 are needed to compare them"
    )


def test_how_sure_it_is():
    assert "1 in 4 " in certainty(2, Way.HELD_OUT)
    assert "1 in 12 " in certainty(4, Way.FOLDS)
    assert "left them out" in certainty(4, Way.FOLDS)
    assert "left them out" not in certainty(4, Way.HELD_OUT)
    assert certainty(40, Way.HELD_OUT).startswith("sure: over 40 patients about 1 in 26")
    assert certainty(1, Way.FOLDS).startswith("nothing can be said")


def test_decisions_and_figures_as_json():
    done = decide([figures(0.5, ggo=None)] * 3, [figures(0.6, ggo=None)] * 3)
    content = json.loads(json.dumps(done.to_dict(), allow_nan=False))
    again = GateDecision.from_dict(content)
    assert (again.reason, again.way, again.patients) == (done.reason, Way.HELD_OUT, 3)
    assert again.rows[0] == done.rows[0]
    assert math.isnan(row(again, "ggo").low)
    one = ClassFigures(NAN, -1.0, 0.0)
    back = ClassFigures.from_dict(json.loads(json.dumps(one.to_dict())))
    assert math.isnan(back.dice)
    assert replace(back, dice=0.0) == replace(one, dice=0.0)


@pytest.mark.parametrize("value", [-0.1, NAN, math.inf])
def test_margins_are_numbers(value):
    with pytest.raises(UsageError, match="dice_margin"):
        GateRule(dice_margin=value)
