"""Segmentations as 3D Slicer saves them, written here with pynrrd."""

from collections.abc import Sequence
from pathlib import Path

import nrrd
import numpy as np
import pytest
from grids import GRIDS, SHAPE

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import Label
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io.labels import read_labels
from napari_covseg.io.slicer_seg import is_slicer_seg, read_slicer_seg
from napari_covseg.io.write import write_labels

GRID = GRIDS["RAS"]
"""Its file's axes run to the right and to anterior, so the canonical array is turned."""


def _save(
    path: Path,
    layers: Sequence[np.ndarray],
    segments: Sequence[tuple[str, int, int]],
    origin_index: tuple[int, int, int] = (0, 0, 0),
    grid: Geometry = GRID,
    old: bool = False,
) -> Path:
    """Layers are ``(z, y, x)`` in the file's order; segments are (name, layer, value)."""
    header = {
        "space": "left-posterior-superior",
        "kinds": ["domain"] * 3,
        "space directions": grid.affine[:3, :3].T.tolist(),
        "space origin": (grid.affine @ [*origin_index[::-1], 1.0])[:3],
        "Segmentation_ReferenceImageExtentOffset": " ".join(map(str, origin_index[::-1])),
    }
    for number, (name, layer, value) in enumerate(segments):
        header[f"Segment{number}_ID"] = f"Segment_{number}"
        header[f"Segment{number}_Name"] = name
        if not old:
            header[f"Segment{number}_Layer"] = str(layer)
            header[f"Segment{number}_LabelValue"] = str(value)
    voxels = [layer.transpose(2, 1, 0) for layer in layers]
    if len(layers) > 1:
        header["kinds"] = ["list", *header["kinds"]]
        header["space directions"] = [[np.nan] * 3, *header["space directions"]]
        nrrd.write(str(path), np.stack(voxels).astype(np.uint8), header)
    else:
        nrrd.write(str(path), voxels[0].astype(np.uint8), header)
    return path


def _block(*where: slice, value: int = 1) -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    array[where] = value
    return array


LUNG = _block(slice(1, 6), slice(1, 8), slice(1, 9))
SPOT = _block(slice(2, 4), slice(2, 5), slice(3, 6))


def _canonical(native: np.ndarray) -> np.ndarray:
    return GRID.to_canonical().apply(native)


def test_one_layer(tmp_path):
    voxels = LUNG * 5
    voxels[SPOT > 0] = 2
    path = _save(tmp_path / "x.seg.nrrd", [voxels], [("Right lung", 0, 5), ("ggo", 0, 2)])
    labels = read_slicer_seg(path)
    expected = np.where(SPOT, Label.GGO, LUNG * Label.RIGHT_LUNG)
    np.testing.assert_array_equal(labels.labels, _canonical(expected))
    assert labels.geometry.same_as(GRID.reoriented(GRID.to_canonical()))
    assert (labels.case, labels.warnings) == ("x", ())


@pytest.mark.parametrize("old", [False, True], ids=["", "before Slicer 4.11"])
@pytest.mark.parametrize("lung_first", [True, False])
def test_a_lesion_drawn_over_its_lung_wins(tmp_path, lung_first, old):
    parts = [(LUNG, "Lung"), (SPOT, "Consolidation")]
    parts = parts if lung_first else parts[::-1]
    segments = [(name, layer, 1) for layer, (_, name) in enumerate(parts)]
    path = _save(tmp_path / "x.seg.nrrd", [array for array, _ in parts], segments, old=old)
    labels = read_labels(path)
    expected = np.where(SPOT, Label.CONSOLIDATION, LUNG * Label.LUNG)
    np.testing.assert_array_equal(labels.labels, _canonical(expected))
    assert labels.warnings == ()


def test_contradictions_are_counted(tmp_path):
    other = _block(slice(2, 4), slice(2, 5), slice(5, 8))
    both = int((SPOT & other).sum())
    path = _save(tmp_path / "x.seg.nrrd", [SPOT, other], [("GGO", 0, 1), ("Consolidation", 1, 1)])
    labels = read_slicer_seg(path)
    assert labels.warnings == (
        f"segments contradict each other in {both} voxels: the later one was taken",
    )
    assert (labels.labels == Label.CONSOLIDATION).sum() == other.sum()
    assert (labels.labels == Label.GGO).sum() == SPOT.sum() - both


def test_a_cropped_file_is_put_back_in_its_place(tmp_path):
    """Slicer saves only the box that holds something."""
    canonical = GRID.reoriented(GRID.to_canonical())
    voxels = LUNG * 6
    voxels[SPOT > 0] = 3
    cropped = voxels[1:6, 1:8, 1:9]
    segments = [("Lung", 0, 6), ("GGO", 0, 3)]
    path = _save(tmp_path / "x.seg.nrrd", [cropped], segments, origin_index=(1, 1, 1))
    labels = read_slicer_seg(path, grid=canonical)
    np.testing.assert_array_equal(labels.labels, _canonical(voxels))
    assert labels.geometry is canonical
    assert read_slicer_seg(path).labels.shape == (5, 7, 8), "without a grid, its own"


def test_a_file_larger_than_the_ct_may_be_empty_outside(tmp_path):
    canonical = GRID.reoriented(GRID.to_canonical())
    larger = np.zeros(tuple(n + 2 for n in SHAPE), np.uint8)
    larger[1:-1, 1:-1, 1:-1] = SPOT * 3
    segments = [("GGO", 0, 3)]
    path = _save(tmp_path / "x.seg.nrrd", [larger], segments, origin_index=(-1, -1, -1))
    np.testing.assert_array_equal(
        read_slicer_seg(path, grid=canonical).labels, _canonical(SPOT * 3)
    )
    larger[0, 0, 0] = 3
    path = _save(tmp_path / "y.seg.nrrd", [larger], segments, origin_index=(-1, -1, -1))
    with pytest.raises(InputError, match="some of it lies outside the CT"):
        read_slicer_seg(path, grid=canonical)


def test_another_grid_is_refused(tmp_path):
    canonical = GRID.reoriented(GRID.to_canonical())
    path = _save(tmp_path / "x.seg.nrrd", [SPOT], [("GGO", 0, 1)])
    for change in (np.diag([1.0, 1.0, 1.1, 1.0]), np.eye(4)):
        affine = change @ canonical.affine
        affine[0, 3] += 0.4
        with pytest.raises(InputError, match="another grid than the CT's"):
            read_slicer_seg(path, grid=Geometry(canonical.shape, affine))


def test_segments_without_a_meaning(tmp_path):
    voxels = LUNG * 1
    voxels[SPOT > 0] = 2
    path = _save(tmp_path / "x.seg.nrrd", [voxels], [("Lung", 0, 1), ("Segment_2", 0, 2)])
    with pytest.raises(InputError, match="not all segments are lungs or lesions: 2 'Segment_2'"):
        read_slicer_seg(path)
    labels = read_slicer_seg(path, label_map={1: Label.LUNG, 2: Label.BACKGROUND})
    np.testing.assert_array_equal(labels.labels > 0, _canonical(LUNG & ~SPOT) > 0)
    assert labels.warnings == ("segment 2 of the file counts as background",)
    empty = _save(tmp_path / "y.seg.nrrd", [LUNG], [("Lung", 0, 1), ("Segment_2", 0, 2)])
    assert read_slicer_seg(empty).labels.any(), "a segment without voxels needs no meaning"
    lost = _save(tmp_path / "z.seg.nrrd", [voxels], [("Lung", 0, 1)])
    with pytest.raises(InputError, match="voxels of value 2 belong to no segment"):
        read_slicer_seg(lost)


def test_in_several_layers_a_label_map_names_segments_by_number(tmp_path):
    path = _save(tmp_path / "x.seg.nrrd", [LUNG, SPOT], [("A", 0, 1), ("B", 1, 1)])
    labels = read_slicer_seg(path, label_map={1: Label.LUNG, 2: Label.GGO})
    np.testing.assert_array_equal(
        labels.labels, _canonical(np.where(SPOT, Label.GGO, LUNG * Label.LUNG))
    )


@pytest.mark.parametrize("name", GRIDS)
def test_what_is_written_is_read(tmp_path, name):
    native = GRIDS[name]
    how = native.to_canonical()
    array = np.where(SPOT, Label.GGO, LUNG * Label.LEFT_LUNG).astype(np.uint8)
    made = LabelMap(how.apply(array), native.reoriented(how), "x", how.inverse)
    path = write_labels(made, tmp_path / "x.seg.nrrd")
    assert is_slicer_seg(path)
    again = read_slicer_seg(path, grid=made.geometry)
    np.testing.assert_array_equal(again.labels, made.labels)
    assert again.to_native == made.to_native
    assert not is_slicer_seg(write_labels(made, tmp_path / "x.nrrd"))
