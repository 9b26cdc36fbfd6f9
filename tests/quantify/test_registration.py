"""Lungs moved by a known transform are found again, on any grid; a bad fit is said."""

from dataclasses import replace

import numpy as np
import pytest
from two_scans import Ball, affine, grid, scan

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import LabelMap
from napari_covseg.quantify.registration import register

MOVED = affine((4, -3, 8), (1.05, 0.96, 1.1), (12, -7, 15))
INSIDE = np.array([[33, 0, 20], [-35, 10, -20], [36, 8, -28], [-55, 0, 0], [33, 0, 45]], float)
WIDE = {"middle": (12, -7, 15), "size_mm": (190, 160, 210)}
GRIDS = {
    "thick slices": grid((2, 2, 5), **WIDE),
    "oblique": grid((2, 2.5, 3), (12, -8, 20), **WIDE),
    "flipped": grid((2.5, 2, 3), (5, -8, 10), (-1, 1, -1), **WIDE),
}
GREW = [Ball(Label.GGO, (33, 0, 20), 12), Ball(Label.CONSOLIDATION, (-35, 10, -20), 14)]


def _error_mm(mapping):
    return np.linalg.norm(
        mapping.points(INSIDE) - (INSIDE @ MOVED[:3, :3].T + MOVED[:3, 3]), axis=1
    )


@pytest.mark.parametrize("name", GRIDS)
def test_a_known_transform_is_found(name):
    """Also with lesions that are in one scan only: they must not pull."""
    now, before = scan(grid(), GREW), scan(GRIDS[name], (), MOVED)
    found = run_to_end(register(now[1], before[1], now[0], before[0]))
    assert _error_mm(found.mapping).max() < 1.0
    quality = found.quality
    assert quality.method == "affine"
    assert quality.verdict == "good"
    assert quality.lung_dice > 0.96 > 0.7 > quality.lung_dice_before
    assert quality.surface_mm is not None
    assert quality.surface_mm < 1.0
    assert quality.volume_factor == pytest.approx(1.05 * 0.96 * 1.1, rel=0.02)
    assert found.warnings == ()


def test_bending_bends_little_what_is_not_bent_and_twice_the_same():
    now, before = scan(grid()), scan(grid((2.5, 2.5, 2.5), **WIDE), (), MOVED)
    found = run_to_end(register(now[1], before[1], now[0], before[0], deformable=True))
    again = run_to_end(register(now[1], before[1], now[0], before[0], deformable=True))
    assert found.quality.method == "deformable"
    assert _error_mm(found.mapping).mean() < 1.0
    assert np.array_equal(found.mapping.matrix, again.mapping.matrix)
    assert np.array_equal(found.mapping.field, again.mapping.field)


def test_other_lungs_do_not_fit_and_that_is_said():
    now, before = scan(grid()), scan(grid())
    cut = before[1].labels.copy()
    cut[(cut == Label.LEFT_LUNG)] = 0
    cut[: len(cut) // 2] = 0
    found = run_to_end(register(now[1], LabelMap.like(before[0], cut), now[0], before[0]))
    assert found.quality.verdict == "poor"
    assert "not to be relied on" in found.warnings[-1]


def test_what_only_one_scan_shows_does_not_count_against_the_fit():
    now = scan(grid())
    half = grid(size_mm=(150, 110, 120), middle=(0, 0, 20))
    before = scan(half)
    found = run_to_end(register(before[1], before[1], before[0], before[0]))
    assert found.quality.lung_dice == 1.0
    found = run_to_end(register(now[1], now[1], now[0], now[0]))
    assert found.quality.surface_mm == 0.0


def test_no_lung_and_another_grid_are_refused():
    now = scan(grid())
    empty = replace(now[1], labels=np.zeros_like(now[1].labels))
    with pytest.raises(InputError, match="no lung is labelled in the prior scan"):
        run_to_end(register(now[1], empty, now[0], now[0]))
    other = scan(grid((3, 3, 3)))
    with pytest.raises(InputError, match="current scan's labels are not on the grid of its CT"):
        run_to_end(register(other[1], now[1], now[0], now[0]))
