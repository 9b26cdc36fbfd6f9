"""Label files: whose numbers they are, and what a file looks like."""

import json
import tracemalloc

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from grids import GRIDS

from napari_covseg.domain.errors import InputError, UsageError
from napari_covseg.domain.geometry import ras_to_lps
from napari_covseg.domain.labels import Label
from napari_covseg.io import is_label_file, parse_label_map, read_labels
from napari_covseg.io.label_schemes import apply_label_map
from napari_covseg.io.labels import label_case_name

RAS = ras_to_lps(GRIDS["canonical"].affine)
SCHEME = {"background": 0, "lung": 1, "ggo": 2, "consolidation": 3, "infection": 4, "ignore": 5}


def save(path, values, dtype=np.uint8, slope=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.asarray(values, dtype=dtype).reshape(-1, 1, 1), RAS)
    if slope:
        image.header.set_slope_inter(slope, 0)
    nib.save(image, path)
    return path


def values_of(labels):
    return labels.to_native.apply(labels.labels).reshape(-1).tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ggo=1,consolidation=2+3", {1: Label.GGO, 2: Label.CONSOLIDATION, 3: Label.CONSOLIDATION}),
        (" Left_Lung = 1 , right lung=2,infection=3,", {1: Label.LEFT_LUNG, 2: 2, 3: 5}),
        ("GGO=1,consolidation=2,pleural effusion=3", {1: 3, 2: 4, 3: Label.BACKGROUND}),
        ("lung=4+4", {4: Label.LUNG}),
    ],
)
def test_label_maps_are_parsed(text, expected):
    assert parse_label_map(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("liver=1", "'liver' is not known; expected one of .*consolidation"),
        ("ggo=x", "'x' is not a whole number"),
        ("ggo=-1", "negative"),
        ("ggo", "expected NAME=ID"),
        ("ggo=", "expected NAME=ID"),
        ("", "empty"),
        ("ggo=1,lung=1", "1 is given two meanings"),
    ],
)
def test_wrong_label_maps_are_wrong_usage(text, message):
    with pytest.raises(UsageError, match=message):
        parse_label_map(text)


def test_our_values_need_no_map(tmp_path):
    labels = read_labels(save(tmp_path / "c_labels.nii.gz", range(8)))
    assert values_of(labels) == list(range(8))
    assert labels.case == "c"
    assert labels.labels.dtype == np.uint8


def test_unknown_values_are_listed(tmp_path):
    path = save(tmp_path / "c.nii.gz", [0, 1, 8, 200])
    with pytest.raises(InputError, match=r"label values 8, 200 have no known meaning.*--label-map"):
        read_labels(path)
    mapped = read_labels(path, label_map={1: Label.GGO, 8: Label.LUNG, 200: Label.IGNORE})
    assert values_of(mapped) == [0, 3, 6, 7]


def test_a_given_map_must_name_every_value_but_0(tmp_path):
    path = save(tmp_path / "c.nii.gz", [0, 1, 2])
    with pytest.raises(InputError, match=r"label values 2 have no known meaning \(known: 0?,? ?1"):
        read_labels(path, label_map={1: Label.GGO})
    assert values_of(read_labels(path, label_map={0: 6, 1: 3, 2: 0})) == [6, 3, 0]


def test_negative_and_many_values(tmp_path):
    path = save(tmp_path / "c.nii.gz", [-3, 0, 5], np.int16)
    with pytest.raises(InputError, match="label values -3 have"):
        read_labels(path)
    path = save(tmp_path / "d.nii.gz", range(0, 60, 2), np.int16)
    with pytest.raises(InputError, match=r"8, 10, 12, 14, 16, 18, 20, 22, 24, 26, \.\.\. have"):
        read_labels(path)


def test_whole_numbers_in_floats_are_labels_and_others_are_not(tmp_path):
    assert values_of(read_labels(save(tmp_path / "c.nii", [0, 1, 4], np.float64))) == [0, 1, 4]
    for bad in (0.5, np.nan, np.inf):
        path = save(tmp_path / "d.nii", [0, 1, bad], np.float32)
        with pytest.raises(InputError, match="not a label map: its values are not whole"):
            read_labels(path)


def test_scaled_labels_count_by_their_scaled_values(tmp_path):
    path = save(tmp_path / "c.nii", [0, 1, 2], np.uint8, slope=2)
    assert values_of(read_labels(path)) == [0, 2, 4]


def test_dataset_json_gives_the_scheme_where_it_belongs(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": SCHEME}))
    above = save(tmp_path / "labelsTr" / "c.nii.gz", range(6))
    assert values_of(read_labels(above)) == [0, 6, 3, 4, 5, 7]
    beside = save(tmp_path / "c.nii.gz", range(6))
    assert values_of(read_labels(beside)) == [0, 6, 3, 4, 5, 7]
    given = dict.fromkeys(range(1, 6), Label.LUNG)
    assert values_of(read_labels(above, label_map=given)) == [0, 6, 6, 6, 6, 6]


def test_our_results_keep_our_scheme_beside_a_dataset(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": SCHEME}))
    ours = save(tmp_path / "c_labels.nii.gz", range(5))
    assert values_of(read_labels(ours)) == [0, 1, 2, 3, 4]
    elsewhere = save(tmp_path / "predictions" / "c.nii.gz", range(5))
    assert values_of(read_labels(elsewhere)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "scheme", [{"0": "background", "1": "lung", "2": "infection"}, {"lung": [1], "infection": 2}]
)
def test_other_spellings_of_dataset_json(tmp_path, scheme):
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": scheme}))
    assert values_of(read_labels(save(tmp_path / "c.nii", [0, 1, 2]))) == [0, 6, 5]


@pytest.mark.parametrize("turned", [False, True])
def test_the_innermost_region_of_a_dataset_counts(tmp_path, turned):
    scheme = {"background": 0, "lung": [1, 2, 3], "infection": [2, 3], "consolidation": 3}
    if turned:
        scheme = dict(reversed(scheme.items()))
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": scheme}))
    assert values_of(read_labels(save(tmp_path / "c.nii", [0, 1, 2, 3]))) == [0, 6, 5, 4]


def test_regions_that_contradict_each_other_are_refused(tmp_path):
    scheme = {"lung": [1, 2], "infection": [2, 3]}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": scheme}))
    path = save(tmp_path / "c.nii", [0, 1, 2])
    with pytest.raises(InputError, match=r"value 2 is given several meanings \(Infection and Lung"):
        read_labels(path)
    given = parse_label_map("lung=1,infection=2")
    assert values_of(read_labels(path, label_map=given)) == [0, 6, 5]
    (tmp_path / "dataset.json").write_text('{"labels": {"infection": [1, 2], "lesion": [2, 1]}}')
    assert values_of(read_labels(path)) == [0, 5, 5]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_checking_values_takes_little_memory(dtype):
    values = np.zeros((64, 64, 64), dtype=dtype)
    values[5, 6, 7] = 2
    tracemalloc.start()
    labels, _ = apply_label_map(values, {2: Label.GGO}, "c.nii")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert labels[5, 6, 7] == Label.GGO
    assert np.count_nonzero(labels) == 1
    assert peak < values.size * (5.5 if dtype is np.float32 else 1.5)


def test_large_and_unsigned_values_are_judged(tmp_path):
    labels, _ = apply_label_map(np.full((2, 1, 1), 3, np.uint64), None, "c.nrrd")
    assert labels.reshape(-1).tolist() == [3, 3]
    with pytest.raises(InputError, match="label values 70000 have"):
        apply_label_map(np.full((2, 1, 1), 70_000, np.int32), None, "c.nrrd")
    with pytest.raises(InputError, match="too large"):
        apply_label_map(np.full((2, 1, 1), 2.0**31), None, "c.nrrd")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "could not be read as JSON"),
        ('{"labels": {"liver": 1}}', "label 'liver' is not known; say what it is"),
        ('{"labels": {"lung": 1.5}}', "1.5 is not a number"),
    ],
)
def test_a_bad_dataset_json_is_told(tmp_path, content, message):
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_labels(save(tmp_path / "c.nii", [0, 1]))


def test_a_ct_is_not_a_label_map(tmp_path):
    with pytest.raises(InputError, match="have no known meaning"):
        read_labels(save(tmp_path / "ct.nii", range(-1000, 200, 7), np.int16))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("case_labels.nii.gz", True),
        ("case_seg.nii", True),
        ("case.seg.nrrd", True),
        ("lung-mask.mha", True),
        ("labelsTr/case.nii.gz", True),
        ("case.nii.gz", False),
        ("imagesTr/case_0000.nii.gz", False),
        ("segovia.nii.gz", False),
        ("case.png", False),
        ("missing", False),
    ],
)
def test_label_files_are_told_by_name_and_place(tmp_path, name, expected):
    assert is_label_file(tmp_path / name) is expected


def save_as(path, values):
    grid = GRIDS["RAS"]
    filled = np.resize(np.asarray(values, np.uint8), grid.shape)
    image = SimpleITK.GetImageFromArray(filled)
    image.SetDirection(grid.direction.reshape(-1))
    SimpleITK.WriteImage(image, path)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_label_files_are_told_by_content_where_the_name_says_nothing(tmp_path, suffix):
    assert is_label_file(save_as(tmp_path / f"lungs{suffix}", [0, 2, 7]))
    assert not is_label_file(save_as(tmp_path / f"grey{suffix}", [0, 2, 200]))
    damaged = save_as(tmp_path / f"half{suffix}", [0, 2, 7])
    damaged.write_bytes(damaged.read_bytes()[:-9])
    assert not is_label_file(damaged)


def test_a_scaled_8_bit_ct_is_no_label_file(tmp_path):
    assert not is_label_file(save(tmp_path / "c.nii", [0, 2, 7], slope=5.9))
    assert is_label_file(save(tmp_path / "d.nii", [0, 2, 7]))
    assert not is_label_file(save(tmp_path / "e.nii", [0, 2, 7], np.int16))


def test_a_label_that_counts_as_background_is_noted(tmp_path):
    path = save(tmp_path / "c.nii", [0, 1, 2, 3])
    labels = read_labels(
        path, label_map=parse_label_map("ggo=1,consolidation=2,pleural effusion=3")
    )
    assert values_of(labels) == [0, 3, 4, 0]
    assert labels.warnings == ("label 3 of the file counts as background",)
    assert read_labels(path).warnings == ()


@pytest.mark.parametrize(
    "name", ["c.nii.gz", "c_0000.nii", "c_labels.nii.gz", "c_0000_labels.nrrd", "c.seg.nrrd"]
)
def test_label_files_belong_to_cases(name):
    assert label_case_name(name) == "c"


@pytest.mark.real_data
def test_the_development_labels_are_mapped(data_dir):
    seen = set()
    for case in ("ma/labelsTr/ma_coronacases_001", "medseg/labelsTr/medseg_9"):
        path = data_dir / "covid_ct" / f"{case}.nii.gz"
        stored = np.asarray(nib.load(path).dataobj)
        labels = read_labels(path)
        counts = np.bincount(labels.labels.reshape(-1), minlength=8)
        for value, label in ((1, 6), (2, 3), (3, 4), (4, 5), (5, 7)):
            assert counts[label] == (stored == value).sum()
        seen |= set(np.flatnonzero(counts))
    assert seen == {0, 3, 4, 5, 6, 7}
