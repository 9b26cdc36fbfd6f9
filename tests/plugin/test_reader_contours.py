"""An RTSTRUCT opens on the CT that is open, and on no other."""

from __future__ import annotations

import numpy as np
import pytest
from label_phantom import label_map, series
from pydicom import dcmread

from napari_covseg.domain.errors import InputError
from napari_covseg.io import read_volume
from napari_covseg.io.dicom_maker import Maker
from napari_covseg.io.dicom_rtstruct_write import write_rtstruct
from napari_covseg.io.dicom_source import open_source
from napari_covseg.plugin.reader import read


@pytest.fixture
def drawn(tmp_path):
    """A CT's folder, its labels and the RTSTRUCT of them; another CT's folder."""
    folder, centre = series(tmp_path / "ct")
    volume = read_volume(folder)
    labels = label_map(volume.geometry, centre, volume.case)
    source = open_source(folder, labels.geometry)
    write_rtstruct(labels, source, tmp_path / "rt.dcm", Maker("manual"))
    other, _ = series(tmp_path / "other", SeriesInstanceUID="1.2.9", FrameOfReferenceUID="1.2.3.99")
    return folder, labels, tmp_path / "rt.dcm", other


def test_contours_open_on_the_ct_in_the_viewer(drawn, viewer):
    folder, labels, path, other = drawn
    viewer.open(str(other), plugin="napari-covseg")
    with pytest.raises(InputError, match="another frame of reference"):
        read(str(path))
    viewer.open(str(folder), plugin="napari-covseg")
    lungs, lesions = viewer.open(str(path), plugin="napari-covseg")
    assert (lungs.name, lesions.name) == ("Lungs", "Lesions")
    expected = np.where(labels.labels >= 3, labels.labels, 0)
    np.testing.assert_array_equal(lesions.data, expected)
    assert tuple(lesions.translate) == tuple(viewer.layers[1].translate)


def test_structures_of_other_organs_are_left_out(drawn, viewer):
    folder, labels, path, _ = drawn
    read_first = dcmread(path)
    read_first.StructureSetROISequence[2].ROIName = "Heart"
    observation = read_first.RTROIObservationsSequence[2]
    observation.ROIObservationLabel = ""
    del observation.RTROIIdentificationCodeSequence
    read_first.save_as(path)
    viewer.open(str(folder), plugin="napari-covseg")
    _, lesions = viewer.open(str(path), plugin="napari-covseg")
    np.testing.assert_array_equal(lesions.data, np.where(labels.labels == 4, 4, 0))


def test_without_a_ct_it_says_what_to_do(drawn, viewer):
    _, _, path, _ = drawn
    with pytest.raises(InputError, match="open the CT they were drawn on first"):
        read(str(path))
