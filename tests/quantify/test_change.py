"""What changed, on phantoms whose change is known to the voxel or by formula."""

import json
from dataclasses import replace

import numpy as np
import pytest
from two_scans import Ball, affine, grid, scan

from napari_covseg.domain.change import ChangeLabel
from napari_covseg.domain.labels import Label
from napari_covseg.domain.lobes import LobeMap
from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import LabelMap
from napari_covseg.quantify.change import compare_scans, find_change
from napari_covseg.quantify.mapping import Mapping
from napari_covseg.quantify.registration import Registration
from napari_covseg.quantify.registration_quality import RegistrationQuality

GGO, SOLID = Label.GGO, Label.CONSOLIDATION
MOVED = affine((4, -3, 8), (1.05, 0.96, 1.1), (12, -7, 15))
FACTOR = 1.05 * 0.96 * 1.1
GOOD = RegistrationQuality("affine", 1.0, 1.0, 0.0, 0.0, 1.0, "good")
NOW = (
    Ball(GGO, (33.3, 0.4, 20.7), 10),
    Ball(SOLID, (-35.4, 10.3, -20.6), 9),
    Ball(GGO, (-38.3, 0.4, 22.6), 8),
)
BEFORE = (
    Ball(GGO, (33.3, 0.4, 20.7), 7),
    Ball(GGO, (-35.4, 10.3, -20.6), 9),
    Ball(SOLID, (36.4, 8.3, -28.6), 6),
)


def _found(now, before, matrix=None, **options):
    matrix = np.eye(4) if matrix is None else matrix
    registration = Registration(Mapping(matrix), replace(GOOD, volume_factor=1.0))
    return run_to_end(find_change(now, before, registration, **options))


def _ml(ball):
    return ball.ml


WIDE = {"middle": (12, -7, 15), "size_mm": (190, 160, 210)}
GRIDS = {
    "thick": grid((1.5, 1.5, 4), **WIDE),
    "oblique": grid((2, 1.5, 2), (12, -8, 20), **WIDE),
    "flipped": grid((1.5, 2, 2), (5, -8, 10), (-1, 1, -1), **WIDE),
}


@pytest.mark.parametrize("name", GRIDS)
def test_states_by_formula_through_a_known_transform_on_any_grid(name):
    _, now = scan(grid((2, 2, 2)), NOW)
    _, before = scan(GRIDS[name], BEFORE, MOVED)
    change = _found(now, before, MOVED)
    both = change.parts["both"]
    shell = NOW[0].ml - BEFORE[0].ml
    expected = {
        "appeared": shell + NOW[2].ml,
        "resolved": BEFORE[2].ml,
        "persistent": BEFORE[0].ml,
        "to_consolidation": NOW[1].ml,
        "to_ggo": 0.0,
    }
    for state, ml in expected.items():
        assert both.states[state].ml == pytest.approx(ml, abs=0.45), state
    assert both.ggo.current_ml == pytest.approx(NOW[0].ml + NOW[2].ml, rel=0.05)
    assert both.ggo.prior_ml == pytest.approx(BEFORE[0].ml + BEFORE[1].ml, rel=0.06)
    assert change.registration.verdict == "good"
    # Its own grid knows nothing of breath: volumes of the prior itself are larger.
    assert change.prior.both.lesions_ml == pytest.approx(sum(map(_ml, BEFORE)) * FACTOR, rel=0.05)


def test_parts_add_up_and_hold_what_is_in_them():
    _, now = scan(grid((2, 2, 2)), NOW)
    _, before = scan(grid((2, 2, 2)), BEFORE)
    change = _found(now, before)
    parts = change.parts
    both = parts["both"]
    lesions = both.lesions
    states = {name: amount.ml for name, amount in both.states.items()}
    here = states["persistent"] + states["to_consolidation"] + states["to_ggo"]
    assert lesions.current_ml == pytest.approx(states["appeared"] + here)
    assert lesions.prior_ml == pytest.approx(states["resolved"] + here)
    assert lesions.change_ml == pytest.approx(lesions.current_ml - lesions.prior_ml)
    assert lesions.change_percent == pytest.approx(100 * lesions.change_ml / lesions.prior_ml)
    assert lesions.change_points == pytest.approx(lesions.current_percent - lesions.prior_percent)
    for names in (("left", "right"), ("upper_third", "middle_third", "lower_third")):
        for state, ml in states.items():
            assert sum(parts[name].states[state].ml for name in names) == pytest.approx(ml)
    assert parts["left"].states["to_consolidation"].ml == 0
    assert parts["right"].states["to_consolidation"].ml == pytest.approx(NOW[1].ml, rel=0.05)
    assert parts["right"].states["resolved"].ml == 0
    assert parts["left_lower_third"].states["resolved"].ml == pytest.approx(BEFORE[2].ml, rel=0.1)


def test_the_map_holds_the_states_where_they_are():
    _, now = scan(grid((2, 2, 2)), NOW)
    _, before = scan(grid((2, 2, 2)), BEFORE)
    change = _found(now, before)
    joint = {
        ChangeLabel.APPEARED: (now.labels >= GGO) & (before.labels < GGO),
        ChangeLabel.RESOLVED: (now.labels < GGO) & (before.labels >= GGO),
        ChangeLabel.PERSISTENT: (now.labels == before.labels) & (now.labels >= GGO),
        ChangeLabel.TO_CONSOLIDATION: (now.labels == SOLID) & (before.labels == GGO),
    }
    for label, where in joint.items():
        assert where.any()
        assert np.array_equal(change.map == label, where), label
    swapped = _found(before, now)
    assert np.array_equal(swapped.map == ChangeLabel.TO_GGO, joint[ChangeLabel.TO_CONSOLIDATION])


def test_the_same_scan_twice_has_not_changed():
    _, now = scan(grid(), NOW)
    change = _found(now, now)
    both = change.parts["both"]
    assert both.states["appeared"].ml == both.states["resolved"].ml == 0
    assert both.lesions.change_percent == 0
    assert {one.trend for one in change.lesions.listed} == {"stable"}
    assert change.warnings == ()


def test_lesions_are_matched_and_measured():
    _, now = scan(grid((2, 2, 2)), NOW)
    _, before = scan(GRIDS["oblique"], BEFORE, MOVED)
    lesions = _found(now, before, MOVED).lesions
    assert lesions.counts == {"matched": 2, "grown": 1, "stable": 1, "new": 1, "resolved": 1}
    grown = next(one for one in lesions.listed if one.trend == "grown")
    assert grown.current_ml == pytest.approx(NOW[0].ml, rel=0.05)
    assert grown.prior_ml == pytest.approx(BEFORE[0].ml * FACTOR, rel=0.05)
    assert grown.change_percent == pytest.approx(
        100 * (NOW[0].ml / (BEFORE[0].ml * FACTOR) - 1), abs=12
    )
    assert grown.position_mm == pytest.approx((33.3, 0.4, 20.7), abs=0.6)
    assert grown.side == "left"
    stable = next(one for one in lesions.listed if one.trend == "stable")
    assert (stable.prior_consolidation_percent, stable.consolidation_percent) == (0.0, 100.0)
    resolved = next(one for one in lesions.listed if one.kind == "resolved")
    assert resolved.position_mm == pytest.approx((36.4, 8.3, -28.6), abs=0.6)
    assert (resolved.current_ml, resolved.change_percent) == (None, -100.0)
    assert resolved.prior == (3,)
    z = now.geometry.affine[2, 2] * resolved.slice_index + now.geometry.affine[2, 3]
    assert z == pytest.approx(-28.6, abs=3)


@pytest.mark.parametrize(("first", "second", "kind"), [(1, 2, "split"), (2, 1, "merged")])
def test_one_lesion_may_become_two_and_two_one(first, second, kind):
    one = [Ball(GGO, (-38, 0, 0), 12)]
    two = [Ball(GGO, (-38, 0, 9), 5), Ball(GGO, (-38, 0, -9), 5)]
    balls = {1: one, 2: two}
    _, before = scan(grid((2, 2, 2)), balls[first])
    _, now = scan(grid((2, 2, 2)), balls[second])
    (found,) = _found(now, before).lesions.listed
    assert found.kind == kind
    assert found.trend == ("shrunk" if kind == "split" else "grown")
    assert (len(found.prior), len(found.current)) == (first, second)
    assert found.current_ml == pytest.approx(sum(map(_ml, balls[second])), rel=0.08)


def test_small_lesions_that_moved_a_little_are_one_and_far_ones_are_not():
    _, before = scan(grid((1, 1, 1)), [Ball(GGO, (-38, 0, 0), 3)])
    _, near = scan(grid((1, 1, 1)), [Ball(GGO, (-38, 0, 7), 3)])
    _, far = scan(grid((1, 1, 1)), [Ball(GGO, (-38, 0, 12), 3)])
    assert _found(near, before).lesions.counts == {"matched": 1, "stable": 1}
    assert _found(far, before).lesions.counts == {"new": 1, "resolved": 1}


def test_what_the_prior_does_not_show_is_neither_new_nor_resolved():
    _, now = scan(grid((2, 2, 2)), NOW)
    low = grid((2, 2, 2), size_mm=(150, 110, 80), middle=(0, 0, -46))
    _, before = scan(low, BEFORE)
    change = _found(now, before)
    kinds = {one.kind for one in change.lesions.listed}
    assert kinds == {"matched", "not_compared", "resolved"}
    assert change.lesions.counts["not_compared"] == 2
    assert change.parts["both"].states["appeared"].ml < 0.6
    assert change.not_compared_ml > 100
    assert any("not compared" in warning for warning in change.warnings)
    assert (change.map == ChangeLabel.NOT_COMPARED).sum() * 0.008 == pytest.approx(
        NOW[0].ml + NOW[2].ml, rel=0.05
    )
    turned = _found(before, now)
    assert turned.lesions.counts["not_compared"] == 2
    assert "resolved" not in turned.lesions.counts


def test_voxels_not_reviewed_in_the_prior_are_not_compared():
    _, now = scan(grid(), NOW)
    _, before = scan(grid(), ())
    unread = before.labels.copy()
    unread[:, :, unread.shape[2] // 2 :] = Label.IGNORE
    change = _found(now, LabelMap(unread, before.geometry, "p"))
    assert change.lesions.counts == {"new": 2, "not_compared": 1}


def test_infection_of_unknown_class_turns_into_nothing():
    _, now = scan(grid(), [Ball(SOLID, (-35.4, 10.3, -20.6), 9)])
    _, before = scan(grid(), [Ball(Label.INFECTION, (-35.4, 10.3, -20.6), 9)])
    both = _found(now, before).parts["both"]
    assert both.states["to_consolidation"].ml == 0
    assert both.states["persistent"].ml == both.lesions.current_ml > 0


def test_lobes_are_given_where_there_is_a_map():
    _, now = scan(grid((2, 2, 2)), NOW)
    _, before = scan(grid((2, 2, 2)), BEFORE)
    lobes = np.zeros(now.geometry.shape, np.uint8)
    half = lobes.shape[2] // 2
    lobes[:, :, half:], lobes[:, :, :half] = 1, 5
    lobes[: lobes.shape[0] // 2, :, half:] = 2
    change = _found(now, before, lobes=LobeMap(lobes, now.geometry, source="lobes.nii.gz"))
    assert change.lobes["left_lower"].states["resolved"].ml == pytest.approx(BEFORE[2].ml, rel=0.1)
    assert change.lobes["left_upper"].states["resolved"].ml == 0
    assert (change.lobes_from, change.lobes_source) == ("map", "lobes.nii.gz")
    other = LobeMap(lobes[:-1], grid((2, 2, 2), size_mm=(150, 110, 168)))
    unused = _found(now, before, lobes=other)
    assert "lobe map is not on the grid" in unused.warnings[0]
    assert unused.lobes_from == "approximate"
    turned = LobeMap(np.ascontiguousarray(lobes[:, :, ::-1]), now.geometry)
    assert "left and right the other way" in _found(now, before, lobes=turned).warnings[0]


def test_lobes_without_a_map_are_approximated_and_said_to_be():
    _, now = scan(grid((2, 2, 2)), NOW)
    _, before = scan(grid((2, 2, 2)), BEFORE)
    change = _found(now, before)
    assert change.lobes_from == "approximate"
    left = change.lobes["left_lower"].lung_ml + change.lobes["left_upper"].lung_ml
    assert left == pytest.approx(change.parts["left"].lung_ml)
    # The planes give the left lower lobe 23.2 of the left lung's 46.3 parts.
    assert change.lobes["left_lower"].lung_ml == pytest.approx(left * 23.2 / 46.3, rel=0.02)
    resolved = [one.states["resolved"].ml for one in change.lobes.values()]
    assert sum(resolved) == pytest.approx(change.parts["both"].states["resolved"].ml)
    assert sum(resolved) > 0


def test_lungs_that_are_cut_off_have_no_approximate_lobes():
    _, now = scan(grid((2, 2, 2), size_mm=(150, 110, 60)), NOW)
    _, before = scan(grid((2, 2, 2)), BEFORE)
    change = _found(now, before)
    assert (dict(change.lobes), change.lobes_from) == ({}, "")


def test_unknown_voxel_sizes_give_no_ml_but_percent():
    _, now = scan(grid(), NOW)
    _, before = scan(grid(), BEFORE)
    change = _found(now, before, spacing_known=False)
    lesions = change.parts["both"].lesions
    assert lesions.current_ml is None
    assert lesions.change_percent == _found(now, before).parts["both"].lesions.change_percent
    assert change.lesions.listed[0].current_ml is None
    assert "not known" in change.warnings[-1]


def test_what_should_be_known_about_the_pair_is_said():
    _, now = scan(grid(), NOW)
    _, before = scan(grid(), BEFORE, affine(scale=(0.9, 0.9, 0.9)))
    change = _found(now, before, affine(scale=(0.9, 0.9, 0.9)), interval_days=-3)
    assert "taken 3 days after" in change.warnings[0]
    assert "37 % more than in the prior" in change.warnings[1]
    shifted = _found(now, before, affine(scale=(0.9, 0.9, 0.9), shift=(0, -45, 0)))
    assert any("beyond the current lungs" in warning for warning in shifted.warnings)


def test_from_scans_to_change_through_the_registration():
    now = scan(grid(), NOW, case="now")
    before = scan(grid((2, 2.5, 3), (12, -8, 20), **WIDE), BEFORE, MOVED, case="then")
    found = run_to_end(compare_scans(now[1], before[1], now[0], before[0], interval_days=12))
    change = found.change
    assert (change.case, change.prior_case, change.interval_days) == ("now", "then", 12)
    assert change.lesions.counts == {
        "matched": 2, "grown": 1, "stable": 1, "new": 1, "resolved": 1,
    }  # fmt: skip
    both = change.parts["both"]
    assert both.states["to_consolidation"].ml == pytest.approx(NOW[1].ml, rel=0.2)
    assert both.states["resolved"].ml == pytest.approx(BEFORE[2].ml, abs=0.5)
    text = json.dumps(change.to_dict(), allow_nan=False)
    assert "map" not in json.loads(text)
    assert json.loads(text)["registration"]["verdict"] == "good"
