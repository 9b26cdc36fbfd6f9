import numpy as np
import pytest

from napari_covseg.quantify.density import (
    BANDS,
    HU_HIGH,
    HU_LOW,
    HU_VALUES,
    Density,
    band_of_each,
    histogram,
    mass_g,
    mean_hu,
    percentile_hu,
)


def counts(values):
    return np.bincount(np.asarray(values) - HU_LOW, minlength=HU_VALUES)


@pytest.mark.parametrize(
    ("hu", "band"),
    [
        *((HU_LOW, "emphysema"), (-951, "emphysema"), (-950, "inflated"), (-701, "inflated")),
        *((-700, "ground_glass"), (-201, "ground_glass"), (-200, "consolidation")),
        (HU_HIGH, "consolidation"),
    ],
)
def test_bands_at_their_limits(hu, band):
    assert BANDS[band_of_each()[hu - HU_LOW]][0] == band
    shares = Density.of(counts([hu]), 1.0).bands_percent
    assert shares == {name: 100.0 * (name == band) for name, _, _ in BANDS}


def test_laa_950_is_below_not_at():
    assert Density.of(counts([-951, -950, -949, -949]), 1.0).laa950_percent == 25.0


def test_percentile_15_is_numpys():
    values = np.random.default_rng(1).integers(-1000, 100, 1001)
    expected = np.percentile(values, 15, method="inverted_cdf")
    assert percentile_hu(counts(values), 15.0) == expected
    assert percentile_hu(counts([-900] * 15 + [-800] * 85), 15.0) == -900
    assert percentile_hu(counts([-900] * 14 + [-800] * 86), 15.0) == -800


def test_mean_and_mass():
    found = counts([-1000, -500, 0, 1000])
    assert mean_hu(found) == pytest.approx(-125.0)
    # 0, 0.5, 1 and 2 g/ml, 0.25 ml each; air of less than -1000 HU weighs nothing.
    assert mass_g(found, 0.25) == pytest.approx(0.875)
    assert mass_g(counts([-1024]), 1.0) == 0.0
    assert mass_g(found, None) is None


def test_nothing_has_no_density():
    found = Density.of(np.zeros(HU_VALUES, int), 1.0)
    assert (found.mean_hu, found.mass_g, found.perc15_hu, found.laa950_percent) == (None,) * 4
    assert set(found.bands_percent.values()) == {None}


def test_histogram_has_edges_on_tens():
    edges, found = histogram(counts([-1024, -951, -950, -941, 0, 9, 1023]))
    by_edge = dict(zip(edges, found, strict=True))
    assert (edges[0], edges[-1]) == (-1030, 1020)
    assert (by_edge[-960], by_edge[-950], by_edge[0], by_edge[1020]) == (1, 2, 2, 1)
    assert sum(found) == 7
