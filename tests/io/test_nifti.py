"""NIfTI by content: orientation rules, scaling, and headers that lie."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from grids import GRIDS, SHAPE, grid, hu_at, hu_volume, positions

from napari_covseg.domain.errors import InputError, ResourceError
from napari_covseg.domain.geometry import Geometry, Reorientation, ras_to_lps
from napari_covseg.io import read_volume
from napari_covseg.io import sniff as sniff_module


def save(path, array, lps=None, *, sform=2, qform=0, kind=nib.Nifti1Image, edit=None):
    """Write ``[z, y, x]`` voxels by nibabel, the affine as sform and/or qform."""
    ras = ras_to_lps(GRIDS["canonical"].affine if lps is None else lps)
    image = kind(np.asarray(array).T, None)
    image.header.set_sform(ras, sform)
    image.header.set_qform(ras, qform)
    image.header.set_xyzt_units("mm")
    if edit:
        edit(image.header)
    nib.save(image, path)
    return path


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (2, 1)])
@pytest.mark.parametrize("native", GRIDS.values(), ids=GRIDS)
def test_every_orientation_lands_in_place(tmp_path, native, codes, kind):
    sform, qform = codes
    path = tmp_path / "ct.nii.gz"
    save(path, hu_volume(native), native.affine, sform=sform, qform=qform, kind=kind)
    volume = read_volume(path)
    assert volume.geometry.is_canonical
    np.testing.assert_allclose(volume.hu, hu_at(positions(volume.geometry)), atol=0.502)
    back = volume.geometry.reoriented(volume.to_native)
    np.testing.assert_allclose(back.affine, native.affine, atol=1e-4)
    np.testing.assert_array_equal(volume.to_native.apply(volume.hu), hu_volume(native))
    assert volume.warnings == ()
    assert volume.source == "NIfTI"
    assert volume.hu.dtype == np.int16
    assert volume.hu.flags.c_contiguous


def test_no_orientation_is_refused(tmp_path):
    path = save(tmp_path / "ct.nii", hu_volume(GRIDS["canonical"]), sform=0, qform=0)
    with pytest.raises(InputError, match=r"^ct\.nii: no usable orientation"):
        read_volume(path)


def test_a_broken_sform_leaves_the_qform(tmp_path):
    native = GRIDS["oblique"]

    def spoil(header):
        for row in ("srow_x", "srow_y", "srow_z"):
            header[row] = 0

    path = save(tmp_path / "ct.nii", hu_volume(native), native.affine, qform=1, edit=spoil)
    np.testing.assert_allclose(read_volume(path).geometry.affine, native.affine, atol=1e-4)


def test_forms_that_disagree_are_told(tmp_path):
    native = GRIDS["canonical"]
    moved = native.affine.copy()
    moved[0, 3] += 8

    def move(header):
        header.set_qform(ras_to_lps(moved), 1)

    path = save(tmp_path / "ct.nii", hu_volume(native), native.affine, edit=move)
    volume = read_volume(path)
    assert volume.warnings == ("sform and qform disagree by up to 8.0 mm: the sform was used",)
    np.testing.assert_allclose(volume.geometry.affine, native.affine, atol=1e-4)


def test_metres_become_millimetres_only_where_that_is_plausible(tmp_path):
    def in_metres(header):
        header.set_xyzt_units("meter")

    metres = GRIDS["canonical"].affine.copy()
    metres[:3] /= 1000
    voxels = hu_volume(GRIDS["canonical"])
    true = read_volume(save(tmp_path / "a.nii", voxels, metres, edit=in_metres))
    np.testing.assert_allclose(true.geometry.spacing_mm, (3.25, 0.75, 1.5), rtol=1e-5)
    assert "converted to mm" in true.warnings[0]
    false = read_volume(save(tmp_path / "b.nii", voxels, edit=in_metres))
    np.testing.assert_allclose(false.geometry.spacing_mm, (3.25, 0.75, 1.5), rtol=1e-5)
    assert false.warnings == ()


@pytest.mark.parametrize(
    ("dtype", "slope", "inter", "expected"),
    [
        (np.uint8, 1500 / 255, -1350, np.float32),
        (np.uint16, 1, -1024, np.int16),
        (np.int32, 1, 0, np.int16),
        (np.float32, 1, 0, np.int16),
        (np.float64, 1, 0.5, np.float32),
        (">i2", 1, 0, np.int16),
    ],
)
def test_stored_values_are_scaled(tmp_path, dtype, slope, inter, expected):
    low = 0 if np.dtype(dtype).kind == "u" else -1000
    stored = np.linspace(low, low + 250 if dtype == np.uint8 else low + 2000, 7 * 9 * 11)
    stored = stored.round().reshape(SHAPE).astype(dtype)

    def scale(header):
        header.set_data_dtype(np.dtype(dtype))

    path = tmp_path / "ct.nii"
    save(path, stored, edit=scale)
    data = bytearray(path.read_bytes())
    order = "<" if data[:4] == (348).to_bytes(4, "little") else ">"
    data[112:120] = np.array([slope, inter], dtype=f"{order}f4").tobytes()
    path.write_bytes(data)
    volume = read_volume(path)
    assert volume.hu.dtype == expected
    wanted = stored.astype(np.float64) * np.float32(slope) + np.float32(inter)
    np.testing.assert_allclose(volume.hu, wanted, atol=1e-3)


def test_extra_dimensions_of_one_are_dropped_and_real_ones_refused(tmp_path):
    voxels = hu_volume(GRIDS["canonical"])
    one = save(tmp_path / "one.nii", voxels[None, None])
    np.testing.assert_array_equal(read_volume(one).hu, voxels)
    several = save(tmp_path / "four.nii", np.stack([voxels, voxels]))
    with pytest.raises(InputError, match=r"4D \(11 x 9 x 7 x 2\); expected one 3D volume"):
        read_volume(several)


@pytest.mark.parametrize("axes", [2, 3])
def test_a_single_slice_with_geometry_is_a_volume(tmp_path, axes):
    native = grid(shape=(1, 9, 11), degrees=(10, 0, 5))
    voxels = hu_volume(native)
    path = save(tmp_path / "slice.nii.gz", voxels[0] if axes == 2 else voxels, native.affine)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.hu, voxels)
    np.testing.assert_allclose(volume.geometry.affine, native.affine, atol=1e-4)


def test_colour_and_complex_voxels_are_refused(tmp_path):
    colour = np.zeros((4, 5, 6), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(InputError, match="colour voxels"):
        read_volume(save(tmp_path / "rgb.nii", colour))
    with pytest.raises(InputError, match="complex"):
        read_volume(save(tmp_path / "c.nii", np.zeros((4, 5, 6), np.complex64)))


def test_a_shear_is_set_upright(tmp_path):
    """Tilt in y of 20 degrees: every voxel away from the rim keeps its place in the patient."""
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[1, 2] = 2 * np.tan(np.radians(20))
    native = Geometry((9, 24, 16), affine)
    volume = read_volume(save(tmp_path / "tilt.nii", hu_volume(native), affine))
    assert volume.geometry.orthogonal
    assert "sheared by 20.0 degrees: moved by up to 5.8 mm" in volume.warnings[0]
    assert volume.to_native == Reorientation()
    inside = volume.hu[:, 7:22]
    np.testing.assert_allclose(inside, hu_at(positions(volume.geometry))[:, 7:22], atol=1.1)
    assert volume.hu[0, -1, 0] == -1024


def test_a_shear_farther_than_slices_are_wide_is_refused(tmp_path):
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[1, 2] = 20
    path = save(tmp_path / "ct.nii", hu_volume(Geometry(SHAPE, np.eye(4))), affine)
    with pytest.raises(InputError, match="sheared by 84 degrees, farther than they are wide"):
        read_volume(path)


def test_impossible_voxel_sizes_are_refused(tmp_path):
    path = save(tmp_path / "ct.nii", hu_volume(GRIDS["canonical"]), np.diag([1.0, 1, 4000, 1]))
    with pytest.raises(InputError, match="voxels of 1 x 1 x 4e\\+03 mm"):
        read_volume(path)


def test_a_shear_within_the_slice_is_refused(tmp_path):
    affine = np.eye(4)
    affine[0, 1] = 0.4
    with pytest.raises(InputError, match="not at right angles"):
        read_volume(save(tmp_path / "ct.nii", hu_volume(Geometry(SHAPE, affine)), affine))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("left", [0, 3, 200, 351, 500, -1])
def test_truncated_files_are_refused(tmp_path, suffix, left):
    rng = np.random.default_rng(0)
    path = save(tmp_path / f"ct{suffix}", rng.integers(-1000, 1000, SHAPE).astype(np.int16))
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(InputError, match=r"^ct\.nii.*(empty|truncated|damaged)"):
        read_volume(path)


def test_damaged_gzip_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    path = save(tmp_path / "ct.nii.gz", rng.integers(-1000, 1000, (20, 30, 40)).astype(np.int16))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"ct\.nii\.gz: truncated or damaged"):
        read_volume(path)
    path.write_bytes(b"\x1f\x8b" + bytes(100))
    with pytest.raises(InputError, match="gzip data is damaged"):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_header_that_promises_too_much_allocates_nothing(tmp_path, suffix, monkeypatch):
    path = save(tmp_path / "big.nii", hu_volume(GRIDS["canonical"]))
    data = bytearray(path.read_bytes())
    data[42:48] = np.array([30000, 30000, 2000], dtype="<i2").tobytes()
    path = tmp_path / f"lie{suffix}"
    path.write_bytes(gzip.compress(data) if suffix == ".nii.gz" else data)
    monkeypatch.setattr(np, "empty", None)
    with pytest.raises(InputError, match="promises 2000 x 30000 x 30000 voxels"):
        read_volume(path)


@pytest.mark.parametrize("name", ["ct.nii", "ct.nrrd", "ct", "ct.png"])
def test_the_content_decides_not_the_name(tmp_path, name):
    voxels = hu_volume(GRIDS["canonical"])
    packed = save(tmp_path / "x.nii.gz", voxels)
    np.testing.assert_array_equal(read_volume(packed.rename(tmp_path / name)).hu, voxels)
    plain = save(tmp_path / "y.nii", voxels)
    assert read_volume(plain.rename(tmp_path / "z.nii.gz")).hu.shape == SHAPE


def test_a_header_without_its_voxels_is_refused(tmp_path):
    image = nib.Nifti1Pair(hu_volume(GRIDS["canonical"]).T, np.eye(4))
    nib.save(image, tmp_path / "ct.hdr")
    with pytest.raises(InputError, match=r"ct\.hdr: .*\.hdr/\.img"):
        read_volume(tmp_path / "ct.hdr")


@pytest.mark.parametrize("offset", [(40, "<i2", -3), (70, "<i2", 999), (108, "<f4", 10.0)])
def test_damaged_headers_are_refused(tmp_path, offset):
    at, kind, value = offset
    path = save(tmp_path / "ct.nii", hu_volume(GRIDS["canonical"]))
    data = bytearray(path.read_bytes())
    data[at : at + np.dtype(kind).itemsize] = np.array([value], dtype=kind).tobytes()
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"^ct\.nii: "):
        read_volume(path)


def test_little_memory_is_an_error_of_its_own(tmp_path, monkeypatch):
    path = save(tmp_path / "ct.nii", hu_volume(GRIDS["canonical"]))

    def too_much(*_, **__):
        raise MemoryError

    monkeypatch.setattr(np, "empty", too_much)
    with pytest.raises(ResourceError, match=r"ct\.nii: not enough memory"):
        read_volume(path)
    assert sniff_module.sniff(path).value == "NIfTI"
