"""What a detector found in a CT, as layers: boxes with class and score, and masks. No Qt."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_covseg.domain.colours import LABEL_COLOURS
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.plugin.layers import LayerTuple, Placement, lesions_layer, placement_of
from napari_covseg.plugin.napari_versions import remove_layers
from napari_covseg.plugin.no_triton import without_triton
from napari_covseg.plugin.quantify_texts import Row, ml_text
from napari_covseg.workflows.detect_settings import DetectSettings

if TYPE_CHECKING:
    from napari.layers import Image, Layer
    from napari.viewer import Viewer

    from napari_covseg.domain.volume import CTVolume
    from napari_covseg.inference.detect import Detection, Lesion
    from napari_covseg.workflows.detect import DetectResult

BOXES, MASKS = "Detected boxes", "Detected masks"
COLUMNS = ("Class", "Score", "ml", "Slices")
TIPS = (
    "Ground-glass opacity or consolidation; click a row to go there",
    "How sure the detector is, 0 to 1: the highest score of the lesion's slices",
    "Volume of the lesion's mask",
    "First and last slice, counted from 1",
)


@dataclass(eq=False)
class Shown:
    """A result in the viewer: its CT, and the layers it made."""

    ct: Image
    result: DetectResult
    layers: list[Layer]

    def best_slice(self, number: int) -> int:
        """The slice in which that lesion has its highest score."""
        one = next(lesion for lesion in self.result.detection.lesions if lesion.number == number)
        z0, y0, x0, z1, y1, x1 = one.box
        within = [
            finding
            for finding in self.result.detection.findings
            if finding.label is one.label
            and z0 <= finding.z < z1
            and _meet(finding.box_yx, (y0, x0, y1, x1))
        ]
        best = max(within, key=lambda finding: finding.score, default=None)
        return (z0 + z1) // 2 if best is None else best.z


def detected_steps(volume: CTVolume, settings: DetectSettings) -> Steps[DetectResult]:
    """Look for lesions; runs in a worker's thread."""
    yield Progress(0, 1, "loading the detector")
    with without_triton():
        import_module("napari_covseg.inference.detect")
    from napari_covseg.workflows.detect import detect

    return (yield from detect(volume, settings))


def written_steps(result: DetectResult, folder: Path) -> Steps[Path]:
    """Write the files of ``covseg detect``; runs in a worker's thread."""
    from napari_covseg.workflows.detect import write_detection

    yield Progress(0, 1, "saving")
    return write_detection(result, folder, result.detection.labels.case or "case").json_path


def show_result(viewer: Viewer, ct: Image, result: DetectResult) -> Shown:
    """Put boxes and masks over the CT."""
    placement = placement_of(ct)
    assert placement is not None
    masks, arguments, _ = masks_layer(result.detection, placement)
    layers = [viewer.add_labels(masks, **arguments)]
    corners, arguments, _ = boxes_layer(result.detection, placement)
    layers.append(viewer.add_shapes(corners, **arguments))
    viewer.layers.selection.active = ct
    return Shown(ct, result, layers)


def remove(viewer: Viewer, shown: Shown | None) -> None:
    """Take a result's layers away, as far as they are still there."""
    remove_layers(viewer, shown.layers if shown is not None else ())


def masks_layer(found: Detection, placement: Placement) -> LayerTuple:
    """A Labels layer in the colours of lesions; it has no placement, so no other panel takes it."""
    data, arguments, kind = lesions_layer(found.labels.labels, placement)
    return data, {**arguments, "name": MASKS, "metadata": {}}, kind


def boxes_layer(found: Detection, placement: Placement) -> LayerTuple:
    """A Shapes layer: a box in its slice for each finding, with class and score beside it."""
    findings = found.findings
    corners = np.array([_corners(one.z, one.box_yx) for one in findings]).reshape(-1, 4, 3)
    data, frame, _ = lesions_layer(found.labels.labels, placement)
    del data
    # The words in the colour of their box: white ones are lost over soft tissue.
    colours = [LABEL_COLOURS[one.label] for one in findings] or "white"
    arguments: dict[str, Any] = {
        name: frame[name] for name in ("scale", "translate", "units", "axis_labels")
    }
    arguments |= {
        "name": BOXES,
        "ndim": 3,
        "shape_type": "rectangle",
        "edge_width": 0.8,
        "edge_color": colours,
        "face_color": "transparent",
        "opacity": 0.9,
        "features": {
            "class": [one.label.title for one in findings],
            "score": [round(one.score, 2) for one in findings],
        },
        "text": {
            "string": "{class} {score:.2f}",
            "size": 9,
            "color": colours,
            "anchor": "upper_left",
        },
    }
    return corners, arguments, "shapes"


def rows_of(lesions: tuple[Lesion, ...]) -> list[Row]:
    """A row for each lesion, its number the key."""
    return [
        Row(
            str(one.number),
            str(one.number),
            (
                "GGO" if one.label.title == "GGO" else "Consol.",
                f"{one.score:.2f}",
                ml_text(one.ml),
                _slices(one),
            ),
            f"{one.label.title}, found in {one.findings} slices",
        )
        for one in lesions
    ]


def _slices(one: Lesion) -> str:
    first, last = one.box[0] + 1, one.box[3]
    return f"{first}" if first == last else f"{first}–{last}"


def _corners(z: int, box_yx: tuple[float, float, float, float]) -> list[list[float]]:
    """In napari's pixels, whose middles are whole numbers."""
    y0, x0, y1, x1 = (edge - 0.5 for edge in box_yx)
    return [[z, y0, x0], [z, y0, x1], [z, y1, x1], [z, y1, x0]]


def _meet(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
