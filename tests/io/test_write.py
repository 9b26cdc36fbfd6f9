"""Label maps and volumes on disk: in the input's own grid, whole or not at all."""

import errno
import json
import os
import stat
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK
from grids import GRIDS, SHAPE, hu_volume, label_at, positions

from napari_covseg.domain.errors import InputError, ResourceError, UsageError
from napari_covseg.domain.geometry import Geometry, ras_to_lps
from napari_covseg.domain.labels import Label
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.io import read_labels, read_volume, write_labels, write_volume
from napari_covseg.io.atomic import atomic_file, write_json

SUFFIXES = [".nii", ".nii.gz", ".nrrd", ".seg.nrrd", ".mha"]
VOLUME_SUFFIXES = [".nii", ".nii.gz", ".nrrd", ".mha"]


def label_map(native=GRIDS["canonical"]):
    """Labels by place, as a reader hands them on."""
    how = native.to_canonical()
    canonical = native.reoriented(how)
    return LabelMap(label_at(positions(canonical)), canonical, "case", how.inverse)


def by_nibabel(path):
    """Voxels ``[z, y, x]`` and LPS affine as nibabel sees them."""
    image = nib.load(path)
    return np.asarray(image.dataobj).T, ras_to_lps(image.affine)


def by_itk(path):
    """The same as SimpleITK sees them."""
    image = SimpleITK.ReadImage(path)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image), affine


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("native", GRIDS.values(), ids=GRIDS)
def test_left_stays_left_in_every_format_and_orientation(tmp_path, native, suffix):
    labels = label_map(native)
    path = write_labels(labels, tmp_path / f"case{suffix}")
    assert path == tmp_path / f"case{suffix}"
    again = read_labels(path)
    np.testing.assert_array_equal(again.labels, labels.labels)
    np.testing.assert_allclose(again.geometry.affine, labels.geometry.affine, atol=1e-4)
    assert again.to_native == labels.to_native
    places = positions(again.geometry)
    assert places[again.labels == 2][:, 0].max() <= places[again.labels == 1][:, 0].min()
    high, low = places[again.labels == 3], places[again.labels == 4]
    assert high[:, 2].min() > low[:, 2].max()
    assert places[again.labels == 5][:, 1].min() > places[..., 1].mean()


@pytest.mark.parametrize(
    ("read", "suffix"),
    [(by_nibabel, ".nii"), (by_nibabel, ".nii.gz"), *((by_itk, suffix) for suffix in SUFFIXES)],
)
@pytest.mark.parametrize("native", GRIDS.values(), ids=GRIDS)
def test_peers_see_the_native_grid(tmp_path, native, suffix, read):
    voxels, affine = read(write_labels(label_map(native), tmp_path / f"x{suffix}"))
    np.testing.assert_allclose(affine, native.affine, atol=1e-4)
    np.testing.assert_array_equal(voxels, label_at(positions(native)))
    assert voxels.dtype == np.uint8


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_both_forms_are_set_and_agree(tmp_path, suffix):
    native = GRIDS["oblique and flipped"]
    header = nib.load(write_labels(label_map(native), tmp_path / f"x{suffix}")).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-4)
    assert header.get_xyzt_units()[0] == "mm"


def test_a_sheared_grid_keeps_its_sform_and_claims_no_qform(tmp_path):
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[1, 2] = 0.7
    labels = LabelMap(label_at(positions(Geometry(SHAPE, affine))), Geometry(SHAPE, affine))
    image = nib.load(write_labels(labels, tmp_path / "x.nii.gz"))
    assert int(image.header["qform_code"]) == 0
    np.testing.assert_allclose(ras_to_lps(image.affine), affine, atol=1e-6)
    again = read_labels(tmp_path / "x.nii.gz")
    assert "not at right angles" in again.warnings[0]


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("suffix", VOLUME_SUFFIXES)
@pytest.mark.parametrize("name", ["canonical", "RAS", "oblique and flipped"])
def test_volumes_round_trip(tmp_path, name, suffix, dtype):
    native = GRIDS[name]
    how = native.to_canonical()
    hu = np.ascontiguousarray(how.apply(hu_volume(native))).astype(dtype)
    hu += np.array(0.25 if dtype == np.float32 else 0).astype(dtype)
    volume = CTVolume(hu, native.reoriented(how), "ct", how.inverse)
    again = read_volume(write_volume(volume, tmp_path / f"ct{suffix}"))
    np.testing.assert_array_equal(again.hu, hu)
    assert again.hu.dtype == dtype
    np.testing.assert_allclose(again.geometry.affine, volume.geometry.affine, atol=1e-4)
    assert again.to_native == volume.to_native


def test_a_file_read_and_written_again_lies_on_the_same_grid(tmp_path):
    native = GRIDS["oblique and flipped"]
    image = nib.Nifti1Image(hu_volume(native).T, ras_to_lps(native.affine))
    nib.save(image, tmp_path / "ct.nii.gz")
    volume = read_volume(tmp_path / "ct.nii.gz")
    labels = LabelMap.like(volume, np.ones(volume.hu.shape, np.uint8))
    written = nib.load(write_labels(labels, tmp_path / "ct_labels.nii.gz"))
    assert written.shape == image.shape
    np.testing.assert_allclose(written.affine, image.affine, atol=1e-4)


def test_slicer_finds_names_colours_and_extents(tmp_path):
    native = GRIDS["canonical"]
    voxels, header = nrrd.read(str(write_labels(label_map(native), tmp_path / "x.seg.nrrd")))
    assert header["space"] == "left-posterior-superior"
    segments = {}
    for i in range(5):
        name, value = header[f"Segment{i}_Name"], int(header[f"Segment{i}_LabelValue"])
        segments[name] = value
        filled = np.argwhere(voxels == value)
        ends = np.stack([filled.min(axis=0), filled.max(axis=0)], axis=1).reshape(-1)
        assert header[f"Segment{i}_Extent"] == " ".join(map(str, ends))
        colour = [float(part) for part in header[f"Segment{i}_Color"].split()]
        assert len(colour) == 3
        assert 0 <= min(colour) <= max(colour) <= 1
        assert header[f"Segment{i}_Layer"] == "0"
    wanted = {"Left lung": 1, "Right lung": 2, "GGO": 3, "Consolidation": 4, "Infection": 5}
    assert segments == wanted
    assert "Segment5_Name" not in header


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_label_and_an_empty_map_survive(tmp_path, suffix):
    grid = Geometry.from_spacing((2, 2, 2), (1, 1, 1))
    for labels in (np.arange(8).reshape(2, 2, 2), np.zeros((2, 2, 2))):
        path = write_labels(LabelMap(labels.astype(np.uint8), grid), tmp_path / f"x{suffix}")
        np.testing.assert_array_equal(read_labels(path).labels, labels)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_labels_give_the_same_bytes(tmp_path, suffix):
    one = write_labels(label_map(), tmp_path / f"one{suffix}").read_bytes()
    two = write_labels(label_map(), tmp_path / f"two{suffix}").read_bytes()
    assert one == two
    other = LabelMap(label_map().labels[:, ::-1].copy(), label_map().geometry)
    assert write_labels(other, tmp_path / f"three{suffix}").read_bytes() != one


@pytest.mark.parametrize("name", ["x.png", "x", "x.nii.zip", "x.dcm"])
def test_an_unknown_format_is_wrong_usage(tmp_path, name):
    with pytest.raises(UsageError, match=r"cannot tell the format; expected a name in \.nii\.gz"):
        write_labels(label_map(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_ct_is_not_written_as_a_segmentation(tmp_path):
    volume = CTVolume(hu_volume(GRIDS["canonical"]), GRIDS["canonical"], "ct")
    with pytest.raises(UsageError, match="holds labels"):
        write_volume(volume, tmp_path / "x.seg.nrrd")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("number", "error", "text"),
    [
        (errno.ENOSPC, ResourceError, "disk is full"),
        (errno.EIO, ResourceError, "cannot be written"),
        (None, KeyboardInterrupt, None),
    ],
)
def test_what_fails_halfway_leaves_the_old_file(tmp_path, monkeypatch, suffix, number, error, text):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"old")

    def fail(_):
        raise KeyboardInterrupt if number is None else OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(error, match=text):
        write_labels(label_map(), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match=r"^x\.nii: cannot be written, its folder does not exist"):
        write_labels(label_map(), tmp_path / "nowhere" / "x.nii")


@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT], ids=errno.errorcode.get
)
def test_a_folder_that_cannot_be_written_is_a_resource(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", refuse)
    told = rf"^x\.json: cannot be written \({os.strerror(number)}\); choose another folder"
    with pytest.raises(ResourceError, match=told):
        write_json(tmp_path / "x.json", {})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(ResourceError, match="Permission denied"):
        write_labels(label_map(), tmp_path / "x.nii")


def test_files_get_the_usual_permissions(tmp_path):
    mask = os.umask(0o022)
    try:
        path = write_labels(label_map(), tmp_path / "x.nii")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_name_as_long_as_names_may_be(tmp_path):
    path = tmp_path / ("x" * 248 + ".nii.gz")
    assert write_labels(label_map(), path).is_file()


def test_atomic_file_shows_nothing_before_its_end(tmp_path):
    path = tmp_path / "x"
    with atomic_file(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"


def test_json_refuses_not_a_number(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "x.json", {"dice": float("nan")})
    assert list(tmp_path.iterdir()) == []
    path = write_json(tmp_path / "x.json", {"dice": None, "ä": 1})
    assert json.loads(path.read_text("utf-8")) == {"dice": None, "ä": 1}


def test_a_name_that_is_not_utf8_does_not_stop_json(tmp_path):
    path = write_json(tmp_path / "x.json", {"input": "caf\udce9.nii"})
    assert json.loads(path.read_bytes()) == {"input": "caf?.nii"}


def test_titles_read_back_as_their_labels(tmp_path):
    """A segmentation renumbered elsewhere is still told by its names."""
    path = write_labels(label_map(), tmp_path / "x.seg.nrrd")
    voxels, header = nrrd.read(str(path))
    header["Segment2_LabelValue"] = "9"
    nrrd.write(str(path), np.where(voxels == 3, 9, voxels).astype(np.uint8), header)
    np.testing.assert_array_equal(read_labels(path).labels, label_map().labels)
    header["Segment2_Name"] = "Liver"
    nrrd.write(str(path), np.where(voxels == 3, 9, voxels).astype(np.uint8), header)
    with pytest.raises(InputError, match=r"not all segments are lungs or lesions: 9 'Liver'"):
        read_labels(path)
    own = {9: Label.BACKGROUND, 1: Label.LUNG, 2: Label.LUNG, 4: Label.LUNG, 5: Label.LUNG}
    assert set(np.unique(read_labels(path, label_map=own).labels)) == {0, 6}
