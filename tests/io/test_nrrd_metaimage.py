"""NRRD and MetaImage: patient space, headers that say too little or too much."""

import nrrd
import numpy as np
import pytest
import SimpleITK
from grids import GRIDS, SHAPE, hu_at, hu_volume, positions

from napari_covseg.domain.errors import InputError
from napari_covseg.io import read_volume


def save(path, geometry, voxels=None, compress=True):
    """Write by SimpleITK."""
    image = SimpleITK.GetImageFromArray(hu_volume(geometry) if voxels is None else voxels)
    image.SetSpacing(geometry.spacing_mm[::-1])
    image.SetOrigin(geometry.origin_mm)
    image.SetDirection(geometry.direction.reshape(-1))
    SimpleITK.WriteImage(image, path, compress)
    return path


def save_nrrd(path, voxels, **header):
    """Write by pynrrd, ``[z, y, x]`` voxels."""
    nrrd.write(str(path), voxels.T, header)
    return path


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize(
    ("suffix", "source"),
    [(".nrrd", "NRRD"), (".nhdr", "NRRD"), (".mha", "MetaImage"), (".mhd", "MetaImage")],
)
@pytest.mark.parametrize("native", GRIDS.values(), ids=GRIDS)
def test_every_orientation_lands_in_place(tmp_path, native, suffix, source, compress):
    volume = read_volume(save(tmp_path / f"ct{suffix}", native, compress=compress))
    np.testing.assert_allclose(volume.hu, hu_at(positions(volume.geometry)), atol=0.502)
    np.testing.assert_array_equal(volume.to_native.apply(volume.hu), hu_volume(native))
    back = volume.geometry.reoriented(volume.to_native)
    np.testing.assert_allclose(back.affine, native.affine, atol=1e-9)
    assert volume.source == source
    assert volume.case == "ct"
    assert volume.warnings == ()


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("left-posterior-superior", (1, 1, 1)),
        ("LPS", (1, 1, 1)),
        ("RAS", (-1, -1, 1)),
        ("left-anterior-superior", (1, -1, 1)),
    ],
)
def test_nrrd_spaces_are_turned_to_lps(tmp_path, space, signs):
    native = GRIDS["oblique"]
    turn = np.diag(signs).astype(float)
    directions = (turn @ native.affine[:3, :3]).T
    origin = turn @ native.affine[:3, 3]
    path = tmp_path / "ct.nrrd"
    header = {"space": space, "space directions": directions, "space origin": origin}
    save_nrrd(path, hu_volume(native), **header)
    np.testing.assert_allclose(read_volume(path).geometry.affine, native.affine, atol=1e-9)


@pytest.mark.parametrize("header", [{}, {"spacings": [1, 2, 3]}, {"space": "3D-right-handed"}])
def test_nrrd_without_patient_space_is_refused(tmp_path, header):
    if "space" in header:
        header = {**header, "space directions": np.eye(3), "space origin": [0, 0, 0]}
    path = save_nrrd(tmp_path / "ct.nrrd", hu_volume(GRIDS["canonical"]), **header)
    with pytest.raises(InputError, match=r"^ct\.nrrd: no orientation"):
        read_volume(path)


def test_metaimage_without_orientation_or_spacing_is_refused(tmp_path):
    for missing in ("TransformMatrix", "ElementSpacing"):
        path = save(tmp_path / "ct.mhd", GRIDS["canonical"], compress=False)
        lines = path.read_text().splitlines()
        path.write_text("\n".join(line for line in lines if not line.startswith(missing)) + "\n")
        with pytest.raises(InputError, match=f"has no {missing}"):
            read_volume(path)


@pytest.mark.parametrize("shape", [(4, 5), (2, 4, 5, 6)])
@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_only_three_dimensions(tmp_path, suffix, shape):
    image = SimpleITK.GetImageFromArray(np.zeros(shape, np.int16), isVector=False)
    SimpleITK.WriteImage(image, tmp_path / f"ct{suffix}")
    with pytest.raises(InputError, match=f"{len(shape)}D .*expected one 3D volume"):
        read_volume(tmp_path / f"ct{suffix}")


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_colour_is_refused(tmp_path, suffix):
    image = SimpleITK.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    SimpleITK.WriteImage(image, tmp_path / f"ct{suffix}")
    with pytest.raises(InputError, match=r"^ct"):
        read_volume(tmp_path / f"ct{suffix}")


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("left", [10, 60, -300, -3])
def test_truncated_files_are_refused(tmp_path, suffix, compress, left, capfd):
    rng = np.random.default_rng(0)
    voxels = rng.integers(-1000, 1000, SHAPE).astype(np.int16)
    path = save(tmp_path / f"ct{suffix}", GRIDS["canonical"], voxels, compress)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(InputError, match=r"^ct\.") as caught:
        read_volume(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("suffix", "field"), [(".nrrd", "sizes: "), (".mha", "DimSize = ")])
def test_a_header_that_promises_too_much_is_refused_at_once(tmp_path, suffix, field):
    path = save(tmp_path / f"ct{suffix}", GRIDS["canonical"])
    sizes = (field + "11 9 7").encode()
    data = path.read_bytes()
    assert sizes in data
    path.write_bytes(data.replace(sizes, (field + "10000 10000 10000").encode()))
    with pytest.raises(InputError, match="promises 10000 x 10000 x 10000 voxels"):
        read_volume(path)


@pytest.mark.parametrize(("suffix", "data"), [(".mhd", ".raw"), (".nhdr", ".raw")])
def test_missing_voxels_are_named(tmp_path, suffix, data):
    path = save(tmp_path / f"ct{suffix}", GRIDS["canonical"], compress=False)
    (tmp_path / f"ct{data}").unlink()
    with pytest.raises(InputError, match=rf"should be in ct\{data}, which is missing"):
        read_volume(path)


def test_the_content_decides_not_the_name(tmp_path):
    path = save(tmp_path / "x.nrrd", GRIDS["canonical"]).rename(tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(read_volume(path).hu, hu_volume(GRIDS["canonical"]))
    path = save(tmp_path / "x.mha", GRIDS["canonical"]).rename(tmp_path / "ct")
    np.testing.assert_array_equal(read_volume(path).hu, hu_volume(GRIDS["canonical"]))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_data_types(tmp_path, dtype):
    native = GRIDS["canonical"]
    if np.dtype(dtype).kind == "u":
        with pytest.raises(InputError, match="not in Hounsfield units"):
            read_volume(save(tmp_path / "ct.nrrd", native, (hu_volume(native) % 200).astype(dtype)))
        return
    volume = read_volume(save(tmp_path / "ct.nrrd", native, hu_volume(native).astype(dtype)))
    np.testing.assert_array_equal(volume.hu, hu_volume(native))
    assert volume.hu.dtype == np.int16


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("flip", [1, 0x10])
def test_a_damaged_byte_is_found(tmp_path, suffix, flip):
    """A checksum says so: ITK itself reads on, with other values."""
    rng = np.random.default_rng(0)
    path = save(
        tmp_path / f"ct{suffix}",
        GRIDS["canonical"],
        rng.integers(-1000, 1000, SHAPE).astype(np.int16),
    )
    data = bytearray(path.read_bytes())
    data[-300] ^= flip
    path.write_bytes(data)
    with pytest.raises(InputError, match="truncated or damaged"):
        read_volume(path)


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
@pytest.mark.parametrize("detached", [False, True])
def test_nrrd_encodings(tmp_path, encoding, detached):
    native = GRIDS["oblique"]
    path = tmp_path / ("ct.nhdr" if detached else "ct.nrrd")
    header = {
        "space": "LPS",
        "space directions": native.affine[:3, :3].T,
        "space origin": native.affine[:3, 3],
        "encoding": encoding,
        "endian": "big",
    }
    nrrd.write(str(path), hu_volume(native).T, header, detached_header=detached)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.to_native.apply(volume.hu), hu_volume(native))


def test_nrrd_text_encoding_is_refused(tmp_path):
    header = {"space": "LPS", "space directions": np.eye(3), "space origin": [0, 0, 0]}
    path = save_nrrd(
        tmp_path / "ct.nrrd", hu_volume(GRIDS["canonical"]), **header, encoding="ascii"
    )
    with pytest.raises(InputError, match="encoding 'ascii' is not read"):
        read_volume(path)


def test_big_endian_metaimage_and_bytes_before_the_voxels(tmp_path):
    native = GRIDS["canonical"]
    path = save(tmp_path / "ct.mhd", native, compress=False)
    (tmp_path / "ct.raw").write_bytes(b"header!" + hu_volume(native).astype(">i2").tobytes())
    text = path.read_text().replace("OrderMSB = False", "OrderMSB = True")
    for skip in (7, -1):
        path.write_text(text.replace("ElementDataFile", f"HeaderSize = {skip}\nElementDataFile"))
        np.testing.assert_array_equal(read_volume(path).hu, hu_volume(native))


def test_a_volume_on_an_extra_axis_of_one(tmp_path):
    """3D Slicer writes a vector axis of one component now and then."""
    native = GRIDS["canonical"]
    directions = np.vstack([np.full((1, 3), np.nan), native.affine[:3, :3].T])
    path = tmp_path / "ct.nrrd"
    header = {"space": "LPS", "space directions": directions, "space origin": [0, 0, 0]}
    save_nrrd(path, hu_volume(native)[..., None], **header, kinds=["list", *["domain"] * 3])
    np.testing.assert_array_equal(read_volume(path).hu, hu_volume(native))
    save_nrrd(
        path, np.stack([hu_volume(native)] * 2, -1), **header, kinds=["list", *["domain"] * 3]
    )
    with pytest.raises(InputError, match="overlapping segments in several layers"):
        read_volume(path)
