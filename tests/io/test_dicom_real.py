"""Real DICOM files, each with a quirk: values, places, order, counts and error texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_covseg.domain.errors import InputError
from napari_covseg.io.dicom import is_dicom, list_series, read_dicom

pytestmark = pytest.mark.real_data

LOSSLESS = (
    "1.2",
    "1.2.1",
    "1.2.2",
    "1.2.1.99",
    "1.2.5",
    "1.2.4.57",
    "1.2.4.70",
    "1.2.4.80",
    "1.2.4.90",
)
LOSSY = {"1.2.4.50": 18.0, "1.2.4.51": 5.0, "1.2.4.81": 1.0, "1.2.4.91": 1.0}


@pytest.fixture
def edge(data_dir) -> Path:
    return data_dir / "dicom_edge"


def _syntax(edge: Path, uid: str) -> Path:
    (path,) = edge.glob(f"ts_same_slice_CTImage/*Syntax_1.2.840.10008.{uid}.dcm")
    return path


@pytest.fixture
def plain(edge):
    return read_dicom(_syntax(edge, "1.2.1"))


def test_plain_slice(plain):
    assert plain.hu[0, 256, ::64].tolist() == [-101, 16, 17, -25, 67, 33, -40, 53]
    assert plain.geometry.spacing_mm == pytest.approx((5.0, 0.675781, 0.675781))
    assert plain.geometry.origin_mm == pytest.approx((-161.4, -148.8, 4.7), abs=1e-4)


def test_padding_the_header_is_wrong_about(edge, plain):
    from pydicom import dcmread

    stored = dcmread(_syntax(edge, "1.2.1")).pixel_array
    assert (stored == -2000).sum() > 50_000
    assert (plain.hu[0][stored == -2000] == -1024).all()
    assert np.array_equal(plain.hu[0][stored != -2000], stored[stored != -2000] - 1024)
    assert "padding" in plain.warnings[0]


@pytest.mark.parametrize("uid", LOSSLESS)
def test_lossless_syntaxes_give_the_same_hu(edge, plain, uid):
    volume = read_dicom(_syntax(edge, uid))
    assert volume.hu.dtype == np.int16
    assert np.array_equal(volume.hu, plain.hu)
    assert volume.geometry.same_as(plain.geometry)


@pytest.mark.parametrize(("uid", "most"), LOSSY.items())
def test_lossy_syntaxes_give_nearly_the_same_hu(edge, plain, uid, most):
    volume = read_dicom(_syntax(edge, uid))
    inside = plain.hu > -1024
    difference = np.abs(volume.hu - plain.hu.astype(np.float32))[inside].mean()
    assert 0 < difference < most


@pytest.mark.parametrize("uid", [uid for uid in (*LOSSLESS, *LOSSY) if "1.2.4" in uid])
def test_a_compressed_stream_cut_in_half_is_refused(edge, tmp_path, uid):
    from pydicom import dcmread
    from pydicom.encaps import encapsulate, generate_frames

    made = dcmread(_syntax(edge, uid))
    stream = next(generate_frames(made.PixelData, number_of_frames=1))
    made.PixelData = encapsulate([stream[: len(stream) // 4 * 2]])
    made["PixelData"].is_undefined_length = True
    made.save_as(tmp_path / "half.dcm")
    with pytest.raises(InputError, match=rf"half.dcm: the voxels.*{uid}.*cut off"):
        read_dicom(tmp_path / "half.dcm")


@pytest.mark.parametrize("uid", ["1.2.4.53", "1.2.4.55"])
def test_refused_syntaxes_are_named(edge, uid):
    with pytest.raises(InputError, match=rf"compressed as JPEG .*\(1\.2\.840\.10008\.{uid}\)"):
        read_dicom(_syntax(edge, uid))


def test_private_syntax_is_named(edge):
    with pytest.raises(
        InputError, match=r"GE Private Implicit VR Big Endian \(1.2.840.113619.5.2\)"
    ):
        read_dicom(edge / "unsupported_ts")


def test_nema_slice_in_six_syntaxes(edge):
    folder = edge / "ts_same_slice_NEMA_CT1"
    assert all(is_dicom(path) for path in folder.iterdir())
    volumes = {path.name[4:]: read_dicom(path) for path in folder.iterdir()}
    reference = volumes["J2KR"].hu
    assert (reference.min(), reference.max()) == (-1024, 1254)
    for name in ("JLSL", "JPLL", "RLE"):
        assert np.array_equal(volumes[name].hu, reference)
    for name in ("J2KI", "JLSN"):
        difference = np.abs(volumes[name].hu - reference)[reference > -1024].mean()
        assert 0 < difference < 40


def test_a_perfusion_map_is_refused(edge):
    with pytest.raises(InputError, match="'ml/100ml/s', a map computed from a CT"):
        read_dicom(edge / "enhanced_multiframe")


def test_multiframe_copy_is_a_series_of_its_own_with_the_same_voxels(edge):
    first, second = list_series(edge / "multiframe_vs_slices")
    assert (first.slices, second.slices) == (7, 7)
    assert second.uid == first.uid + "/2"
    slices = read_dicom(edge / "multiframe_vs_slices")
    frames = read_dicom(edge / "multiframe_vs_slices", series=second.uid)
    assert np.array_equal(slices.hu, frames.hu)
    assert slices.geometry.same_as(frames.geometry)
    assert slices.geometry.origin_mm == pytest.approx((-124.744, -309.744, -480), abs=1e-3)
    assert not any("derived" in note for note in slices.warnings)


def test_nineteen_time_points(edge):
    found = list_series(edge / "ct4d_19timepoints_tiny")
    assert len(found) == 19
    assert {info.slices for info in found} == {4}
    volume = read_dicom(edge / "ct4d_19timepoints_tiny", series=found[7].uid)
    assert volume.hu.shape == (4, 2, 3)
    assert volume.geometry.origin_mm == pytest.approx((-103.378, -112.7536, -729.25))
    assert volume.geometry.spacing_mm == pytest.approx((0.5, 0.43, 0.43))
    assert volume.case != read_dicom(edge / "ct4d_19timepoints_tiny", series=found[8].uid).case
    assert "19 axial CT series" in read_dicom(edge / "ct4d_19timepoints_tiny").warnings[0]


def test_tilted_and_uneven(edge):
    from pydicom import dcmread

    volume = read_dicom(edge / "gantry_tilt_uneven_GE")
    assert volume.geometry.shape == (9, 533, 512)
    assert volume.geometry.orthogonal
    assert "sheared by 18.5 degrees" in volume.warnings[0]
    assert "uneven (1.08 to 7.00 mm)" in volume.warnings[1]
    for number, plane in ((12, 0), (18, 8)):
        made = dcmread(edge / f"gantry_tilt_uneven_GE/{number}.dcm")
        row, column = 300, 250
        place = np.array(made.ImagePositionPatient, float)
        place += column * 0.4882812 * np.array(made.ImageOrientationPatient[:3], float)
        place += row * 0.4882812 * np.array(made.ImageOrientationPatient[3:], float)
        x, y, z = np.linalg.solve(volume.geometry.affine, [*place, 1])[:3]
        assert (x, z) == pytest.approx((column, plane), abs=1e-3)
        low = int(np.floor(y + 1e-3))
        share = y - low
        ours = (1 - share) * volume.hu[plane, low, column] + share * volume.hu[
            plane, low + 1, column
        ]
        around = made.pixel_array[row - 1 : row + 2, column]
        assert around.min() - 1 <= ours <= around.max() + 1
    first = dcmread(edge / "gantry_tilt_uneven_GE/12.dcm").pixel_array
    assert np.array_equal(volume.hu[0, 21:], np.maximum(first, -1024))


def test_tilt_only_in_the_cosines(edge):
    volume = read_dicom(edge / "gantry_tilt_4sl")
    assert "sheared by 14.0 degrees (gantry tilt): moved by up to 3.6 mm" in volume.warnings[0]
    assert volume.geometry.spacing_mm[0] == pytest.approx(5 * np.cos(np.radians(14)), abs=1e-3)
    assert volume.geometry.orthogonal


def test_dicomdir_and_scouts(edge):
    folder = edge / "dicomdir_tiny"
    volume = read_dicom(folder)
    assert volume.geometry.shape == (5, 16, 16)
    assert volume.geometry.origin_mm == pytest.approx((-72.2, -143.0, -1.2375), abs=1e-4)
    assert volume.geometry.spacing_mm == pytest.approx((2.5, 0.488281, 0.488281))
    found = {info.description: info for info in list_series(folder)}
    assert not found["Scout"].loadable
    assert "localizer" in found["Scout"].reason
    assert found["Cervical LAT"].reason == "an X-ray (CR), not a CT"
    with pytest.raises(InputError, match="localizer"):
        read_dicom(folder / "98892001" / "CT2N")
    with pytest.raises(InputError, match="MR image"):
        read_dicom(folder / "98892003")
    with pytest.raises(InputError, match="no pixel data"):
        read_dicom(folder / "TINY_ALPHA")


def test_every_dicomdir_stands_for_its_folder(edge):
    expected = read_dicom(edge / "dicomdir_tiny")
    files = sorted((edge / "dicomdir_tiny").glob("DICOMDIR*"))
    assert len(files) == 7
    for file in files:
        assert np.array_equal(read_dicom(file).hu, expected.hu)


def test_a_series_with_a_hole_of_20_cm(edge):
    first, second = list_series(edge / "dicomdir_tiny/77654033/CT2")
    assert (first.slices, second.slices) == (3, 1)
    volume = read_dicom(edge / "dicomdir_tiny/77654033/CT2")
    assert volume.geometry.origin_mm[2] == pytest.approx(103.02, abs=1e-3)


def test_no_preamble_and_no_meta_is_a_clear_error(edge):
    with pytest.raises(InputError, match=r"no_meta.dcm: not DICOM, or damaged"):
        read_dicom(edge / "no_file_meta")


def test_an_x_ray_is_refused(edge):
    with pytest.raises(InputError, match=r"an X-ray \(CR\), not a CT"):
        read_dicom(edge / "monochrome1_cr_chest")


def test_slices_that_are_not_axial(edge):
    folder = edge / "nonaxial_covid"
    planes = [info.plane for info in list_series(folder)]
    assert planes == ["axial"] * 3 + ["coronal", "sagittal", "coronal"]
    assert read_dicom(folder).geometry.shape[0] == 1
    coronal = read_dicom(folder / "19010101-43.dcm")
    assert coronal.geometry.shape == (512, 1, 512)
    assert coronal.geometry.spacing_mm == pytest.approx((0.618, 3.0, 0.618))
    assert coronal.geometry.origin_mm == pytest.approx(
        (-182.308, 49.492, 1868.949 - 511 * 0.618), abs=1e-3
    )
    assert (coronal.hu[:60] == -1024).all()
    sagittal = read_dicom(folder / "19010112-134.dcm")
    assert sagittal.geometry.shape == (512, 512, 1)
    assert sagittal.geometry.is_canonical


def test_j2k_whose_sign_disagrees_with_the_header(edge):
    from imagecodecs import jpeg2k_decode
    from pydicom import dcmread
    from pydicom.encaps import generate_frames

    volume = read_dicom(edge / "j2k_pixelrep_mismatch_tilt")
    made = dcmread(edge / "j2k_pixelrep_mismatch_tilt/J2K_pixelrep_mismatch.dcm")
    bits = jpeg2k_decode(next(generate_frames(made.PixelData, number_of_frames=1))).astype(int)
    signed = ((bits & 0x1FFF) ^ 0x1000) - 0x1000
    assert np.array_equal(volume.hu[0], np.maximum(signed, -1024))
    assert volume.hu.max() == 1896
    assert volume.geometry.spacing_mm == pytest.approx((5.0, 0.431, 0.431))
    assert volume.geometry.oblique_degrees == pytest.approx(22.0, abs=0.1)


def test_ct_beside_segmentations(edge):
    volume = read_dicom(edge / "seg_ct3slice")
    assert volume.geometry.shape == (3, 512, 512)
    assert volume.geometry.origin_mm == pytest.approx((-235.2, -226.8, -128.69), abs=1e-4)
    assert len(list_series(edge / "seg_ct3slice")) == 1
    assert read_dicom(edge / "seg_tiny_highdicom").geometry.shape == (1, 128, 128)
    with pytest.raises(InputError, match=r"a segmentation \(SEG\), not a CT"):
        read_dicom(edge / "seg_ct3slice" / "liver.dcm")


def test_every_patient_tag_removed(edge):
    volume = read_dicom(edge / "chest_2sl_lungmask")
    assert volume.geometry.spacing_mm == pytest.approx((1.0, 0.625, 0.625))
    assert (volume.hu.min(), volume.hu.max()) == (-1024, 1502)


def test_the_same_scan_as_dicom_and_nrrd(data_dir):
    import SimpleITK as sitk

    ours = read_dicom(data_dir / "volumes/cip_ct64_dicom")
    image = sitk.ReadImage(str(data_dir / "volumes/cip_ct64/ct-64.nrrd"))
    assert np.array_equal(ours.hu, sitk.GetArrayFromImage(image))
    assert ours.geometry.spacing_mm == pytest.approx(image.GetSpacing()[::-1], abs=1e-3)
    assert ours.geometry.origin_mm == pytest.approx(image.GetOrigin(), abs=1e-3)
    assert ours.warnings == ()


def test_whole_chest(data_dir):
    volume = read_dicom(data_dir / "volumes/dicom_LungDx-A0002_B40f")
    assert volume.geometry.shape == (30, 512, 512)
    assert volume.geometry.spacing_mm == pytest.approx((8.0, 0.646484, 0.646484), abs=1e-5)
    assert volume.geometry.origin_mm == pytest.approx((-173.177, -294.177, 80.0), abs=1e-3)
    assert volume.hu[6, 256, ::100].tolist() == [-1011, 47, 60, -200, -20, -1004]
    assert volume.warnings == ()
