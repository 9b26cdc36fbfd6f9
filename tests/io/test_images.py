import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from napari_covseg.domain.errors import InputError
from napari_covseg.io.images import content_hash, find_pictures, is_picture, read_picture


def _xray(path, stored, **elements):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.Modality = "CR"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PhotometricInterpretation = "MONOCHROME2"
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.PixelData = stored.astype("<u2").tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def ramp():
    return np.arange(32 * 40, dtype=np.uint16).reshape(32, 40)


def test_eight_bit_grey_is_divided_by_255(tmp_path):
    values = np.full((20, 30), 51, np.uint8)
    values[0, 0] = 255
    Image.fromarray(values).save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    assert picture.format == "PNG"
    assert picture.grey.dtype == np.float32
    assert picture.grey.shape == (20, 30)
    assert picture.grey[0, 0] == 1
    assert picture.grey[5, 5] == pytest.approx(0.2)
    assert picture.warnings == ()


@pytest.mark.parametrize(
    ("greatest", "top"), [(200, 255), (900, 1023), (4000, 4095), (60000, 65535)]
)
def test_sixteen_bits_are_divided_by_the_least_depth_that_holds_them(tmp_path, greatest, top):
    values = np.zeros((20, 20), np.uint16)
    values[3, 4] = greatest
    Image.fromarray(values).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").grey[3, 4] == pytest.approx(greatest / top)


def test_colours_become_luminance_and_transparency_black(tmp_path):
    values = np.zeros((20, 20, 4), np.uint8)
    values[..., 3] = 255
    values[0, 0, :3] = (255, 0, 0)
    values[0, 1, :3] = (0, 255, 0)
    values[0, 2, :3] = (0, 0, 255)
    values[0, 3] = (255, 255, 255, 0)
    Image.fromarray(values).save(tmp_path / "a.png")
    grey = read_picture(tmp_path / "a.png").grey
    assert grey[0, :4] == pytest.approx([0.299, 0.587, 0.114, 0], abs=1e-6)


def test_a_palette_gives_the_greys_it_stands_for(tmp_path):
    image = Image.fromarray(np.eye(20, dtype=np.uint8))
    image.putpalette([0, 0, 0, 255, 255, 255])
    image.save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").grey == pytest.approx(np.eye(20))


def test_format_is_told_by_content_not_by_name(tmp_path):
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "a.png", format="JPEG")
    picture = read_picture(tmp_path / "a.png")
    assert picture.format == "JPEG"
    assert "one grey level" in picture.warnings[0]


def test_dicom_windows_as_its_header_says(tmp_path, ramp):
    path = _xray(tmp_path / "x.dcm", ramp, WindowCenter=500, WindowWidth=401)
    grey = read_picture(path).grey.ravel()
    # PS3.3 C.11.2.1.2.1: 299.5 becomes 0, 699.5 becomes 1.
    assert grey[299] == 0
    assert grey[300] == pytest.approx(0.5 / 400)
    assert grey[500] == pytest.approx(200.5 / 400, abs=1e-5)
    assert grey[700] == 1


def test_monochrome1_is_turned_so_that_bright_is_dense(tmp_path, ramp):
    window = {"WindowCenter": 500, "WindowWidth": 401}
    plain = read_picture(_xray(tmp_path / "a.dcm", ramp, **window)).grey
    turned = read_picture(
        _xray(tmp_path / "b.dcm", ramp, PhotometricInterpretation="MONOCHROME1", **window)
    ).grey
    assert turned == pytest.approx(1 - plain)
    assert not np.allclose(turned, plain)


def test_without_a_window_extremes_and_padding_do_not_set_the_range(tmp_path, ramp):
    ramp = ramp + 1000
    ramp[:16] = 0
    grey = read_picture(_xray(tmp_path / "a.dcm", ramp, PixelPaddingValue=0)).grey
    low, high = np.percentile(ramp[16:], (1, 99))
    assert grey[20, 5] == pytest.approx((ramp[20, 5] - low) / (high - low), abs=1e-4)


def test_a_slice_of_ct_is_windowed_as_the_network_sees_it(tmp_path, ramp):
    path = _xray(
        tmp_path / "a.dcm",
        ramp,
        Modality="CT",
        RescaleIntercept=-1350,
        RescaleSlope=1,
        WindowCenter=40,
        WindowWidth=400,
    )
    assert read_picture(path).grey.ravel()[300] == pytest.approx(300 / 1500)
    assert not is_picture(path)


def test_text_called_png_is_named_as_such(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("Not Found: élève\n" * 40)
    with pytest.raises(InputError, match=r"a\.png: holds text though its name ends in \.png"):
        read_picture(path)


def test_damaged_files_are_told(tmp_path, ramp):
    whole = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(whole)
    (tmp_path / "b.png").write_bytes(whole.read_bytes()[:500])
    with pytest.raises(InputError, match=r"b\.png: damaged or cut off"):
        read_picture(tmp_path / "b.png")
    dicom = _xray(tmp_path / "a.dcm", ramp)
    (tmp_path / "b.dcm").write_bytes(dicom.read_bytes()[:-800])
    with pytest.raises(InputError, match=r"b\.dcm: the pixels of this DICOM"):
        read_picture(tmp_path / "b.dcm")
    (tmp_path / "c.png").write_bytes(b"")
    with pytest.raises(InputError, match="empty"):
        read_picture(tmp_path / "c.png")
    (tmp_path / "d.png").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="not a picture that is read"):
        read_picture(tmp_path / "d.png")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "e.png")
    with pytest.raises(InputError, match="8 x 8 pixels are too few"):
        read_picture(tmp_path / "e.png")
    with pytest.raises(InputError, match="no such file"):
        read_picture(tmp_path / "f.png")


def test_folders_are_walked_one_by_one(tmp_path, ramp):
    (tmp_path / "in").mkdir()
    for name in ("b.PNG", "a.jpg", "in/c.jpeg", ".hidden.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    _xray(tmp_path / "in" / "IM0001", ramp)
    found = find_pictures([tmp_path])
    assert next(found).name == "a.jpg"
    assert [path.name for path in found] == ["b.PNG", "IM0001", "c.jpeg"]


def test_copies_have_the_same_hash(tmp_path):
    for name, content in (("a", b"x"), ("b", b"x"), ("c", b"y")):
        (tmp_path / name).write_bytes(content)
    assert content_hash(tmp_path / "a") == content_hash(tmp_path / "b")
    assert content_hash(tmp_path / "a") != content_hash(tmp_path / "c")


def test_a_real_x_ray_in_monochrome1(data_dir):
    folder = data_dir / "dicom_edge" / "monochrome1_cr_chest"
    path = next(p for p in sorted(folder.rglob("*")) if p.is_file() and is_picture(p))
    grey = read_picture(path).grey
    height, width = grey.shape
    # The mediastinum is dense, the air beside the patient is not.
    middle = grey[height // 2 :, width * 2 // 5 : width * 3 // 5].mean()
    assert middle > grey[: height // 3, : width // 20].mean()
