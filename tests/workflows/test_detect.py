import json

import nibabel as nib
import numpy as np
import pytest

from napari_covseg.domain.errors import ModelError, UsageError
from napari_covseg.domain.geometry import Reorientation
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.inference.detect import Detection, Lesion, SliceFinding
from napari_covseg.models.device import Device
from napari_covseg.workflows import detect as workflow
from napari_covseg.workflows.detect import DetectResult, detect, native_box, write_detection
from napari_covseg.workflows.detect_settings import DetectSettings


def test_scores_below_what_a_detector_keeps_are_refused():
    with pytest.raises(UsageError, match=r"score 0\.01: expected 0\.05 to 1"):
        DetectSettings("x", score=0.01)


def test_a_model_of_another_kind_is_refused_by_name(tmp_path):
    card = {"architecture": "mask_net", "sha256": "", "name": "net", "version": "1", "classes": []}
    (tmp_path / "net.json").write_text(json.dumps(card))
    (tmp_path / "net.safetensors").touch()
    with pytest.raises(ModelError, match=r"net\.json: a model of the network 'mask_net'"):
        run_to_end(detect(None, DetectSettings(str(tmp_path), "cpu")))


def test_boxes_of_the_file_are_those_of_its_own_axes(tmp_path):
    """A file whose x runs to the right and whose axes are swapped."""
    from napari_covseg.io import read_volume

    data = np.full((6, 5, 4), -1000, np.int16)  # Axes of the file: z, x (to the right), y.
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = 3.0, 2.0, -2.0, 1.0  # RAS
    data[4, 3, 1] = 50
    nib.save(nib.Nifti1Image(data, affine), tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    z, y, x = (int(n[0]) for n in np.nonzero(volume.hu == 50))
    box = native_box((z, y, x, z + 1, y + 1, x + 1), volume.geometry.shape, volume.to_native)
    assert box == {"first": [4, 3, 1], "last": [4, 3, 1]}

    from napari_covseg.domain.volume import LabelMap

    labels = np.zeros(volume.hu.shape, np.uint8)
    labels[z, y, x] = Label.CONSOLIDATION
    lesion = Lesion(
        1,
        Label.CONSOLIDATION,
        0.75,
        1,
        (z, y, x, z + 1, y + 1, x + 1),
        1,
        0.012,
        (0.0, 0.0, 0.0),
        (1.0, 1.0, 1.0),
    )
    finding = SliceFinding(z, Label.CONSOLIDATION, 0.75, (y + 0.2, x + 0.1, y + 0.9, x + 1.0))
    detection = Detection(
        LabelMap.like(volume, labels),
        labels.astype(np.uint16),
        (lesion,),
        (finding,),
        Device("cpu", "CPU"),
    )
    done = write_detection(DetectResult(detection, (), {"software": "x"}), tmp_path, "a")
    written = nib.load(done.labels_path)
    assert written.get_fdata()[4, 3, 1] == Label.CONSOLIDATION
    report = json.loads(done.json_path.read_text())
    assert report["lesions"][0]["box_xyz_voxels"] == {"first": [4, 3, 1], "last": [4, 3, 1]}
    assert report["findings"][0]["box_xyz_voxels"] == {"first": [4, 3, 1], "last": [4, 3, 1]}
    assert report["lesions"][0]["label"] == "consolidation"
    assert report["notice"] == workflow.RESEARCH_USE


def test_a_box_that_needs_no_turn_stays():
    box = native_box((1, 2, 3, 4, 6, 8), (10, 20, 30), Reorientation())
    assert box == {"first": [3, 2, 1], "last": [7, 5, 3]}
