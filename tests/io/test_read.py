"""Reading by content: real volumes, and inputs that are none."""

import contextlib
import subprocess
import sys
import zipfile

import nibabel as nib
import numpy as np
import pytest
from grids import GRIDS, hu_volume

from napari_covseg.domain.errors import CovsegError, InputError
from napari_covseg.domain.geometry import Reorientation
from napari_covseg.domain.volume import CTVolume
from napari_covseg.io import is_label_file, read_labels, read_volume, write_volume


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "shape", "spacing", "low", "high", "warned"),
    [
        ("lidc0001_256.nii.gz", (133, 256, 256), (2.5, 1.40625, 1.40625), -1024, 3071, True),
        ("lungdx_A0001_L_256.nii.gz", (64, 256, 256), (5, 1.68359, 1.68359), -1024, 2976, False),
        ("cip_ct64/ct-64.nrrd", (79, 64, 64), (3.98734, 4.17187, 4.17187), -1007, 1095, False),
        ("dicom_LungDx-A0002_B40f", (30, 512, 512), (8, 0.64648, 0.64648), -1024, None, False),
    ],
)
def test_real_volumes(data_dir, name, shape, spacing, low, high, warned):
    volume = read_volume(data_dir / "volumes" / name)
    assert volume.hu.shape == shape
    assert volume.hu.dtype == np.int16
    np.testing.assert_allclose(volume.geometry.spacing_mm, spacing, rtol=1e-3)
    assert volume.hu.min() == low
    assert high is None or volume.hu.max() == high
    assert bool(volume.warnings) is warned
    middle = volume.hu[len(volume.hu) // 2]
    lung, tissue = (middle > -950) & (middle < -700), (middle > -50) & (middle < 150)
    assert lung.mean() > 0.05
    assert tissue.mean() > 0.1


@pytest.mark.real_data
def test_padding_becomes_air_and_nothing_else_changes(data_dir):
    path = data_dir / "volumes" / "lidc0001_256.nii.gz"
    stored = np.asarray(nib.load(path).dataobj).T
    assert stored.min() == -2048
    volume = read_volume(path)
    assert volume.warnings == ("padding (down to -2048 HU) was set to air (-1024 HU)",)
    np.testing.assert_array_equal(volume.hu, np.maximum(stored, -1024))


@pytest.mark.real_data
def test_one_scan_as_nrrd_and_dicom_has_the_same_hu(data_dir):
    nrrd = read_volume(data_dir / "volumes" / "cip_ct64" / "ct-64.nrrd")
    dicom = read_volume(data_dir / "volumes" / "cip_ct64_dicom")
    np.testing.assert_array_equal(nrrd.hu, dicom.hu)
    np.testing.assert_allclose(nrrd.geometry.spacing_mm, dicom.geometry.spacing_mm, rtol=1e-3)


@pytest.mark.real_data
def test_the_lung_mask_of_a_real_scan_lies_on_its_lungs(data_dir):
    folder = data_dir / "volumes" / "cip_ct64"
    volume, lungs = read_volume(folder / "ct-64.nrrd"), read_labels(folder / "wholeLung-64.nrrd")
    assert lungs.geometry.same_as(volume.geometry)
    assert np.median(volume.hu[lungs.labels == 1]) < -750
    with pytest.raises(InputError, match=r"label values .* have no known meaning"):
        read_labels(folder / "lm-64.nrrd")


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name", ["ma/{}/ma_coronacases_001", "medseg/{}/medseg_9", "sirm/{}/sirm_04"]
)
def test_the_development_set_is_in_hu_and_its_labels_fit(data_dir, name):
    image = data_dir / "covid_ct" / f"{name.format('imagesTr')}_0000.nii.gz"
    mask = data_dir / "covid_ct" / f"{name.format('labelsTr')}.nii.gz"
    volume, labels = read_volume(image), read_labels(mask)
    assert volume.warnings == ()
    assert -1350 <= volume.hu.min() < volume.hu.max() <= 150
    assert volume.hu.dtype == np.float32
    np.testing.assert_array_equal(volume.hu, np.asarray(nib.load(image).dataobj, np.float32).T)
    assert labels.geometry.same_as(volume.geometry)
    assert volume.case == labels.case
    assert volume.to_native == Reorientation()
    assert is_label_file(mask)
    assert not is_label_file(image)


@pytest.mark.real_data
def test_pictures_of_ct_are_refused(data_dir):
    picture = next((data_dir / "images" / "covid_ct_images" / "covid").glob("*.jpg"))
    with pytest.raises(InputError, match="a JPEG picture has no Hounsfield units and no geometry"):
        read_volume(picture)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", r"the file is empty \(0 bytes\)"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "a PNG picture"),
        (b"\xff\xd8\xff\xe0" + bytes(50), "a JPEG picture"),
        (b"II*\x00" + bytes(50), "a TIFF picture"),
        (b"BM" + bytes(50), "a BMP picture"),
        (b"hello, this is a text\n" * 50, "not a format that is read"),
        (bytes(5000), "not a format that is read"),
        (b"\x1f\x8b\x08\x00" + bytes(6) + b"\xff" * 50, "damaged"),
        (b"NRRD0004\n", "truncated or damaged"),
        (b"NDims = 3\nDimSize = 1 1 1\n", "truncated or damaged"),
    ],
)
@pytest.mark.parametrize("name", ["scan.nii.gz", "scan"])
def test_files_that_are_no_ct(tmp_path, content, text, name):
    path = tmp_path / name
    path.write_bytes(content)
    for read in (read_volume, read_labels):
        with pytest.raises(InputError, match=text) as caught:
            read(path)
        assert str(caught.value).startswith(f"{name}: ")
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_path(tmp_path):
    with pytest.raises(InputError, match=r"^nowhere\.nii: no such file or folder"):
        read_volume(tmp_path / "nowhere.nii")


def test_a_folder_or_zip_without_ct(tmp_path):
    with pytest.raises(InputError):
        read_volume(tmp_path)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.txt", "text")
    with pytest.raises(InputError, match=r"a\.txt: not DICOM"):
        read_volume(tmp_path / "x.zip")


def test_permission_denied_is_told(tmp_path, monkeypatch):
    path = tmp_path / "ct.nii"
    path.write_bytes(b"x")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", refuse)
    with pytest.raises(InputError, match=r"^ct\.nii: permission denied"):
        read_volume(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_whatever_bytes_are_damaged_the_error_is_ours(tmp_path, suffix):
    grid = GRIDS["oblique"]
    path = tmp_path / f"ct{suffix}"
    good = write_volume(CTVolume(hu_volume(grid), grid, "ct"), path).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(50):
        data = bytearray(good)
        for at in rng.integers(0, min(len(data), 420), rng.integers(1, 5)):
            data[at] = rng.integers(256)
        path.write_bytes(data[: rng.integers(300, len(data) + 1)] if rng.random() < 0.2 else data)
        for read in (read_volume, read_labels):
            with contextlib.suppress(CovsegError):
                read(path)
    assert list(tmp_path.iterdir()) == [path]


def test_importing_io_loads_no_reader():
    code = (
        "import sys, napari_covseg.io as io; io.read_volume, io.write_labels, io.read_labels;"
        "heavy = {'nibabel', 'pydicom', 'SimpleITK', 'highdicom', 'scipy', 'torch', 'napari'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_io_names_exist_and_others_do_not():
    import napari_covseg.io as io

    for name in io.__all__:
        assert getattr(io, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        assert io.nothing
