"""Opening files: the right type of layer, in the right place."""

import nibabel
import numpy as np
import pytest
from npe2 import PluginManager

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.labels import Label
from napari_covseg.io import read_volume, write_labels, write_volume
from napari_covseg.plugin.layers import METADATA_KEY
from napari_covseg.plugin.reader import get_reader, read


def test_nifti_opens_in_place_and_window(tmp_path, viewer, flipped_phantom):
    path = write_volume(flipped_phantom, tmp_path / "scan_0000.nii.gz")
    (layer,) = viewer.open(str(path), plugin="napari-covseg")
    assert layer._type_string == "image"
    np.testing.assert_array_equal(layer.data, flipped_phantom.hu)
    assert tuple(layer.scale) == pytest.approx((7.5, 3.6, 3.6), abs=1e-4)
    assert tuple(layer.contrast_limits) == (-1350, 150)
    assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
    assert layer.axis_labels == ("z", "y", "x")
    placement = layer.metadata[METADATA_KEY]
    np.testing.assert_allclose(
        placement.geometry.affine, flipped_phantom.geometry.affine, atol=1e-3
    )
    assert placement.case == "scan"
    assert tuple(layer.translate) == pytest.approx(placement.geometry.origin_mm[::-1])


def test_right_of_the_patient_is_on_the_left_of_the_screen(tmp_path, viewer, flipped_phantom):
    """The array's x runs to the left of the patient, and napari draws it to the right."""
    path = write_volume(flipped_phantom, tmp_path / "scan.nii.gz")
    stored = nibabel.load(path)
    assert nibabel.aff2axcodes(stored.affine) == ("R", "P", "I")
    (layer,) = viewer.open(str(path), plugin="napari-covseg")
    placement = layer.metadata[METADATA_KEY]
    assert placement.geometry.affine[0, 0] > 0
    assert tuple(viewer.dims.displayed) == (1, 2)


def test_label_file_opens_as_lungs_and_lesions(tmp_path, viewer, phantom):
    path = write_labels(phantom.labels, tmp_path / "scan_labels.nii.gz")
    lungs, lesions = viewer.open(str(path), plugin="napari-covseg")
    assert (lungs.name, lesions.name) == ("Lungs", "Lesions")
    assert lungs._type_string == lesions._type_string == "labels"
    assert (lungs.contour, lesions.contour) == (1, 0)
    truth = phantom.labels.labels
    np.testing.assert_array_equal(lesions.data, np.where(truth >= Label.GGO, truth, 0))
    np.testing.assert_array_equal(lungs.data > 0, truth > 0)
    amber, red = lesions.get_color(Label.GGO), lesions.get_color(Label.CONSOLIDATION)
    np.testing.assert_allclose(amber[:3], np.array([255, 176, 0]) / 255, atol=0.01)
    np.testing.assert_allclose(red[:3], np.array([224, 38, 60]) / 255, atol=0.01)


@pytest.mark.real_data
def test_dicom_folder(data_dir, viewer):
    folder = data_dir / "volumes" / "cip_ct64_dicom"
    (layer,) = viewer.open(str(folder), plugin="napari-covseg")
    nrrd = read_volume(data_dir / "volumes" / "cip_ct64" / "ct-64.nrrd")
    np.testing.assert_array_equal(layer.data, nrrd.hu)
    assert tuple(layer.scale) == pytest.approx(nrrd.geometry.spacing_mm, abs=1e-3)
    assert layer.metadata[METADATA_KEY].source == "DICOM"


@pytest.mark.real_data
def test_dicom_seg_opens_as_labels(data_dir, viewer):
    folder = data_dir / "dicom_edge" / "seg_ct3slice"
    seg = next(path for path in sorted(folder.iterdir()) if "seg" in path.name.lower())
    layers = viewer.open(str(seg), plugin="napari-covseg")
    assert {layer._type_string for layer in layers} == {"labels"}


@pytest.mark.real_data
def test_series_is_asked_for_and_the_chosen_one_opens(data_dir, make_napari_viewer, monkeypatch):
    from napari_covseg.io import list_series
    from napari_covseg.plugin.widgets import series_dialog

    folder = data_dir / "dicom_edge" / "ct4d_19timepoints_tiny"
    wanted = [series for series in list_series(folder) if series.loadable][5]
    asked = []

    def choose(series, name, *_):
        asked.append((len(series), name))
        return wanted.uid

    monkeypatch.setattr(series_dialog, "ask_series", choose)
    viewer = make_napari_viewer(show=True)
    (layer,) = viewer.open(str(folder), plugin="napari-covseg")
    assert asked == [(19, folder.name)]
    np.testing.assert_array_equal(layer.data, read_volume(folder, series=wanted.uid).hu)

    monkeypatch.setattr(series_dialog, "ask_series", lambda *_: None)
    assert viewer.open(str(folder), plugin="napari-covseg") == []


def grey_file(folder, phantom):
    v = phantom.volume
    grey = ((v.hu.clip(-1350, 150) + 1350) / 1500 * 255).round().astype(np.int16)
    path = folder / "grey.nii.gz"
    nibabel.save(
        nibabel.Nifti1Image(
            grey.transpose(2, 1, 0).astype(np.uint8), np.diag([-3.6, -3.6, 7.5, 1])
        ),
        path,
    )
    return path


def test_grey_values_are_refused_with_what_to_do(tmp_path, phantom):
    path = grey_file(tmp_path, phantom)
    with pytest.raises(InputError, match=r"grey.nii.gz: not in Hounsfield units.*--window"):
        read(str(path))


def test_grey_values_ask_for_their_window(tmp_path, make_napari_viewer, phantom, monkeypatch):
    from napari_covseg.plugin.widgets import window_dialog

    path = grey_file(tmp_path, phantom)
    reasons = []

    def answer(reason):
        reasons.append(reason)
        return (-1350.0, 150.0)

    monkeypatch.setattr(window_dialog, "ask_window", answer)
    viewer = make_napari_viewer(show=True)
    (layer,) = viewer.open(str(path), plugin="napari-covseg")
    assert "not in Hounsfield units" in reasons[0]
    expected = phantom.volume.hu.clip(-1350, 150)
    assert np.abs(np.asarray(layer.data, float) - expected).max() <= 1500 / 255


@pytest.mark.parametrize("name", ["a.tif", "notes.txt", "picture.png"])
def test_other_files_are_left_to_others(tmp_path, name):
    (tmp_path / name).write_bytes(b"something else entirely")
    assert get_reader(str(tmp_path / name)) is None


def test_a_folder_without_dicom_is_left_to_others(tmp_path):
    (tmp_path / "a.txt").write_text("nothing")
    assert get_reader(str(tmp_path)) is None


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("scan.nii.gz", True),
        ("SCAN.NII.GZ", True),
        ("1.3.6.1.4.dcm", True),
        ("IM0001", True),
        ("study.zip", True),
        ("photo.png", False),
        ("IM0001.tif", False),
    ],
)
def test_napari_offers_the_reader_for(name, ours):
    manager = PluginManager()
    manager.discover()
    found = {reader.command for reader in manager.iter_compatible_readers(name)}
    assert ("napari-covseg.read" in found) == ours
