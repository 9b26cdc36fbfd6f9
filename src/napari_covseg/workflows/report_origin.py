"""What a report is made of, and where that came from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from napari_covseg import __version__
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.reports.findings_content import Made, Provenance
from napari_covseg.workflows.origin import Origin, mapping
from napari_covseg.workflows.segment import input_hash

if TYPE_CHECKING:
    from napari_covseg.domain.lobes import LobeMap
    from napari_covseg.quantify.case import Quantification
    from napari_covseg.quantify.doubt import Doubt


@dataclass(frozen=True, eq=False)
class CaseFiles:
    """What a report is made of, read.

    ``origin`` is how the labels came about, ``doubt`` what their model was in doubt of.
    """

    labels: LabelMap
    volume: CTVolume | None
    origin: Origin
    lobes: LobeMap | None = None
    doubt: Doubt | None = None


def provenance_of(case: CaseFiles, result: Quantification) -> Provenance:
    """Of CT, labels and lobes, and of the model that drew the labels where it is known."""
    origin, volume, geometry = case.origin, case.volume, case.labels.geometry
    if volume is not None and not volume.geometry.same_as(geometry):
        volume = None
    made: Made = "unknown"
    if origin.known:
        made = "corrected" if origin.changed else "automatic"
    lobes = "approximated by planes" if result.lobes_from == "approximate" else ""
    if result.lobes_from == "map":
        lobes = f"from a lobe map, {result.lobes_source}".removesuffix(", ")
    return Provenance(
        software_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        made=made,
        model_name=origin.model.get("name", ""),
        model_version=origin.model.get("version", ""),
        model_sha256=origin.model.get("sha256", ""),
        segmented_by_version=str(origin.provenance.get("software_version", "")),
        settings=_texts(mapping(origin.provenance, "settings")),
        device=str(mapping(origin.provenance, "device").get("title", "")),
        input_format=volume.source if volume is not None else "",
        input_sha256=input_hash(volume) if volume is not None else "",
        labels_sha256=labels_hash(case.labels),
        lobes=lobes,
        shape_zyx=geometry.shape,
        spacing_zyx_mm=geometry.spacing_mm,
    )


def labels_hash(labels: LabelMap) -> str:
    """SHA-256 of the canonical voxels (uint8; z, y, x) and the affine."""
    digest = hashlib.sha256(f"uint8 {labels.geometry.shape}".encode())
    for plane in labels.labels:
        digest.update(plane.tobytes())
    digest.update(labels.geometry.affine.astype("<f8").tobytes())
    return digest.hexdigest()


def warnings_of(case: CaseFiles, result: Quantification, provenance: Provenance) -> tuple[str, ...]:
    """Those of the measurement, and of the segmentation; the second opinion stands by itself."""
    opinion = result.second_opinion.disagreements if result.second_opinion is not None else ()
    lines = [line for line in result.warnings if line not in opinion]
    made_for = str(mapping(case.origin.provenance, "input").get("sha256", ""))
    measured = provenance.input_sha256
    if made_for and measured and made_for != measured:
        lines.insert(0, "The labels were made for another CT than the one reported on here.")
    # What was found about the model's own result need not hold for a corrected one.
    lines += [line for line in case.origin.warnings if not case.origin.changed]
    return tuple(dict.fromkeys(lines))


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in values.items()}
