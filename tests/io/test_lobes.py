import nibabel as nib
import numpy as np
import pytest

from napari_covseg.domain.errors import InputError, UsageError
from napari_covseg.domain.lobes import Lobe
from napari_covseg.io.lobes import parse_lobe_map, read_lobes

NAMES = "LUL=1,LLL=2,RUL=3,RML=4,RLL=5+6"


def nifti(path, values):
    """Written as RAS, so that canonical order flips x and y."""
    nib.save(nib.Nifti1Image(values.transpose(2, 1, 0), np.diag([2.0, 3.0, 4.0, 1.0])), path)
    return path


def seg_nrrd(path, values, names):
    header = [
        "NRRD0004",
        "type: uint8",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(str(n) for n in values.shape[::-1])}",
        "space directions: (2,0,0) (0,2,0) (0,0,2)",
        "space origin: (0,0,0)",
        "encoding: raw",
    ]
    for number, (value, name) in enumerate(names.items()):
        header += [f"Segment{number}_Name:={name}", f"Segment{number}_LabelValue:={value}"]
    path.write_bytes(("\n".join(header) + "\n\n").encode() + values.tobytes())
    return path


def test_numbers_become_the_lobes_they_are_said_to_be(tmp_path):
    values = np.zeros((2, 3, 7), np.uint8)
    values[1, 2] = range(7)
    found = read_lobes(nifti(tmp_path / "lobes.nii.gz", values), parse_lobe_map(NAMES))
    assert found.lobes[1, 0].tolist() == [5, 5, 4, 3, 2, 1, 0]
    assert found.lobes[0].sum() == 0
    assert found.geometry.spacing_mm == pytest.approx((4.0, 3.0, 2.0))


def test_slicer_names_its_lobes_and_other_segments_are_none(tmp_path):
    values = np.array([[[1, 2, 3, 4]]], np.uint8)
    names = {1: "left upper lobe", 2: "Right lower lobe", 3: "vessels", 4: "RML"}
    found = read_lobes(seg_nrrd(tmp_path / "x.seg.nrrd", values, names))
    assert found.lobes[0, 0].tolist() == [Lobe.LEFT_UPPER, Lobe.RIGHT_LOWER, 0, Lobe.RIGHT_MIDDLE]


def test_numbers_alone_are_not_guessed(tmp_path):
    path = nifti(tmp_path / "lobes.nii.gz", np.ones((2, 2, 2), np.uint8))
    with pytest.raises(InputError, match=r"lobes\.nii\.gz: it does not say which number"):
        read_lobes(path)


def test_a_file_without_any_lobe_is_refused(tmp_path):
    path = nifti(tmp_path / "lobes.nii.gz", np.full((2, 2, 2), 9, np.uint8))
    with pytest.raises(InputError, match="none of the numbers 1, 2"):
        read_lobes(path, parse_lobe_map("LUL=1,LLL=2"))


@pytest.mark.parametrize("text", ["", "heart=1", "LUL", "LUL=x", "LUL=0", "LUL=1,LLL=1", "LUL=-1"])
def test_what_says_nothing_about_lobes(text):
    with pytest.raises(UsageError):
        parse_lobe_map(text)


def test_names_may_be_long_and_have_several_numbers():
    assert parse_lobe_map("left upper lobe=1+7, lung_lower_lobe_right = 5") == {
        1: Lobe.LEFT_UPPER,
        7: Lobe.LEFT_UPPER,
        5: Lobe.RIGHT_LOWER,
    }
