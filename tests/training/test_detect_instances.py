import numpy as np

from napari_covseg.domain.labels import Label
from napari_covseg.training.dataset import NO_LESION, UNLABELLED
from napari_covseg.training.detect_instances import box_of, instances_of


def plane(*patches, background=Label.LUNG):
    """Patches are (label, rows, columns)."""
    codes = np.full((40, 50), background, np.uint8)
    for label, rows, columns in patches:
        codes[rows, columns] = label
    return codes


def test_connected_bodies_become_lesions_with_box_class_and_mask():
    codes = plane(
        (Label.CONSOLIDATION, slice(20, 30), slice(3, 9)),
        (Label.GGO, slice(2, 6), slice(10, 14)),
        (Label.GGO, slice(6, 10), slice(14, 18)),  # Touches the one above by a corner.
        (Label.GGO, slice(30, 35), slice(40, 50)),
    )
    found = instances_of(codes)
    assert found.labels.tolist() == [1, 1, 2]
    assert found.boxes.tolist() == [[10, 2, 18, 10], [40, 30, 50, 35], [3, 20, 9, 30]]
    assert found.masks.sum(axis=(1, 2)).tolist() == [32, 50, 60]
    assert not found.ignored.any()
    np.testing.assert_array_equal(found.masks[2], codes == Label.CONSOLIDATION)


def test_touching_bodies_of_two_classes_are_two_lesions():
    codes = plane(
        (Label.GGO, slice(5, 15), slice(5, 15)), (Label.CONSOLIDATION, slice(8, 12), slice(8, 12))
    )
    found = instances_of(codes)
    assert found.boxes.tolist() == [[5, 5, 15, 15], [8, 8, 12, 12]]
    assert found.masks[0].sum() == 100 - 16


def test_small_unknown_and_unreviewed_places_are_ignored_not_background():
    codes = plane(
        (Label.GGO, slice(0, 2), slice(0, 3)),
        (Label.INFECTION, slice(10, 20), slice(10, 20)),
        (Label.IGNORE, slice(30, 40), slice(0, 50)),
        (UNLABELLED, slice(25, 27), slice(0, 50)),
        background=NO_LESION,
    )
    found = instances_of(codes, least_pixels=8)
    assert len(found.labels) == 0
    assert found.boxes.shape == (0, 4)
    np.testing.assert_array_equal(found.ignored, codes != NO_LESION)
    assert len(instances_of(codes, least_pixels=6).labels) == 1


def test_targets_are_what_the_network_takes():
    target = instances_of(plane((Label.GGO, slice(1, 9), slice(2, 6)))).target()
    assert {key: str(value.dtype) for key, value in target.items()} == {
        "boxes": "torch.float32",
        "labels": "torch.int64",
        "masks": "torch.uint8",
        "ignored": "torch.bool",
    }
    assert tuple(target["masks"].shape) == (1, 40, 50)


def test_a_box_reaches_to_the_far_edge_of_its_pixels():
    mask = np.zeros((5, 7), bool)
    mask[2, 3:5] = True
    assert box_of(mask) == (3, 2, 5, 3)
