"""Volumes and label maps as layers, and back."""

import numpy as np
import pytest

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import Label
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.plugin.layers import (
    METADATA_KEY,
    Placement,
    ct_layer,
    join,
    label_layers,
    volume_of,
)


def labels_of(array, **kwargs):
    geometry = Geometry.from_spacing(array.shape, (5.0, 0.7, 0.8), (-100.0, -90.0, 20.0))
    return LabelMap(np.asarray(array, np.uint8), geometry, "case", **kwargs)


def test_ct_layer_has_spacing_units_position_and_lung_window(flipped_phantom):
    data, arguments, kind = ct_layer(flipped_phantom)
    geometry = flipped_phantom.geometry
    assert kind == "image"
    assert data is flipped_phantom.hu
    assert arguments["scale"] == (7.5, 3.6, 3.6)
    assert arguments["translate"] == geometry.origin_mm[::-1]
    assert arguments["contrast_limits"] == (-1350, 150)
    assert arguments["axis_labels"] == ("z", "y", "x")
    assert arguments["units"] == ("mm", "mm", "mm")
    placement = arguments["metadata"][METADATA_KEY]
    np.testing.assert_array_equal(placement.geometry.affine, geometry.affine)
    assert placement.to_native == flipped_phantom.to_native
    assert placement.warnings == ("tilt corrected",)


def test_volume_comes_back_from_its_layer(viewer, flipped_phantom):
    data, arguments, _ = ct_layer(flipped_phantom)
    back = volume_of(viewer.add_image(data, **arguments))
    assert isinstance(back, CTVolume)
    np.testing.assert_array_equal(back.hu, flipped_phantom.hu)
    np.testing.assert_array_equal(back.geometry.affine, flipped_phantom.geometry.affine)
    assert back.to_native == flipped_phantom.to_native
    assert (back.case, back.source) == ("phantom", "DICOM")


def test_layer_of_another_reader_is_refused(viewer):
    layer = viewer.add_image(np.zeros((3, 4, 5), np.int16), name="other")
    with pytest.raises(InputError, match="'other' was opened by another reader"):
        volume_of(layer)


def test_split_and_join_give_the_label_map_back(phantom):
    (lungs, *_), (lesions, *_) = layers = label_layers(phantom.labels)
    assert set(np.unique(lungs)) == {0, Label.LEFT_LUNG, Label.RIGHT_LUNG}
    assert set(np.unique(lesions)) == {0, Label.GGO, Label.CONSOLIDATION}
    back = join((data, arguments) for data, arguments, _ in layers)
    np.testing.assert_array_equal(back.labels, phantom.labels.labels)


def test_lungs_run_on_under_lesions_with_their_side():
    array = np.zeros((1, 6, 20), np.uint8)
    array[0, 1:5, 1:8] = Label.RIGHT_LUNG
    array[0, 1:5, 12:19] = Label.LEFT_LUNG
    array[0, 2:4, 3:5] = Label.GGO
    array[0, 2:4, 14:17] = Label.CONSOLIDATION
    (lungs, *_), _ = label_layers(labels_of(array))
    assert (lungs[0, 2:4, 3:5] == Label.RIGHT_LUNG).all()
    assert (lungs[0, 2:4, 14:17] == Label.LEFT_LUNG).all()


def test_empty_layers_are_left_out_of_a_file_but_never_both():
    array = np.zeros((2, 3, 4), np.uint8)
    assert [a["name"] for _, a, _ in label_layers(labels_of(array), keep_empty=False)] == [
        "Lesions"
    ]
    array[0] = Label.LEFT_LUNG
    assert [a["name"] for _, a, _ in label_layers(labels_of(array), keep_empty=False)] == ["Lungs"]
    assert len(label_layers(labels_of(array))) == 2


def test_lesions_lie_over_lungs_in_whatever_order_they_come():
    shape = (1, 1, 4)
    meta = {"metadata": {METADATA_KEY: Placement.of(labels_of(np.zeros(shape)))}, "name": "a"}
    lungs = np.array([[[1, 1, 0, 2]]])
    lesions = np.array([[[3, 0, 4, 0]]])
    for pair in ((lungs, lesions), (lesions, lungs)):
        assert join((data, meta) for data in pair).labels.tolist() == [[[3, 1, 4, 2]]]


def test_join_names_the_layer_that_does_not_fit():
    here = labels_of(np.zeros((1, 2, 3)))
    meta = {"name": "Lungs", "metadata": {METADATA_KEY: Placement.of(here)}}
    with pytest.raises(InputError, match="'Lungs' holds label 9; expected 0 to 7"):
        join([(np.full((1, 2, 3), 9), meta)])
    with pytest.raises(InputError, match="'drawn' has no place in the patient"):
        join([(np.zeros((1, 2, 3)), {"name": "drawn", "metadata": {}})])
    moved = Geometry.from_spacing((1, 2, 3), (5.0, 0.7, 0.8), (0.0, 0.0, 0.0))
    other = {"name": "else", "metadata": {METADATA_KEY: Placement(moved)}}
    with pytest.raises(InputError, match="'else' is on another grid"):
        join([(np.zeros((1, 2, 3)), meta), (np.zeros((1, 2, 3)), other)])
    with pytest.raises(InputError, match="no Labels layer to save"):
        join([])
