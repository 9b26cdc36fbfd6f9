"""Bad input: one line that says what and what to do, whatever the file is."""

from __future__ import annotations

import io
import logging
import stat
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dicom_maker import AXIAL, along, expected, image, write_series

from napari_covseg.domain.errors import InputError
from napari_covseg.io import dicom_files
from napari_covseg.io.dicom import is_dicom, list_series, read_dicom
from napari_covseg.io.dicom_files import quiet_pydicom


def _refused(path: Path, told: str) -> None:
    before = sorted(path.parent.rglob("*"))
    for read in (read_dicom, list_series):
        with pytest.raises(InputError, match=told) as caught:
            read(path)
        assert "\n" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert len(str(caught.value)) < 300
    assert sorted(path.parent.rglob("*")) == before


def _bytes(**tags) -> bytes:
    target = io.BytesIO()
    image(np.zeros((8, 8)), **tags).save_as(target)
    return target.getvalue()


def _zip(path: Path, members: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_nothing_there(tmp_path):
    _refused(tmp_path / "gone", "gone: no such file")
    (tmp_path / "empty").mkdir()
    _refused(tmp_path / "empty", "empty: no DICOM image here")


def test_empty_file(tmp_path):
    (tmp_path / "a.dcm").touch()
    _refused(tmp_path / "a.dcm", r"a.dcm: the file is empty \(0 bytes\)")
    _refused(tmp_path, r"a.dcm: the file is empty \(0 bytes\)")


@pytest.mark.parametrize("data", [b"hello", b"\x00" * 500, b"\x08\x00" * 80, b"DICM" * 90])
def test_not_dicom(tmp_path, data):
    (tmp_path / "a.dcm").write_bytes(data)
    _refused(tmp_path / "a.dcm", "a.dcm: ")
    assert is_dicom(tmp_path / "a.dcm")
    (tmp_path / "a.bin").write_bytes(data[:5])
    assert not is_dicom(tmp_path / "a.bin")


@pytest.mark.parametrize("cut", [130, 150, 300, 400])
def test_header_cut_off(tmp_path, cut):
    (tmp_path / "a.dcm").write_bytes(_bytes()[:cut])
    _refused(tmp_path / "a.dcm", "a.dcm: ")


def test_voxels_cut_off(tmp_path):
    (tmp_path / "a.dcm").write_bytes(_bytes()[:-20])
    with pytest.raises(InputError, match="108 of 128 bytes"):
        read_dicom(tmp_path)


def test_huge_sizes_in_the_header_set_no_memory_aside(tmp_path):
    made = image(np.zeros((8, 8)))
    made.Rows = made.Columns = 65535
    made.save_as(tmp_path / "a.dcm")
    with pytest.raises(InputError, match="cut off"):
        read_dicom(tmp_path)


def test_damaged_compression(tmp_path):
    from pydicom.encaps import encapsulate

    for code in ("70", "80", "90"):
        made = image(np.zeros((8, 8)))
        made.file_meta.TransferSyntaxUID = f"1.2.840.10008.1.2.4.{code}"
        made.PixelData = encapsulate([b"\xff\xd8rubbish!"])
        made["PixelData"].is_undefined_length = True
        made.save_as(tmp_path / f"{code}.dcm")
        with pytest.raises(InputError, match=rf"{code}.dcm: .*1.2.840.10008.1.2.4.{code}.*damaged"):
            read_dicom(tmp_path / f"{code}.dcm")


def test_no_pixel_data(tmp_path):
    made = image(np.zeros((8, 8)))
    del made.PixelData
    made.save_as(tmp_path / "a.dcm")
    _refused_read(tmp_path / "a.dcm", "no pixel data")


def _refused_read(path: Path, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        read_dicom(path)
    assert "\n" not in str(caught.value)


def test_damaged_files_among_good_ones_are_counted_but_not_named(tmp_path):
    write_series(tmp_path, along(AXIAL, 4, 2.0))
    (tmp_path / "Doe_Jane.dcm").write_bytes(b"rubbish")
    (tmp_path / "readme.txt").write_bytes(b"hello")
    volume = read_dicom(tmp_path)
    assert volume.hu.shape[0] == 4
    assert len(volume.warnings) == 1
    assert volume.warnings[0].startswith("1 file was left out, not readable: not DICOM, or damaged")
    (tmp_path / "Doe_Jane_2.dcm").write_bytes(b"")
    (tmp_path / "Doe_Jane_3.dcm").write_bytes(b"")
    told = read_dicom(tmp_path).warnings[0]
    assert told.startswith("3 files were left out, not readable: the file is empty (0 bytes); not")
    assert "Doe" not in told


def test_pydicom_stays_quiet_until_the_last_reader_is_done():
    logger = logging.getLogger("pydicom")
    level, filters = logger.level, list(warnings.filters)
    first, second = quiet_pydicom(), quiet_pydicom()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert logger.level == logging.CRITICAL
    assert warnings.filters[0][0] == "ignore"
    second.__exit__(None, None, None)
    assert logger.level == level
    assert list(warnings.filters) == filters
    with pytest.raises(KeyError), quiet_pydicom():
        raise KeyError
    assert logger.level == level


def test_permission_denied(tmp_path, monkeypatch):
    write_series(tmp_path, along(AXIAL, 2, 2.0))

    def denied(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(dicom_files, "_open_file", denied)
    _refused(tmp_path, "000.dcm: permission denied")


def test_a_zip_reads_as_its_folder(tmp_path):
    folder = write_series(tmp_path / "scan" / "deep", along(AXIAL, 5, 2.0))
    _zip(tmp_path / "scan.zip", {f"s/t/{p.name}": p.read_bytes() for p in folder.iterdir()})
    assert is_dicom(tmp_path / "scan.zip")
    zipped, plain = read_dicom(tmp_path / "scan.zip"), read_dicom(tmp_path / "scan")
    assert np.array_equal(zipped.hu, plain.hu)
    assert np.abs(zipped.hu - expected(zipped.geometry)).max() <= 0.5
    assert zipped.case == plain.case
    assert zipped.warnings == ()


def test_a_header_longer_than_the_first_part_of_a_zip_member(tmp_path, monkeypatch):
    monkeypatch.setattr(dicom_files, "_HEAD_BYTES", 200)
    _zip(tmp_path / "a.zip", {"a.dcm": _bytes()})
    assert read_dicom(tmp_path / "a.zip").hu.shape == (1, 8, 8)


@pytest.mark.parametrize(
    "name", ["../evil.dcm", "/etc/evil.dcm", "a/../../evil.dcm", "..\\evil.dcm", "C:/evil.dcm"]
)
def test_zip_names_that_lead_out_are_refused(tmp_path, name):
    (tmp_path / "in").mkdir()
    _zip(tmp_path / "in" / "a.zip", {"good.dcm": _bytes(), name: _bytes()})
    _refused(tmp_path / "in" / "a.zip", "a.zip: refused, the zip holds a name that leads out")
    assert not (tmp_path / "evil.dcm").exists()


def test_zip_with_a_link_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("link.dcm")
        link.create_system = 3
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    _refused(tmp_path / "a.zip", "symbolic link")


def test_zip_bomb_is_refused(tmp_path):
    _zip(tmp_path / "a.zip", {"a.dcm": bytes(100 * 2**20)})
    _refused(tmp_path / "a.zip", r"a.zip: refused, the zip unpacks to 100 MiB, \d+ times its size")


def test_encrypted_zip_is_refused(tmp_path):
    path = _zip(tmp_path / "a.zip", {"a.dcm": _bytes()})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    _refused(path, "encrypted")


def test_damaged_zip_is_refused(tmp_path):
    path = _zip(tmp_path / "a.zip", {"a.dcm": _bytes()})
    path.write_bytes(path.read_bytes()[:-30])
    _refused(path, "a.zip: the zip is damaged or cut off")


def test_zip_whose_content_is_damaged_is_refused(tmp_path):
    path = _zip(tmp_path / "a.zip", {"a.dcm": _bytes()}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.index(b"DICM") + 400] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(InputError, match="damaged"):
        read_dicom(path)


def test_zip_whose_compressed_data_is_damaged_is_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 500, (64, 64))
    target = io.BytesIO()
    image(noise, RescaleIntercept=0).save_as(target)
    path = _zip(tmp_path / "a.zip", {"a": target.getvalue()})
    data = bytearray(path.read_bytes())
    data[40:60] = bytes(20)
    path.write_bytes(data)
    _refused(path, r"a\.zip: ")


def test_random_damage_never_escapes_as_another_error(tmp_path):
    rng = np.random.default_rng(7)
    good = np.frombuffer(_bytes(), np.uint8)
    refused = 0
    for _ in range(60):
        data = good.copy()
        data[rng.integers(0, len(data), rng.integers(1, 40))] = rng.integers(0, 256)
        kept = rng.integers(len(data) // 2, len(data) + 1)
        (tmp_path / "a.dcm").write_bytes(data[:kept].tobytes())
        try:
            read_dicom(tmp_path / "a.dcm")
        except InputError:
            refused += 1
    assert refused > 20


def test_zip_without_dicom(tmp_path):
    path = _zip(tmp_path / "a.zip", {"readme.txt": b"hello", "b.txt": b"x"})
    assert not is_dicom(path)
    _refused(path, "a.zip: no DICOM image here")
    _refused(_zip(tmp_path / "b.zip", {}), "b.zip: the zip holds no files")


def test_files_without_preamble_are_dicom(tmp_path):
    made = image(np.zeros((8, 8)))
    made.save_as(tmp_path / "a")
    data = (tmp_path / "a").read_bytes()
    start = data.index(b"\x08\x00\x08\x00CS")
    (tmp_path / "b").write_bytes(data[start:])
    assert is_dicom(tmp_path / "b")
    assert (read_dicom(tmp_path / "b").hu == 0).all()


def test_folders_and_what_is_dicom(tmp_path):
    assert not is_dicom(tmp_path)
    assert not is_dicom(tmp_path / "gone")
    (tmp_path / "note.txt").write_bytes(b"hello")
    assert not is_dicom(tmp_path)
    write_series(tmp_path / "a" / "b", along(AXIAL, 1, 1.0), name=lambda i: "x")
    assert is_dicom(tmp_path)
