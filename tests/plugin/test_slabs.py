"""Slabs: how many slices, which, and the maximum and minimum over them."""

import numpy as np
import pytest

from napari_covseg.plugin.slabs import MINIP, MIP, SLICE, Slab


@pytest.fixture
def hu():
    return np.random.default_rng(1).integers(-1000, 400, (12, 9, 7)).astype(np.int16)


@pytest.mark.parametrize(
    ("mm", "spacing", "reach"), [(10, 2.5, (1, 2)), (10, 2.0, (2, 2)), (10, 30, (0, 0))]
)
def test_a_slab_holds_as_many_whole_slices_as_come_nearest(mm, spacing, reach):
    assert Slab(MIP, mm).reach(spacing) == reach
    assert Slab(SLICE, mm).reach(spacing) == (0, 0)


def test_it_ends_at_the_volume(hu):
    slab = Slab(MIP, 10)
    assert slab.slices(5, 12, 2.0) == slice(3, 8)
    assert slab.slices(0, 12, 2.0) == slice(0, 3)
    assert slab.slices(11, 12, 2.0) == slice(9, 12)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_it_shows_the_brightest_or_the_darkest(hu, axis):
    part = np.moveaxis(hu, axis, 0)[3:6]
    assert np.array_equal(Slab(MIP, 6).of(hu, axis, 4, 2.0), part.max(axis=0))
    assert np.array_equal(Slab(MINIP, 6).of(hu, axis, 4, 2.0), part.min(axis=0))
    assert np.array_equal(Slab(SLICE, 6).of(hu, axis, 4, 2.0), part[1])
    assert not np.array_equal(part.max(axis=0), part[1])


def test_its_text_is_its_true_thickness():
    assert Slab(MIP, 10).text(3.0) == "MIP 9 mm"
    assert Slab(MINIP, 5).text(0.7) == "MinIP 4.9 mm"
    assert Slab(SLICE, 5).text(0.7) == ""


def test_the_key_goes_round():
    seen = [slab := Slab(SLICE, 7)]
    for _ in range(3):
        slab = slab.next()
        seen.append(slab)
    assert [s.kind for s in seen] == [SLICE, MIP, MINIP, SLICE]
    assert {s.mm for s in seen} == {7}
