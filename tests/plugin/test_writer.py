"""Saving Labels layers: the input's own grid, lesions over lungs, left stays left."""

import nibabel
import numpy as np
import pytest

from napari_covseg.domain.geometry import Geometry, Reorientation
from napari_covseg.domain.labels import Label
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.io import read_labels, read_volume, write_volume
from napari_covseg.plugin.layers import ct_layer, label_layers
from napari_covseg.plugin.reader import read
from napari_covseg.plugin.writer import write_labels


def oblique_ct(shape=(9, 14, 12)):
    angle = np.radians(12)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([1.1, 1.3, 4.0])
    affine[:3, 3] = (-50, -40, -300)
    hu = np.random.default_rng(0).integers(-1000, 400, shape).astype(np.int16)
    return CTVolume(hu, Geometry(shape, affine), "oblique", Reorientation((1, 0, 2), (True,) * 3))


@pytest.fixture
def ct_file(tmp_path):
    """An oblique CT stored along turned and flipped axes."""
    return write_volume(oblique_ct(), tmp_path / "scan.nii.gz")


def lungs_of(volume):
    """A right lung, a smaller left lung, GGO in the right one."""
    array = np.zeros(volume.hu.shape, np.uint8)
    array[2:7, 3:11, 1:5] = Label.RIGHT_LUNG
    array[3:6, 4:10, 8:11] = Label.LEFT_LUNG
    array[4:6, 5:7, 2:4] = Label.GGO
    return LabelMap.like(volume, array)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_round_trip_in_the_files_own_grid(tmp_path, ct_file, suffix):
    volume = read_volume(ct_file)
    labels = lungs_of(volume)
    written = write_labels(str(tmp_path / f"out{suffix}"), label_layers(labels))
    back = read_labels(written[0])
    np.testing.assert_array_equal(back.labels, labels.labels)
    np.testing.assert_allclose(back.geometry.affine, volume.geometry.affine, atol=1e-3)


def test_nifti_has_the_affine_and_axis_order_of_its_ct(tmp_path, ct_file):
    volume = read_volume(ct_file)
    write_labels(str(tmp_path / "out.nii.gz"), label_layers(lungs_of(volume)))
    ct, labels = nibabel.load(ct_file), nibabel.load(tmp_path / "out.nii.gz")
    assert labels.shape == ct.shape
    assert labels.get_data_dtype() == np.uint8
    np.testing.assert_allclose(labels.affine, ct.affine, atol=1e-4)
    assert not np.allclose(np.diag(np.diag(ct.affine)), ct.affine)


def test_left_stays_left(tmp_path, ct_file):
    volume = read_volume(ct_file)
    write_labels(str(tmp_path / "out.nii.gz"), label_layers(lungs_of(volume)))
    image = nibabel.load(tmp_path / "out.nii.gz")
    array = np.asarray(image.dataobj)

    def mean_ras_x(label):
        index = np.argwhere(array == label).mean(axis=0)
        return (image.affine @ [*index, 1])[0]

    assert mean_ras_x(Label.LEFT_LUNG) < mean_ras_x(Label.RIGHT_LUNG)
    assert mean_ras_x(Label.GGO) > mean_ras_x(Label.LEFT_LUNG)


def test_layer_drawn_by_hand_takes_the_place_of_the_open_ct(tmp_path, viewer, ct_file):
    data, arguments, _ = read(str(ct_file))[0]
    viewer.add_image(data, **arguments)
    drawn = viewer.add_labels(np.zeros(data.shape, np.uint8), name="mine")
    drawn.data[3, 4, 5] = Label.GGO
    written = viewer.layers.save(
        str(tmp_path / "mine.nii.gz"), selected=True, plugin="napari-covseg"
    )
    back = read_labels(written[0])
    assert np.argwhere(back.labels == Label.GGO).tolist() == [[3, 4, 5]]
    np.testing.assert_allclose(
        back.geometry.affine, read_volume(ct_file).geometry.affine, atol=1e-3
    )


def test_napari_finds_the_writer(tmp_path, viewer, phantom):
    data, arguments, _ = ct_layer(phantom.volume)
    viewer.add_image(data, **arguments)
    for data, arguments, _ in label_layers(phantom.labels):
        viewer.add_labels(data, **arguments)
    viewer.layers.selection = {viewer.layers["Lungs"], viewer.layers["Lesions"]}
    written = viewer.layers.save(str(tmp_path / "both.nii.gz"), selected=True)
    np.testing.assert_array_equal(read_labels(written[0]).labels, phantom.labels.labels)
