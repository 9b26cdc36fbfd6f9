import json
from dataclasses import replace

import numpy as np
import pytest
from block_lungs import (
    GGO_HU,
    LEFT,
    LUNG_HU,
    RIGHT,
    SHAPE,
    SOLID_HU,
    as_map,
    as_volume,
    blocks,
    measured,
)

from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import Label
from napari_covseg.domain.lobes import Lobe, LobeMap
from napari_covseg.domain.progress import run_to_end
from napari_covseg.io import make_phantom
from napari_covseg.quantify.case import quantify
from napari_covseg.quantify.doubt import Doubt
from napari_covseg.quantify.volumes import measure


def diseased():
    """240 voxels of GGO and 60 of consolidation in the left lung, 100 of GGO in the right."""
    labels = blocks()
    labels[5:7, 20:32, 62:72] = Label.GGO
    labels[7, 20:26, 62:72] = Label.CONSOLIDATION
    labels[20, 20:30, 15:25] = Label.GGO
    return labels


def lobe_map(labels):
    """Lobes cut flat: left in halves, right in thirds of its 30 slices."""
    lobes = np.zeros(labels.shape, np.uint8)
    left, right = np.zeros(labels.shape, bool), np.zeros(labels.shape, bool)
    left[LEFT], right[RIGHT] = True, True
    z = np.arange(SHAPE[0])[:, None, None]
    lobes[left] = np.broadcast_to(np.where(z < 17, Lobe.LEFT_LOWER, Lobe.LEFT_UPPER), SHAPE)[left]
    by_third = np.where(
        z < 12, Lobe.RIGHT_LOWER, np.where(z < 22, Lobe.RIGHT_MIDDLE, Lobe.RIGHT_UPPER)
    )
    lobes[right] = np.broadcast_to(by_third, SHAPE)[right]
    return LobeMap(lobes, as_map(labels).geometry)


def test_volumes_and_percentages_of_both_and_each_lung():
    parts = measured(diseased()).parts
    assert parts["left"].lung_ml == pytest.approx(480.0)
    assert parts["right"].lung_ml == pytest.approx(720.0)
    assert (parts["left"].ggo.ml, parts["left"].consolidation.ml) == pytest.approx((4.8, 1.2))
    assert (parts["right"].ggo.ml, parts["right"].consolidation.ml) == pytest.approx((2.0, 0.0))
    assert parts["left"].lesions.percent == pytest.approx(100 * 6.0 / 480)
    assert parts["both"].lesions.percent == pytest.approx(100 * 8.0 / 1200)
    assert parts["both"].high_opacity.ml == pytest.approx(1.2)
    assert parts["both"].lesions.percent_range is None


def test_parts_add_up_to_the_lungs():
    parts = measured(diseased()).parts
    for group in (
        ("left", "right"),
        ("upper_third", "middle_third", "lower_third"),
        ("ventral", "dorsal"),
        ("central", "peripheral"),
        tuple(f"left_{level}_third" for level in ("upper", "middle", "lower")),
    ):
        whole = "left" if group[0].startswith("left_") else "both"
        for figure in ("ggo", "consolidation", "lesions", "high_opacity"):
            total = sum(getattr(parts[name], figure).ml for name in group)
            assert total == pytest.approx(getattr(parts[whole], figure).ml)
        assert sum(parts[name].lung_ml for name in group) == pytest.approx(parts[whole].lung_ml)


def test_thirds_and_halves_of_blocks_are_known():
    labels = blocks()
    labels[28, 12, 65] = Label.GGO  # high, in front, at the left
    labels[30, 45, 15:17] = Label.CONSOLIDATION  # high, behind, at the right
    parts = measured(labels).parts
    assert parts["upper_third"].lung_ml == pytest.approx(400.0)
    assert parts["ventral"].lung_ml == pytest.approx(600.0)
    assert parts["upper_third"].lesions.ml == pytest.approx(0.06)
    assert (parts["left_upper_third"].ggo.ml, parts["ventral"].ggo.ml) == pytest.approx((0.02,) * 2)
    assert parts["right_upper_third"].consolidation.ml == pytest.approx(0.04)
    assert parts["dorsal"].consolidation.ml == pytest.approx(0.04)
    assert parts["lower_third"].lesions.ml == parts["middle_third"].lesions.ml == 0.0


def test_a_lesion_of_the_left_lung_ends_in_the_left_rows():
    labels = blocks()
    labels[6:9, 35:45, 65:75] = Label.GGO
    found = measured(labels)
    for rows in (found.parts, found.lobes, found.regions):
        for name, row in rows.items():
            if "right" in name:
                assert row.lesions.ml == 0.0, name
    assert found.lobes["left_lower"].lesions.ml == pytest.approx(6.0)
    assert sum(row.lesions.ml for row in found.regions.values()) == pytest.approx(6.0)
    assert [lesion.side for lesion in found.lesions.listed] == ["left"]
    assert found.lesions.largest.lobe == "left_lower"
    assert found.scores["ct_score_25"].parts["left_lower"] == 1
    assert found.scores["ct_score_25"].value == 1


def test_mirroring_swaps_left_and_right():
    labels = diseased()
    turned = np.array([0, 2, 1, 3, 4], np.uint8)[labels[..., ::-1]]
    one, other = measured(labels).parts, measured(turned).parts
    assert one["left"].ggo == other["right"].ggo
    assert one["left_lower_third"].lesions == other["right_lower_third"].lesions
    assert one["left"].ggo != one["right"].ggo
    assert one["upper_third"] == other["upper_third"]


def test_figures_of_sides_are_those_of_measure():
    phantom = make_phantom((40, 96, 96), (7.5, 3.7, 3.7))
    old, new = measure(phantom.labels), run_to_end(quantify(phantom.labels)).parts
    for name, side in (("left", old.left), ("right", old.right), ("both", old.both)):
        assert new[name].lung_ml == pytest.approx(side.lung_ml)
        assert new[name].ggo.ml == pytest.approx(side.ggo_ml)
        assert new[name].consolidation.percent == pytest.approx(side.consolidation_percent)


def test_phantom_is_worse_on_the_left_and_below():
    phantom = make_phantom((40, 96, 96), (7.5, 3.7, 3.7))
    found = run_to_end(quantify(phantom.labels, phantom.volume))
    parts, true = found.parts, phantom.volumes_ml
    assert parts["both"].ggo.ml == pytest.approx(true[Label.GGO])
    assert parts["left"].lesions.percent > 2 * parts["right"].lesions.percent
    assert parts["lower_third"].lesions.percent > parts["upper_third"].lesions.percent
    assert parts["dorsal"].lesions.percent > 3 * parts["ventral"].lesions.percent
    assert found.lobes_from == "approximate"
    assert 0 < found.scores["ct_severity_score"].value < 40
    assert found.warnings == ()


def test_lobes_of_a_map_are_counted_exactly():
    labels = diseased()
    found = measured(labels, lobes=lobe_map(labels))
    assert found.lobes_from == "map"
    assert found.lobes["left_lower"].lung_ml == pytest.approx(240.0)
    assert found.lobes["left_upper"].lung_ml == pytest.approx(240.0)
    assert found.lobes["right_middle"].lung_ml == pytest.approx(240.0)
    assert found.lobes["left_lower"].lesions.percent == pytest.approx(100 * 6 / 240)
    assert found.lobes["right_middle"].lesions.percent == pytest.approx(100 * 2 / 240)
    assert found.lobes["right_lower"].lesions.ml == 0.0
    scores = found.scores
    assert scores["lung_severity_score"].value == 2
    assert scores["lung_high_opacity_score"].value == 1
    assert not scores["ct_score_25"].approximate
    assert scores["ct_severity_score"].approximate


def test_a_gap_in_a_lobe_map_takes_the_nearest_lobe():
    labels = diseased()
    given = lobe_map(labels)
    given.lobes[14:16, 12:30, 62:78] = 0
    found = measured(labels, lobes=given)
    assert found.lobes["left_lower"].lung_ml == pytest.approx(240.0)


@pytest.mark.parametrize("spoil", ["mirrored", "mostly empty"])
def test_a_lobe_map_that_does_not_fit_is_not_used(spoil):
    labels = diseased()
    given = lobe_map(labels)
    if spoil == "mirrored":
        swap = np.array([0, 3, 5, 1, 1, 2], np.uint8)
        given = replace(given, lobes=swap[given.lobes])
    else:
        given.lobes[10:] = 0
    found = measured(labels, lobes=given)
    assert found.lobes_from == "approximate"
    assert any("lobe map does not fit" in line for line in found.warnings)


def test_other_grids_are_not_used_and_said():
    labels = diseased()
    far = Geometry.from_spacing(SHAPE, (5.0, 2.0, 2.0), (40.0, 0.0, 0.0))
    volume = replace(as_volume(labels), geometry=far)
    lobes = replace(lobe_map(labels), geometry=far)
    doubt = Doubt(far, np.full((1, *SHAPE), 255, np.uint8))
    found = run_to_end(quantify(as_map(labels), volume, lobes, doubt))
    assert (found.density, found.histogram, found.second_opinion) == (None, None, None)
    assert found.parts["both"].high_opacity is None
    assert found.parts["both"].lesions.percent_range is None
    assert found.scores["lung_high_opacity_score"].value is None
    assert found.lobes_from == "approximate"
    assert [line.split(" (")[0] for line in found.warnings] == [
        "The CT",
        "The lobe map",
        "The map of probabilities",
    ]
    assert found.parts["both"].lesions.ml == pytest.approx(8.0)


def test_an_empty_label_map_has_no_figures():
    found = measured(np.zeros(SHAPE, np.uint8))
    assert found.lesions.count == 0
    assert found.lesions.largest is None
    assert found.parts["both"].lesions.percent is None
    assert found.parts["both"].lung_ml == 0.0
    assert (dict(found.lobes), dict(found.regions), found.lobes_from) == ({}, {}, "")
    assert all(score.value is None for score in found.scores.values())
    assert found.density["both"].mean_hu is None
    assert any("No lung was found" in line for line in found.warnings)
    json.dumps(found.to_dict(), allow_nan=False)


def test_healthy_lungs_are_zero_not_nothing():
    found = measured(blocks())
    assert found.parts["left"].lesions.percent == 0.0
    assert all(score.value == 0 for score in found.scores.values())
    assert found.density["lesions"].mean_hu is None
    assert found.density["both"].mean_hu == LUNG_HU
    assert found.warnings == ()


def test_a_lost_lung_has_no_rows_and_no_scores():
    labels = diseased()
    labels[..., 50:] = 0
    found = measured(labels)
    assert not [name for name in found.parts if name.startswith("left")]
    assert found.parts["right"].ggo.ml == pytest.approx(2.0)
    assert dict(found.lobes) == {}
    score = found.scores["lung_severity_score"]
    assert (score.value, score.note) == (None, "no left lung was found")
    assert found.lesions.largest.lobe is None
    assert set(found.density) == {"both", "right", "lesions", "ggo", "consolidation"}
    assert any("No left lung was found" in line for line in found.warnings)


@pytest.mark.parametrize(
    ("cut", "where"),
    [
        ((slice(12, None), slice(None), slice(None)), "bottom"),
        ((slice(0, 20), slice(None), slice(None)), "top"),
        ((slice(None), slice(None), slice(20, None)), "sides"),
    ],
)
def test_lungs_cut_off_by_the_image_have_volumes_but_no_thirds_and_scores(cut, where):
    found = measured(diseased()[cut].copy())
    assert set(found.parts) == {"both", "left", "right"}
    assert (dict(found.lobes), dict(found.regions)) == ({}, {})
    assert all(score.value is None for score in found.scores.values())
    assert any(f"cuts the lungs off at the {where}" in line for line in found.warnings)


def test_a_round_field_of_view_that_cuts_the_lungs_is_seen():
    labels = diseased()
    volume = as_volume(labels)
    volume.hu[:, :, :18] = -1024
    labels[:, :, :18] = 0
    cut = run_to_end(quantify(as_map(labels), volume))
    assert cut.scores["ct_score_25"].value is None
    assert any("cuts the lungs off at the sides" in line for line in cut.warnings)
    # The same padding far from the lungs is just air around the patient.
    volume.hu[:, :, :18] = -1000
    volume.hu[:, :, :6] = -1024
    apart = run_to_end(quantify(as_map(labels), volume))
    assert apart.scores["ct_score_25"].value is not None


def test_a_lesion_at_the_edge_of_the_image_is_said():
    labels = blocks()
    labels[30:34, 20:22, 20:22] = Label.CONSOLIDATION
    found = measured(labels)
    assert found.lesions.largest.touches_edge
    assert any("1 lesion touches the edge" in line for line in found.warnings)
    assert found.scores["ct_score_25"].value is not None


def test_without_a_known_voxel_size_there_are_percentages_only():
    found = measured(diseased(), spacing_known=False)
    assert found.parts["left"].lung_ml is None
    assert found.parts["left"].ggo.ml is None
    assert found.parts["left"].ggo.percent == pytest.approx(1.0)
    assert found.density["both"].mass_g is None
    assert (found.lesions.largest.ml, found.lesions.largest.mass_g) == (None, None)
    assert any("nothing is given in ml or g" in line for line in found.warnings)


def test_density_of_lungs_and_lesions():
    found = measured(diseased())
    density = found.density
    assert density["ggo"].mean_hu == GGO_HU
    assert density["consolidation"].mean_hu == SOLID_HU
    expected = (240 * GGO_HU + 60 * SOLID_HU + 23700 * LUNG_HU) / 24000
    assert density["left"].mean_hu == pytest.approx(expected)
    assert density["right"].mean_hu == pytest.approx((100 * GGO_HU + 35900 * LUNG_HU) / 36000)
    assert density["lesions"].mass_g == pytest.approx((340 * 0.5 + 60 * 1.0) * 0.02)
    assert density["both"].perc15_hu == LUNG_HU
    edges, counts = found.histogram
    assert dict(zip(edges, counts, strict=True))[0] == 60
    assert sum(counts) == 60000


def test_ignored_voxels_and_unknown_infection():
    labels = diseased()
    labels[25, 20:30, 15:25] = Label.IGNORE
    labels[26, 20:30, 15:25] = Label.INFECTION
    found = measured(labels)
    assert found.parts["right"].lung_ml == pytest.approx(718.0)
    assert found.parts["right"].lesions.ml == pytest.approx(4.0)
    assert found.parts["right"].ggo.ml == pytest.approx(2.0)
    assert any("2.0 ml are marked as not reviewed" in line for line in found.warnings)
    assert any("unknown class" in line for line in found.warnings)


def test_plain_values_hold_no_nan():
    text = json.dumps(measured(diseased()).to_dict(), allow_nan=False)
    assert json.loads(text)["parts"]["left"]["ggo"]["ml"] == pytest.approx(4.8)


def test_steps_tell_progress():
    seen = []
    run_to_end(quantify(as_map(diseased())), seen.append)
    assert seen[-1].done == seen[-1].total == SHAPE[0]
