"""Lesions of a whole CT: a detector on every slice, and what it finds joined to bodies in 3D."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cc3d
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_covseg.domain.errors import ModelError, ResourceError
from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.inference.axial import to_network
from napari_covseg.inference.detect_slice import MASK_FROM, autocast
from napari_covseg.inference.frame import Frame, plan_frame
from napari_covseg.inference.runner import is_out_of_memory
from napari_covseg.models.detector_files import Detector
from napari_covseg.models.device import Device, choose_device, stopped_working
from napari_covseg.models.lesion_bodies import LesionBodies
from napari_covseg.models.mask_rcnn import CLASSES, LesionRCNN

Box = tuple[int, int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class SliceFinding:
    """A lesion in one slice: its class, score (0 to 1), and box.

    ``box_yx`` is y0, x0, y1, x1 in the volume's pixels; pixel ``i`` reaches from ``i`` to
    ``i + 1``.
    """

    z: int
    label: Label
    score: float
    box_yx: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Lesion:
    """A connected body of one class, over one or more slices.

    Parameters
    ----------
    number
        From 1, the largest first.
    score
        The highest of its findings.
    findings
        How many findings in slices it was joined from.
    box
        z0, y0, x0, z1, y1, x1: voxels of the canonical array, the last ones excluded.
    low_mm, high_mm
        LPS corners ``(x, y, z)`` of the box with its voxels' full extent.
    """

    number: int
    label: Label
    score: float
    findings: int
    box: Box
    voxels: int
    ml: float
    low_mm: tuple[float, float, float]
    high_mm: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Detection:
    """What a detector found in a volume.

    ``labels`` has GGO and consolidation, and 0 elsewhere, lung included; ``bodies`` uint16
    ``(z, y, x)`` has each lesion's number.
    """

    labels: LabelMap
    bodies: NDArray[np.uint16]
    lesions: tuple[Lesion, ...]
    findings: tuple[SliceFinding, ...]
    device: Device
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Found:
    """A finding and its mask, bool, with the mask's corner in the slice."""

    finding: SliceFinding
    mask: NDArray[np.bool_]
    corner: tuple[int, int]

    def place(self) -> tuple[slice, slice]:
        (y, x), (height, width) = self.corner, self.mask.shape
        return slice(y, y + height), slice(x, x + width)


def detect_volume(
    volume: CTVolume, detector: Detector, device: Device, least_score: float
) -> Steps[Detection]:
    """Find lesions in every axial slice; one step is a slice.

    Findings that score less than ``least_score`` are left out. Where masks overlap the higher score
    wins; masks of one class that touch, in a slice or between slices, are one lesion.

    Raises
    ------
    InputError
        If the volume has no axial plane to speak of.
    ResourceError
        If memory ran out on the CPU too.
    ModelError
        If the network failed on its input.
    """
    frame = plan_frame(volume, detector.recipe)
    network = copy.deepcopy(detector.network).eval().to(device.name)
    warnings: list[str] = []
    kept: list[_Found] = []
    total = len(volume.hu)
    yield Progress(0, total, f"looking for lesions on {device.title}")
    z = 0
    while z < total:
        try:
            kept += _in_slice(volume, z, frame, detector, network, device, least_score)
        except (RuntimeError, MemoryError, ValueError) as error:
            device = _after(error, device, detector.name, warnings)
            network = copy.deepcopy(detector.network).eval().to(device.name)
            continue
        z += 1
        yield Progress(z, total, f"looking for lesions on {device.title}")
    yield Progress(0, 1, "joining slices")
    return replace(join_findings(kept, volume, device), warnings=tuple(warnings))


def join_findings(kept: Sequence[_Found], volume: CTVolume, device: Device) -> Detection:
    """Findings of slices as lesions in 3D."""
    labels = np.zeros(volume.geometry.shape, np.uint8)
    # In rising order, so that the higher score is painted last.
    for one in sorted(kept, key=lambda found: found.finding.score):
        labels[one.finding.z][one.place()][one.mask] = one.finding.label
    bodies, count = cc3d.connected_components(labels, connectivity=26, return_N=True)
    voxels = np.bincount(bodies.reshape(-1), minlength=count + 1)
    boxes = cc3d.statistics(bodies)["bounding_boxes"]
    scores, findings = np.zeros(count + 1), np.zeros(count + 1, int)
    for one in kept:
        z, place = one.finding.z, one.place()
        own = one.mask & (labels[z][place] == one.finding.label)
        for body in np.unique(bodies[z][place][own]):
            scores[body] = max(scores[body], one.finding.score)
            findings[body] += 1
    order = sorted(range(1, count + 1), key=lambda body: -voxels[body])
    numbers = np.zeros(count + 1, np.uint16)
    numbers[order] = np.arange(1, count + 1)
    lesions = []
    for body in order:
        z, y, x = boxes[body]
        box = (z.start, y.start, x.start, z.stop, y.stop, x.stop)
        low, high = corners_mm(box, volume.geometry)
        lesions.append(
            Lesion(
                number=int(numbers[body]),
                label=Label(int(labels[z, y, x][bodies[z, y, x] == body][0])),
                score=float(scores[body]),
                findings=int(findings[body]),
                box=box,
                voxels=int(voxels[body]),
                ml=float(voxels[body] * volume.geometry.voxel_ml),
                low_mm=low,
                high_mm=high,
            )
        )
    seen = tuple(found.finding for found in kept)
    return Detection(LabelMap.like(volume, labels), numbers[bodies], tuple(lesions), seen, device)


def corners_mm(
    box: Box, geometry: Geometry
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Least and greatest LPS ``(x, y, z)`` of a box of voxels, to their outer faces."""
    z0, y0, x0, z1, y1, x1 = box
    index = np.array(
        [[x - 0.5, y - 0.5, z - 0.5, 1.0] for z in (z0, z1) for y in (y0, y1) for x in (x0, x1)]
    )
    places = (index @ geometry.affine.T)[:, :3]
    low, high = (tuple(float(v) for v in edge) for edge in (places.min(axis=0), places.max(axis=0)))
    return low, high  # type: ignore[return-value]


def _in_slice(
    volume: CTVolume,
    z: int,
    frame: Frame,
    detector: Detector,
    network: LesionRCNN | LesionBodies,
    device: Device,
    least_score: float,
) -> list[_Found]:
    rows, columns = frame.slices
    hu = torch.from_numpy(np.ascontiguousarray(volume.hu[z : z + 1, rows, columns]))
    # MPS has no antialiased resampling in many versions of torch: it gets small pixels.
    image = to_network(hu, frame, detector.recipe)[0].to(device.name)
    with torch.inference_mode(), autocast(device):
        (found,) = network([image])
    keep = found["scores"] >= least_score
    boxes = found["boxes"][keep].float().cpu().numpy()
    labels = found["labels"][keep].tolist()
    scores = found["scores"][keep].float().tolist()
    height, width = frame.size
    masks = found["masks"][keep][:, :, :height, :width].float().cpu()
    if frame.size != frame.native:
        masks = nn.functional.interpolate(masks, frame.native, mode="bilinear", align_corners=False)
    results = []
    for box, label, score, share in zip(boxes, labels, scores, masks[:, 0], strict=True):
        mask = share.numpy() >= MASK_FROM
        if not mask.any():
            continue
        inner = tuple(_span(mask.any(axis=axis)) for axis in (1, 0))
        corner = (inner[0].start + rows.start, inner[1].start + columns.start)
        finding = SliceFinding(z, CLASSES[label], score, _native(box, frame))
        results.append(_Found(finding, mask[inner].copy(), corner))
    return results


def _native(box: NDArray, frame: Frame) -> tuple[float, float, float, float]:
    """A box in the network's pixels as y0, x0, y1, x1 in the volume's."""
    down, across = (n / size for n, size in zip(frame.native, frame.size, strict=True))
    x0, y0, x1, y1 = (float(v) for v in box)
    (top, bottom), (left, right) = frame.rows, frame.columns
    return (
        min(top + y0 * down, bottom),
        min(left + x0 * across, right),
        min(top + y1 * down, bottom),
        min(left + x1 * across, right),
    )


def _span(there: NDArray[np.bool_]) -> slice:
    places = np.flatnonzero(there)
    return slice(int(places[0]), int(places[-1]) + 1)


def _after(error: Exception, device: Device, name: str, warnings: list[str]) -> Device:
    """Go on with the CPU when a graphics card lacks memory or an operation, or is gone."""
    if device.kind == "cuda" and stopped_working(error):
        warnings.append(f"{device.title} stopped working: the rest was done on the CPU.")
        return replace(choose_device("cpu"), hint=device.hint)
    missing = isinstance(error, NotImplementedError) and device.kind != "cpu"
    if not missing and not is_out_of_memory(error):
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"the detector {name} failed on {device.title}: {reason}") from error
    if device.kind == "cpu":
        raise ResourceError(
            "not enough memory to look for lesions: close other programs, or use a machine with "
            "more memory"
        ) from error
    if device.kind == "cuda":
        torch.cuda.empty_cache()
    reason = "cannot run this network" if missing else "ran out of memory"
    warnings.append(f"{device.title} {reason}: the rest was done on the CPU.")
    return replace(choose_device("cpu"), hint=device.hint)
