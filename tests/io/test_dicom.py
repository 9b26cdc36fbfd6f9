"""Where voxels land and what they are worth: orientations, order, rescaling, padding."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_maker import AXIAL, along, expected, field, image, points_of, write_series

from napari_covseg.domain.errors import InputError
from napari_covseg.io.dicom import list_series, read_dicom

A = np.radians(20)
ORIENTATIONS = {
    "supine": AXIAL,
    "prone": (-1, 0, 0, 0, -1, 0),
    "mirrored rows": (-1, 0, 0, 0, 1, 0),
    "upside down": (1, 0, 0, 0, -1, 0),
    "transposed": (0, 1, 0, 1, 0, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "sagittal from the right": (0, -1, 0, 0, 0, -1),
    "oblique": (np.cos(A), np.sin(A), 0, -np.sin(A), np.cos(A), 0),
    "tilted stack": (1, 0, 0, 0, np.cos(A), -np.sin(A)),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS)
@pytest.mark.parametrize("step", [3.0, -3.0], ids=["along", "against"])
def test_every_voxel_is_where_its_value_says(tmp_path, orientation, step):
    write_series(tmp_path, along(orientation, 7, step), orientation)
    volume = read_dicom(tmp_path)
    assert volume.geometry.is_canonical
    assert np.abs(volume.hu - expected(volume.geometry)).max() <= 0.5 + 1e-6
    assert sorted(volume.geometry.spacing_mm) == pytest.approx([1.0, 2.0, 3.0])
    assert volume.hu.flags.c_contiguous
    assert all("axial" in note for note in volume.warnings)


def test_left_stays_left(tmp_path):
    def ball_on_the_left(points):
        return np.where(np.linalg.norm(points - (5, -1, 40), axis=-1) < 4, 200, -800)

    for name, orientation in ORIENTATIONS.items():
        write_series(tmp_path / name, along(orientation, 9, 2.5), orientation, hu=ball_on_the_left)
        volume = read_dicom(tmp_path / name)
        ball = points_of(volume.geometry)[volume.hu == 200]
        if len(ball):
            assert np.linalg.norm(ball - (5, -1, 40), axis=-1).max() < 4, name
    supine = read_dicom(tmp_path / "supine")
    x = np.nonzero(supine.hu == 200)[2]
    assert x.min() > supine.hu.shape[2] / 2


def test_names_and_numbers_do_not_order_slices(tmp_path):
    shuffled = np.random.default_rng(3).permutation(9)
    plain = write_series(tmp_path / "plain", along(AXIAL, 9, 2.0))
    mixed = write_series(
        tmp_path / "mixed",
        along(AXIAL, 9, 2.0)[shuffled],
        each=lambda i: {"InstanceNumber": int((i * 5) % 9)},
        name=lambda i: f"{(i * 7) % 9}.img",
    )
    first, second = read_dicom(plain), read_dicom(mixed)
    assert np.array_equal(first.hu, second.hu)
    assert first.geometry.same_as(second.geometry)
    assert not np.array_equal(first.hu, first.hu[::-1])


def test_to_native_gives_back_rows_and_columns(tmp_path):
    orientation = ORIENTATIONS["sagittal from the right"]
    positions = along(orientation, 5, 3.0)
    write_series(tmp_path, positions, orientation)
    volume = read_dicom(tmp_path)
    native = volume.to_native.apply(volume.hu)
    assert native.shape == (5, 12, 16)
    assert native[0, 0, 0] == round(float(field(positions[0])))
    assert volume.geometry.reoriented(volume.to_native).origin_mm == pytest.approx(positions[0])


def test_each_slice_has_its_own_slope_and_intercept(tmp_path):
    write_series(
        tmp_path,
        along(AXIAL, 5, 2.0),
        each=lambda i: {"RescaleSlope": 1 + i % 2, "RescaleIntercept": -1000 - 7 * i},
    )
    volume = read_dicom(tmp_path)
    assert volume.hu.dtype == np.int16
    assert np.abs(volume.hu - expected(volume.geometry)).max() <= 1


def test_a_broken_slope_gives_float(tmp_path):
    write_series(tmp_path, along(AXIAL, 3, 2.0), RescaleSlope=0.25)
    volume = read_dicom(tmp_path)
    assert volume.hu.dtype == np.float32
    assert np.abs(volume.hu - expected(volume.geometry)).max() <= 0.125


@pytest.mark.parametrize(
    ("stored", "intercept", "declared", "air"),
    [
        (-2000, -1024, -2000, True),
        (-2000, -1024, -32768, True),
        (-2048, 0, None, True),
        (-1500, 0, -1500, True),
        (-32768, -1024, None, True),
        (-1010, 0, -1010, True),
        (0, 0, 0, False),
        (-1300, 0, None, False),
    ],
)
def test_padding_becomes_air(tmp_path, stored, intercept, declared, air):
    hu = np.full((64, 64), -500.0)
    hu[10:20, 10:20] = 30
    hu[:4] = stored + intercept
    tags = {} if declared is None else {"PixelPaddingValue": declared}
    made = image(np.maximum(hu, -30000), RescaleIntercept=intercept, **tags)
    raw = np.frombuffer(made.PixelData, np.int16).reshape(64, 64).copy()
    raw[:4] = stored
    made.PixelData = raw.tobytes()
    made.save_as(tmp_path / "a.dcm")
    volume = read_dicom(tmp_path)
    assert (volume.hu[0, :4] == (-1024 if air else stored + intercept)).all()
    assert (volume.hu[0, 10:20, 10:20] == 30).all()
    assert (volume.hu[0, 30:] == -500).all()
    undeclared = air and declared in (None, -32768)
    assert any("padding" in note for note in volume.warnings) == undeclared


def test_values_too_large_for_int16_are_clipped_not_wrapped(tmp_path):
    made = image(np.zeros((4, 4)), PixelRepresentation=0)
    made.PixelData = np.full((4, 4), 65535, np.uint16).tobytes()
    made.save_as(tmp_path / "a.dcm")
    assert (read_dicom(tmp_path).hu == 32767).all()


def test_twelve_bit_signed_values_keep_their_sign(tmp_path):
    made = image(np.zeros((2, 2)), BitsStored=12, HighBit=11, RescaleIntercept=0)
    made.PixelData = np.array([[-5, 7], [2047, -1000]], np.int16).view(np.uint16).tobytes()
    bits = np.frombuffer(made.PixelData, np.uint16) & 0x0FFF
    made.PixelData = bits.tobytes()
    made.save_as(tmp_path / "a.dcm")
    assert read_dicom(tmp_path).hu.tolist() == [[[-5, 7], [2047, -1000]]]


def test_bone_is_kept_where_the_header_promises_too_few_bits(tmp_path):
    made = image(
        np.array([[-1000, 2500], [40, 3000]]), BitsStored=12, HighBit=11, RescaleIntercept=0
    )
    made.save_as(tmp_path / "a.dcm")
    assert read_dicom(tmp_path).hu.tolist() == [[[-1000, 2500], [40, 3000]]]


@pytest.mark.parametrize(("thickness", "between", "z"), [(5.0, None, 5.0), (None, 2.5, 2.5)])
def test_a_single_slice_is_a_volume(tmp_path, thickness, between, z):
    write_series(
        tmp_path, along(AXIAL, 1, 1.0), SliceThickness=thickness, SpacingBetweenSlices=between
    )
    volume = read_dicom(tmp_path / "000.dcm")
    assert volume.hu.shape == (1, 12, 16)
    assert volume.geometry.spacing_mm == pytest.approx((z, 2.0, 1.0))
    assert volume.warnings == ()


def test_a_single_slice_without_thickness_says_so(tmp_path):
    write_series(tmp_path, along(AXIAL, 1, 1.0), SliceThickness=None)
    volume = read_dicom(tmp_path)
    assert volume.geometry.spacing_mm == pytest.approx((1.0, 2.0, 1.0))
    assert "thickness" in volume.warnings[0]


def test_grey_values_need_a_window(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (64, 64))
    image(grey, RescaleSlope=None, RescaleIntercept=None).save_as(tmp_path / "a.dcm")
    with pytest.raises(InputError, match="--window"):
        read_dicom(tmp_path)
    volume = read_dicom(tmp_path, window=(-1350, 150))
    assert volume.hu[0] == pytest.approx(-1350 + grey * 1500 / 255, abs=1)
    assert volume.warnings


def test_a_window_is_not_used_on_hounsfield_units(tmp_path):
    write_series(tmp_path, along(AXIAL, 3, 2.0))
    plain, windowed = read_dicom(tmp_path), read_dicom(tmp_path, window=(-1000, 0))
    assert np.array_equal(plain.hu, windowed.hu)
    assert "not used" in windowed.warnings[0]


def test_case_is_a_pseudonym_of_the_series(tmp_path):
    write_series(tmp_path / "Doe", along(AXIAL, 3, 2.0))
    write_series(tmp_path / "other", along(AXIAL, 3, 2.0), series="1.2.3.5")
    write_series(tmp_path / "again", along(AXIAL, 3, 2.0), name=lambda i: f"x{i}")
    volume = read_dicom(tmp_path / "Doe")
    assert volume.case == "ct-6694f83c9f"
    assert read_dicom(tmp_path / "again").case == volume.case
    assert read_dicom(tmp_path / "other").case != volume.case
    assert volume.source == "DICOM"


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ({"Modality": "MR"}, r"an MR image \(MR\), not a CT"),
        ({"Modality": "CR"}, r"an X-ray \(CR\), not a CT"),
        ({"Modality": "US"}, r"an ultrasound image \(US\), not a CT"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"RescaleType": "Z_EFF"}, "Z_EFF"),
        ({"spacing": None}, "pixel spacing is missing"),
        ({"position": None}, "position in the patient is missing"),
        ({"orientation": None}, "orientation in the patient is missing"),
        ({"orientation": (1, 0, 0, 1, 0, 0)}, "orientation in the patient is invalid"),
        ({"SamplesPerPixel": 3}, "colour picture"),
        ({"RescaleSlope": 1e30}, "gives no HU"),
        ({"RescaleIntercept": -1e9, "hu": -1e9}, "gives no HU"),
    ],
)
def test_what_is_no_ct_is_refused_by_name(tmp_path, tags, told):
    image(np.full((4, 4), tags.pop("hu", 0.0)), **tags).save_as(tmp_path / "a.dcm")
    with pytest.raises(InputError, match=told) as caught:
        read_dicom(tmp_path / "a.dcm")
    assert "\n" not in str(caught.value)
    assert "a.dcm" in str(caught.value)
    assert [info.loadable for info in list_series(tmp_path)] == [False]


def test_messages_hold_no_patient_data(tmp_path):
    positions = [*along(AXIAL, 4, 2.0), (0, 0, 77.0), (0, 0, 79.0)]
    write_series(tmp_path, positions, GantryDetectorTilt=12)
    (tmp_path / "bad.dcm").write_bytes(b"Doe^Jane 4711")
    volume = read_dicom(tmp_path)
    assert len(volume.warnings) >= 2
    assert not any("Doe" in note or "4711" in note for note in volume.warnings)
