"""Files that lie about their size, point elsewhere, never end, or are not what they seem."""

import gzip
import io
import json
import os
import struct
import zipfile
import zlib

import numpy as np
import pytest
from dicom_maker import image, write_series
from label_phantom import series
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian

from napari_covseg.domain.errors import InputError, ModelError, ResourceError
from napari_covseg.io import bounds, images
from napari_covseg.io.dicom import is_dicom, read_dicom
from napari_covseg.io.images import read_picture
from napari_covseg.io.inputs import find_inputs
from napari_covseg.io.labels import read_labels
from napari_covseg.io.read import read_volume


def _one_slice() -> bytes:
    stream = io.BytesIO()
    image(np.zeros((12, 16)) - 500, InstanceNumber=1).save_as(stream)
    return stream.getvalue()


def test_a_zip_that_lists_more_files_than_a_study_is_not_even_listed(tmp_path, monkeypatch):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(300):
            archive.writestr(f"{number}.dcm", b"")
    monkeypatch.setattr("napari_covseg.io.dicom_files.MAX_ZIP_DIRECTORY", 1000)
    monkeypatch.setattr(zipfile.ZipFile, "infolist", None)
    with pytest.raises(InputError, match=r"a\.zip: refused, the zip lists more files"):
        read_dicom(path)
    assert not is_dicom(path)


def test_the_length_of_a_zips_directory():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("abc", b"x")
    assert bounds.zip_directory_bytes(stream) == 46 + 3
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 1, 1, 2**32 - 1, 0, 0)
    long = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, 1, 1, 5 * 2**32, 0)
    assert bounds.zip_directory_bytes(io.BytesIO(b"x" * 50 + long + end)) == 5 * 2**32
    assert bounds.zip_directory_bytes(io.BytesIO(b"no zip")) == 0


def test_zips_in_zips_are_not_opened(tmp_path):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("a.dcm", _one_slice())
    for name in ("b.zip", "b.dcm"):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr(name, inner.getvalue())
        with pytest.raises(InputError, match="not DICOM, or damaged"):
            read_dicom(tmp_path / "a.zip")


def test_names_in_a_zip_that_are_no_text(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ä.dcm", _one_slice())
    path.write_bytes(path.read_bytes().replace("ä".encode(), b"\xff\xff"))
    with pytest.raises(InputError, match="the zip is damaged"):
        read_dicom(path)
    assert not is_dicom(path)


def test_windows_names_in_a_zip_stay_names(tmp_path):
    path = tmp_path / "a.zip"
    folder, _ = series(tmp_path / "ct")
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            info = zipfile.ZipInfo("study")
            info.filename = f"study\\süß\\{file.name}"
            archive.writestr(info, file.read_bytes())
    assert read_dicom(path).hu.shape == read_dicom(folder).hu.shape
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "ct"]


def test_deflated_dicom_that_never_ends(tmp_path):
    made = image(np.zeros((12, 16)) - 500)
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    made.save_as(tmp_path / "good.dcm")
    assert read_dicom(tmp_path / "good.dcm").hu.shape == (1, 12, 16)
    made.PixelData = bytes(80 * 2**20)
    made.save_as(tmp_path / "a.dcm")
    assert (tmp_path / "a.dcm").stat().st_size < 2**20
    for read in (read_dicom, read_picture):
        with pytest.raises(InputError, match=r"a\.dcm: refused, its deflated content unpacks"):
            read(tmp_path / "a.dcm")


def test_deflated_data_that_is_damaged_is_left_to_the_reader():
    syntax = b"1.2.840.10008.1.2.1.99"
    head = bytes(128) + b"DICM" + b"\x02\x00\x10\x00UI" + len(syntax).to_bytes(2, "little") + syntax
    for body in (b"\xff\xff\xff", zlib.compress(b"x")[:4], b""):
        file = io.BytesIO(head + body)
        bounds.check_deflated(file, "a.dcm")
        assert file.tell() == 0


def _nifti_head(shape, bits=16, kind=4) -> bytes:
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, *shape, 1, 1, 1, 1)
    struct.pack_into("<hh", head, 70, kind, bits)
    struct.pack_into("<8f", head, 76, 1, 1, 1, 1, 0, 0, 0, 0)
    struct.pack_into("<f", head, 108, 352)
    struct.pack_into("<h", head, 254, 1)
    struct.pack_into("<4f4f4f", head, 280, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)
    head[344:348] = b"n+1\x00"
    return bytes(head)


def test_a_nifti_of_30000_cubed(tmp_path):
    for name, content in (
        ("a.nii", _nifti_head((30000,) * 3)),
        ("a.nii.gz", gzip.compress(_nifti_head((30000,) * 3))),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="promises 30000 x 30000 x 30000 voxels, more than"):
            read_volume(tmp_path / name)


def test_packed_data_that_never_ends_is_read_no_further_than_it_must(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_covseg.io.stored._MOST_AFTER", 2**21)
    voxels = np.random.default_rng(0).integers(-1000, 300, (10, 10, 10)).astype("<i2").tobytes()
    body = _nifti_head((10, 10, 10)) + voxels + bytes(64 * 2**20)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(body, 1))
    read: list[int] = []
    from napari_covseg.io.stored import Inflater

    original = Inflater.readinto

    def counted(self, buffer):
        read.append(original(self, buffer))
        return read[-1]

    monkeypatch.setattr(Inflater, "readinto", counted)
    assert read_volume(tmp_path / "a.nii.gz").hu.shape == (10, 10, 10)
    assert sum(read) < 4 * 2**20


def test_more_than_the_machine_has_is_refused_before_it_begins(tmp_path, monkeypatch):
    info = tmp_path / "meminfo"
    info.write_text("MemTotal: 99 kB\nMemAvailable: 1048576 kB\nSwapFree: 0 kB\n")
    monkeypatch.setattr(bounds, "_MEMINFO", info)
    monkeypatch.setattr(bounds, "_GROUP", tmp_path)
    bounds.check_fits("a.nii", 2**30)
    with pytest.raises(ResourceError, match=r"a\.nii: not enough .* need 1\.5 GiB, 1\.0 GiB are"):
        bounds.check_fits("a.nii", 3 * 2**29)
    (tmp_path / "memory.max").write_text(str(2**29))
    (tmp_path / "memory.current").write_text(str(2**29 - 2**20))
    stat = {"anon": 2**28, "inactive_file": 2**26, "active_file": 2**26, "slab_reclaimable": 0}
    told = "".join(f"{key} {value}\n" for key, value in stat.items())
    (tmp_path / "memory.stat").write_text(told)
    bounds.check_fits("a.nii", 2**27)
    with pytest.raises(ResourceError, match=r"0\.1 GiB are free"):
        bounds.check_fits("a.nii", 2**29)
    monkeypatch.setattr(bounds, "_MEMINFO", tmp_path / "none")
    bounds.check_fits("a.nii", 2**60)
    asked = []
    monkeypatch.setattr("napari_covseg.io.stored.check_fits", lambda *told: asked.append(told))
    (tmp_path / "b.nii").write_bytes(_nifti_head((10, 10, 10)) + bytes(2000))
    with pytest.raises(InputError):
        read_volume(tmp_path / "b.nii")
    assert asked == [("b.nii", 2000)]


@pytest.mark.parametrize("named", ["/etc/passwd", "../secret.raw", "a/../../b", "C:\\x", "..\\x"])
def test_headers_do_not_choose_files_elsewhere(tmp_path, named):
    (tmp_path / "secret.raw").write_bytes(bytes(2000))
    inner = tmp_path / "in"
    inner.mkdir()
    mhd = (
        "ObjectType = Image\nNDims = 3\nDimSize = 10 10 10\nElementType = MET_SHORT\n"
        "TransformMatrix = 1 0 0 0 1 0 0 0 1\nElementSpacing = 1 1 1\n"
        f"ElementDataFile = {named}\n"
    )
    nhdr = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 10 10 10\n"
        "space directions: (1,0,0) (0,1,0) (0,0,1)\nencoding: raw\nendian: little\n"
        f"data file: {named}\n"
    )
    for name, text in (("a.mhd", mhd), ("a.nhdr", nhdr)):
        (inner / name).write_text(text)
        with pytest.raises(InputError, match="refused, its header wants voxels from outside"):
            read_volume(inner / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_what_is_neither_file_nor_folder_does_not_make_one_wait(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe: neither a file nor a folder"):
        read_volume(tmp_path / "pipe")
    with pytest.raises(InputError, match="no CT in this folder"):
        find_inputs([tmp_path])


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_lead_round_in_no_circle(tmp_path):
    folder = write_series(tmp_path / "ct", [(0, 0, float(z)) for z in range(3)])
    (folder / "again").symlink_to(folder)
    (folder / "itself").symlink_to(folder / "itself")
    (folder / "gone").symlink_to(tmp_path / "nowhere")
    assert len(read_dicom(folder).hu) == 3
    with pytest.raises(InputError, match=r"itself: could not be read|itself: no such file"):
        read_volume(folder / "itself")


def test_pictures_have_an_end(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((50, 50, 3), np.uint8)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").grey.shape == (50, 50)
    monkeypatch.setattr(images, "MOST_PIXELS", 2000)
    with pytest.raises(InputError, match=r"a\.png: has more pixels than any X-ray"):
        read_picture(tmp_path / "a.png")


def test_a_picture_that_says_it_is_huge(tmp_path, recwarn):
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "a.png")
    content = bytearray((tmp_path / "a.png").read_bytes())
    for size in (12_000, 60_000):
        content[16:24] = struct.pack(">II", size, size)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
        (tmp_path / "b.png").write_bytes(content)
        with pytest.raises(InputError, match="more pixels than any X-ray"):
            read_picture(tmp_path / "b.png")
    assert not [w for w in recwarn if "Decompression" in str(w.category)]


def test_colours_do_not_depend_on_the_rows_worked_on_at_once(tmp_path, monkeypatch):
    rgb = np.random.default_rng(0).integers(0, 255, (40, 30, 3)).astype(np.uint8)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    whole = read_picture(tmp_path / "a.png").grey
    monkeypatch.setattr(images, "_ROWS", 7)
    assert np.array_equal(read_picture(tmp_path / "a.png").grey, whole)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"labels": ' + '{"a":' * 100_000, "{", "7"])
def test_tables_of_labels_that_nest_without_end(tmp_path, content):
    (tmp_path / "labelsTr").mkdir()
    (tmp_path / "dataset.json").write_text(content)
    (tmp_path / "labelsTr" / "a.nii").write_bytes(_nifti_head((2, 2, 2)) + bytes(16))
    with pytest.raises(InputError, match=r"dataset\.json: could not be read as JSON"):
        read_labels(tmp_path / "labelsTr" / "a.nii")


def test_drafts_that_claim_more_than_their_ct(tmp_path):
    from napari_covseg.editing.draft import read_draft

    shape = (4, 5, 6)
    good = {"header": np.array(json.dumps({"version": 1, "seconds": 2})), "reviewed": np.ones(4)}
    for name, lungs in (
        ("bomb", np.zeros((4, 5, 600_000), np.uint8)),
        ("type", np.zeros(shape, np.float64)),
        ("reviewed", np.zeros(shape, np.uint8)),
    ):
        with (tmp_path / name).open("wb") as file:
            np.savez_compressed(file, lungs=lungs, **good)
        with pytest.raises(InputError, match=r"of another CT|cannot be read"):
            read_draft(tmp_path / name, shape)
    content = (tmp_path / "type").read_bytes()
    for cut in range(20, len(content), 37):
        damaged = bytearray(content)
        damaged[cut] ^= 255
        (tmp_path / "cut").write_bytes(damaged)
        with pytest.raises(InputError):
            read_draft(tmp_path / "cut", shape)


def test_a_training_state_holds_no_code(tmp_path):
    import hashlib
    import pickle

    from napari_covseg.training.state import read_state

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    body = pickle.dumps(Evil(), 2)
    for content in (body, pickle.dumps([1], 2), b""):
        digest = hashlib.sha256(content).hexdigest().encode()
        (tmp_path / "state").write_bytes(b"covseg-training-state-1 " + digest + b"\n" + content)
        with pytest.raises(InputError, match="state: holds no training state"):
            read_state(tmp_path / "state")
    assert not (tmp_path / "made").exists()


@pytest.fixture
def card(tmp_path):
    from napari_covseg.models.checkpoint import write_checkpoint
    from napari_covseg.models.networks import build
    from napari_covseg.preprocess.recipe import AxialRecipe

    arguments = {"channels": [4, 8]}
    network = build("unet2d", **arguments)
    return write_checkpoint(
        tmp_path / "model", "tiny", network, "unet2d", arguments, AxialRecipe(), {"version": "1"}
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"arguments": {"channels": [4, 60_000]}}, "weights do not fit network"),
        ({"arguments": {"channels": [4, 10**12]}}, "beyond any network's"),
        ({"arguments": {"channels": [4] * 10_000}}, "expected 32 at most"),
        ({"arguments": {"channels": [4, float("nan")]}}, "beyond any network's"),
        ({"weights": "../model/tiny.safetensors"}, "not a readable model card"),
        ({"weights": "/etc/passwd"}, "not a readable model card"),
        ({"weights": 7}, "not a readable model card"),
        ({"recipe": {"pixel_mm": 1e-9, "window_hu": [0, 1], "multiple": 32}}, "not a readable"),
        ({"recipe": {"pixel_mm": 1, "window_hu": [0, 10**400], "multiple": 32}}, "not a readable"),
        ({"recipe": {"pixel_mm": 1, "window_hu": [0, 1], "multiple": 10**9}}, "not a readable"),
        ({"sha256": "0" * 64}, "hash differs"),
    ],
)
def test_a_card_does_not_command(card, change, told):
    from napari_covseg.models.zoo import load

    assert load(card.parent).name == "tiny"
    card.write_text(json.dumps(json.loads(card.read_text()) | change))
    with pytest.raises(ModelError, match=told):
        load(card.parent)


def test_weights_that_are_a_pickle_are_refused_unopened(card):
    import hashlib
    import pickle

    from napari_covseg.models.zoo import load

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(card.parent / "made"),)

    content = pickle.dumps(Evil()) + bytes(10_000)
    card.with_suffix(".safetensors").write_bytes(content)
    told = json.loads(card.read_text()) | {"sha256": hashlib.sha256(content).hexdigest()}
    card.write_text(json.dumps(told))
    with pytest.raises(ModelError, match="the weights do not fit network 'unet2d'"):
        load(card.parent)
    assert not (card.parent / "made").exists()


def test_members_of_a_classifier_that_unpack_without_end(monkeypatch):
    from napari_covseg.models import classifier_heads

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", bytes(10_000))
    monkeypatch.setattr(classifier_heads, "_MOST_UNPACKED", 5000)
    with pytest.raises(ModelError, match="a: refused, it unpacks to"):
        classifier_heads.read_members(stream.getvalue(), "a")


def test_an_error_is_one_line_whatever_a_file_puts_into_it():
    error = InputError("a.nii:\n\x1b[31m" + "x" * 5000 + "end")
    assert str(error).startswith("a.nii: \N{REPLACEMENT CHARACTER}[31mxxx")
    assert str(error).endswith("xend")
    assert len(str(error)) < 1100
    assert str(InputError("as it was: ä")) == "as it was: ä"
