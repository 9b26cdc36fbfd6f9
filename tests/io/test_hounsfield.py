"""Which values are Hounsfield units, and what is said of those that are not."""

import numpy as np
import pytest

from napari_covseg.domain.errors import InputError
from napari_covseg.io.hounsfield import clear_padding, rescale, to_hounsfield, why_not_hounsfield

RNG = np.random.default_rng(0)


def chest(shape=(12, 64, 64)):
    """Air around a body of soft tissue with two lungs and some bone, in HU."""
    _, y, x = np.indices(shape)
    hu = np.full(shape, -1000.0)
    body = ((x - 32) / 28) ** 2 + ((y - 32) / 22) ** 2 < 1
    hu[body] = 40
    for side in (20, 44):
        hu[((x - side) / 8) ** 2 + ((y - 32) / 13) ** 2 < 1] = -850
    hu[(abs(x - 32) < 3) & (abs(y - 48) < 4)] = 700
    return np.rint(hu + RNG.normal(0, 15, shape)).clip(-1024, 3071).astype(np.int16)


def abdomen():
    """Soft tissue and fat only: no air anywhere."""
    hu = np.where(RNG.random((8, 40, 40)) < 0.3, -100, 50)
    return np.rint(hu + RNG.normal(0, 12, hu.shape)).astype(np.int16)


ACCEPTED = {
    "chest": chest(),
    "chest in float": chest().astype(np.float32) + np.float32(0.25),
    "abdomen": abdomen(),
    "narrow lung slice": RNG.uniform(-1350, 150, (1, 40, 40)).astype(np.float32),
    "window of lungs": chest().clip(-1350, 150),
    "window of soft tissue": abdomen().clip(-160, 240),
    "padded": np.where(chest() < -990, -2048, chest()).astype(np.int16),
    "metal": np.where(chest() > 650, 12000, chest()).astype(np.int16),
}


@pytest.mark.parametrize("values", ACCEPTED.values(), ids=ACCEPTED)
def test_hounsfield_units_are_accepted(values):
    assert why_not_hounsfield(values) is None


def as_8bit(low=-1350, high=150):
    return np.rint((chest().clip(low, high) - low) * (255 / (high - low))).astype(np.int16)


raw = (chest() + 1024).astype(np.int16)
REFUSED = {
    "8-bit": (as_8bit(), "8-bit grey values.*--window LOW HIGH"),
    "signed 8-bit": ((as_8bit(-1000) - 128).astype(np.int16), "signed 8-bit.*--window"),
    "0 to 1": ((as_8bit() / 255).astype(np.float32), "normalised.*--window"),
    "-1 to 1": ((as_8bit() / 127.5 - 1).astype(np.float32), "normalised.*--window"),
    "standardised": (((chest() - 3.0) / 400).astype(np.float32), "normalised.*--window"),
    "raw 12 bit": (raw, "offset of 1024.*--window -1024 3071"),
    "raw with a little noise": ((raw - 15).astype(np.int16), "offset of 1024"),
    "raw with padding": (np.where(raw < 40, -2000, raw).astype(np.int16), "offset of 1024"),
    "raw with milder padding": (
        np.where((np.indices(raw.shape)[1] < 6), -1024, raw + 5).astype(np.int16) - 8,
        "offset of 1024",
    ),
    "16 bit": ((as_8bit().astype(np.int32) * 257 // 4).astype(np.float32), "grey values.*--window"),
    "labels": (RNG.integers(0, 5, (4, 9, 9)).astype(np.int16), "label map, not a CT"),
    "nothing": (np.zeros((2, 3, 4), np.int16), "all voxels are 0"),
    "out of range": (chest().astype(np.float32) * 1000, "expected about -1024 to 3071"),
}


@pytest.mark.parametrize(("values", "text"), REFUSED.values(), ids=REFUSED)
def test_other_values_are_refused_with_what_to_do(values, text):
    with pytest.raises(InputError, match=text) as caught:
        to_hounsfield(values, "scan.nii")
    line = str(caught.value)
    assert line.startswith("scan.nii: ")
    assert "\n" not in line


def test_a_window_maps_8_bit_over_its_full_scale():
    grey = np.array([[[0, 51, 255, 240]]], dtype=np.int16)[..., :2]
    mapped, notes = to_hounsfield(grey, "x", (-1350, 150))
    np.testing.assert_allclose(mapped, [[[-1350, -1050]]])
    assert notes == ("grey values 0 to 255 were mapped to -1350 to 150 HU",)


def test_a_window_brings_raw_values_back_exactly():
    mapped, notes = to_hounsfield(raw, "x", (-1024, 3071))
    np.testing.assert_array_equal(mapped, chest_of(raw))
    assert mapped.dtype == np.int16
    assert "0 to 4095" in notes[0]


def chest_of(values):
    return values.astype(np.int32) - 1024


def test_a_window_maps_0_to_1_and_own_range():
    unit = np.array([[[0.0, 0.5, 0.9]]], dtype=np.float32)
    np.testing.assert_allclose(
        to_hounsfield(unit, "x", (-1000, 1000))[0], [[[-1000, 0, 800]]], atol=1e-3
    )
    signed = np.array([[[-1.0, 0.0, 1.0]]], dtype=np.float32)
    np.testing.assert_allclose(to_hounsfield(signed, "x", (-1000, 1000))[0], [[[-1000, 0, 1000]]])


def test_a_window_is_not_used_on_hounsfield_units():
    values, notes = to_hounsfield(chest(), "x", (-1350, 150))
    assert values.max() > 600
    assert "the window was not used" in notes[0]


@pytest.mark.parametrize("window", [(100, 100), (150, -1350), (float("nan"), 1)])
def test_an_impossible_window_is_refused(window):
    with pytest.raises(InputError, match="LOW < HIGH"):
        to_hounsfield(as_8bit(), "x", window)


def test_padding_becomes_air_with_one_note():
    values = np.array([[[-2048, -1400, -1024, 3071, 40]]], dtype=np.int16)
    values.setflags(write=False)
    cleared, notes = clear_padding(values)
    np.testing.assert_array_equal(cleared, [[[-1024, -1024, -1024, 3071, 40]]])
    assert notes == ("padding (down to -2048 HU) was set to air (-1024 HU)",)
    assert values[0, 0, 0] == -2048


def test_low_values_without_padding_stay():
    values = np.array([[[-1350, -1024, 150]]], dtype=np.int16)
    cleared, notes = clear_padding(values)
    np.testing.assert_array_equal(cleared, values)
    assert notes == ()


@pytest.mark.parametrize(("bad", "text"), [(np.nan, "1 voxel is NaN"), (np.inf, "1 voxel is")])
def test_not_finite_voxels_are_counted(bad, text):
    values = chest().astype(np.float32)
    values[3, 4, 5] = bad
    with pytest.raises(InputError, match=text):
        to_hounsfield(values, "x")
    values[0, 0, :2] = -bad
    with pytest.raises(InputError, match="3 voxels are NaN or infinite"):
        to_hounsfield(values, "x")


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int8, np.uint16, np.int16, np.int32, np.float64, ">i2"]
)
def test_rescale_keeps_whole_numbers_exact(dtype):
    stored = np.array([[[0, 1, 100, 127]]], dtype=dtype)
    for slope, inter in ((1, 0), (1, -1024), (2, 7), (-1, 3)):
        scaled = rescale(stored, slope, inter)
        assert scaled.dtype == np.int16
        np.testing.assert_array_equal(scaled, stored.astype(int) * slope + inter)


def test_rescale_keeps_fractions_and_large_values_as_float32():
    stored = np.array([[[0, 100, 255]]], dtype=np.uint8)
    scaled = rescale(stored, 1500 / 255, -1350)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, [[[-1350, -761.7647, 150]]], rtol=1e-6)
    wide = rescale(np.array([[[0, 65535]]], dtype=np.uint16))
    assert wide.dtype == np.float32
    np.testing.assert_array_equal(wide, [[[0, 65535]]])


def test_rescale_does_not_change_its_input():
    stored = np.array([[[1, 2, 3]]], dtype=np.int16)
    rescale(stored, 2, 5)
    np.testing.assert_array_equal(stored, [[[1, 2, 3]]])
