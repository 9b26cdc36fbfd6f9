"""The report of a case: from a CT and its labels, or from a file to files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg import __version__
from napari_covseg.domain.errors import InputError, ResourceError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.reports.findings_content import FindingsContent, Made, Provenance, Reading
from napari_covseg.workflows.doubt import read_doubt
from napari_covseg.workflows.origin import Origin, mapping, origin_of
from napari_covseg.workflows.quantify import ASSUMED, choices, to_csv
from napari_covseg.workflows.report_request import ReportRequest
from napari_covseg.workflows.segment import input_hash, make_folder

if TYPE_CHECKING:
    from napari_covseg.domain.identity import Identity
    from napari_covseg.domain.lobes import LobeMap
    from napari_covseg.quantify.case import Quantification
    from napari_covseg.quantify.doubt import Doubt
    from napari_covseg.reports.document import Picture


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


@dataclass(frozen=True, eq=False)
class Reported:
    """The files of a report, and what it says."""

    paths: tuple[Path, ...]
    content: FindingsContent


def report_content(
    case: CaseFiles, reading: Reading | None = None, identity: Identity | None = None
) -> Steps[FindingsContent]:
    """Measure a case, and put its report together.

    Raises
    ------
    ResourceError
        If memory ran out.
    """
    from napari_covseg.quantify.case import quantify
    from napari_covseg.reports.planes import planes_of

    labels, volume = case.labels, case.volume
    given = (*labels.warnings, *(volume.warnings if volume is not None else ()))
    assumed = any(ASSUMED in warning for warning in given)
    result = yield from quantify(labels, volume, case.lobes, case.doubt, spacing_known=not assumed)
    yield Progress(0, 1, "choosing slices")
    provenance = _provenance(case, result)
    return FindingsContent(
        case=labels.case,
        result=result,
        provenance=provenance,
        planes=planes_of(labels, volume),
        warnings=_warnings(case, result, provenance),
        reading=reading or Reading(),
        identity=identity,
    )


def write_report(
    content: FindingsContent, folder: Path, name: str, formats: Sequence[str]
) -> Steps[tuple[Path, ...]]:
    """Write ``<name>_report.<format>`` for each format; every file whole or not at all.

    Raises
    ------
    ResourceError, InputError
        If a file cannot be written.
    """
    from napari_covseg.io.atomic import atomic_file

    made: dict[str, bytes] = {}
    if "html" in formats or "pdf" in formats:
        made = yield from _drawn(content, formats)
    if "csv" in formats:
        made["csv"] = to_csv(replace(content.result, case=name)).encode(errors="replace")
    if "json" in formats:
        made["json"] = _json(content, name)
    if "txt" in formats:
        from napari_covseg.reports.findings_text import findings_text

        made["txt"] = findings_text(content).encode(errors="replace")
    paths = []
    for kind in formats:
        path = folder / f"{name}_report.{kind}"
        yield Progress(0, 1, f"writing {path.name}")
        with atomic_file(path) as file:
            file.write(made[kind])
        paths.append(path)
    return tuple(paths)


def report_page(content: FindingsContent) -> Steps[str]:
    """The report as a page of HTML."""
    made = yield from _drawn(content, ("html",))
    return made["html"].decode()


def report_file(
    path: Path,
    output: Path,
    request: ReportRequest,
    name_case: Callable[[str], str] | None = None,
) -> Steps[Reported]:
    """Report on a file.

    A CT without labels is segmented first, and the labels are kept beside the report as ``covseg
    segment`` writes them. ``name_case`` gets the case name of the CT and says which to use.

    Raises
    ------
    InputError
        If CT, labels or lobes cannot be read, or there are no labels of this case.
    ModelError
        If the CT has to be segmented and the model cannot be used.
    ResourceError
        If memory or disk ran out.
    """
    from napari_covseg.io import read_volume

    make_folder(output)
    yield Progress(0, 1, f"reading {path.name}")
    try:
        volume = read_volume(path, series=request.series, window=request.window)
        name = volume.case if name_case is None else name_case(volume.case)
        case = yield from _case(path, volume, name, output, request)
        identity = _identity(path, request) if request.with_identifiers else None
        content = yield from report_content(case, request.reading_of(name), identity)
        content = replace(content, case=name, result=replace(content.result, case=name))
        paths = yield from write_report(content, output, name, request.formats)
    except MemoryError:
        raise ResourceError(f"{path.name}: not enough memory to report on it") from None
    return Reported(paths, content)


def _case(
    path: Path, volume: CTVolume, name: str, output: Path, request: ReportRequest
) -> Steps[CaseFiles]:
    """Labels read or made, and lobes."""
    from napari_covseg.workflows.lobes import lobes_of

    if request.labels is None:
        found = yield from _segmented(path, volume, name, output, request)
    else:
        found = yield from _read_labels(path, volume, request.labels, request)
    labels, origin, doubt = found
    lobes = yield from lobes_of(volume, request.lobes, request.segment.device)
    return CaseFiles(replace(labels, case=volume.case), volume, origin, lobes, doubt)


def _segmented(
    path: Path, volume: CTVolume, name: str, output: Path, request: ReportRequest
) -> Steps[tuple[LabelMap, Origin, Doubt | None]]:
    from napari_covseg.quantify.doubt import Doubt
    from napari_covseg.workflows import segment as workflow

    try:
        result = yield from workflow.segment(volume, request.segment, likelihood=True)
    except (InputError, ResourceError) as error:
        raise type(error)(f"{path.name}: {error}") from error
    workflow.write_result(result, output, name)
    model = {key: str(value) for key, value in mapping(result.provenance, "model").items()}
    doubt = None
    if result.likely is not None:
        doubt = Doubt(result.labels.geometry, result.likely)
    return result.labels, Origin(True, False, model, result.provenance, result.warnings), doubt


def _read_labels(
    path: Path, volume: CTVolume, given: Path, request: ReportRequest
) -> Steps[tuple[LabelMap, Origin, Doubt | None]]:
    from napari_covseg.io import ScanGrid, read_labels
    from napari_covseg.workflows.evaluate import label_files

    file = given
    if given.is_dir():
        found = label_files(given).get(volume.case, [])
        if len(found) != 1:
            what = "no label file" if not found else f"{len(found)} label files"
            raise InputError(
                f"{path.name}: {what} of this case in {given.name}; expected one, such as "
                f"{volume.case}_labels.nii.gz"
            )
        file = found[0]
    yield Progress(0, 1, f"reading {file.name}")
    onto = ScanGrid(volume.geometry, path, request.series)
    labels = read_labels(file, label_map=request.label_map, onto=onto)
    doubt = read_doubt(file, labels.case, labels)
    return labels, origin_of(file, labels.case, labels), doubt


def _identity(path: Path, request: ReportRequest) -> Identity:
    from napari_covseg.io import is_dicom
    from napari_covseg.io.dicom_patient import dicom_identity

    if not is_dicom(path):
        raise InputError(
            f"{path.name}: this is not DICOM, so it does not say whose it is; leave out "
            "--with-identifiers"
        )
    return dicom_identity(path, request.series)


def _provenance(case: CaseFiles, result: Quantification) -> Provenance:
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


def _warnings(case: CaseFiles, result: Quantification, provenance: Provenance) -> tuple[str, ...]:
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


def _drawn(content: FindingsContent, formats: Sequence[str]) -> Steps[dict[str, bytes]]:
    from napari_covseg.reports.findings_document import findings_document
    from napari_covseg.reports.findings_figures import findings_figures

    pictures: dict[str, Picture] = yield from findings_figures(content)
    document = findings_document(content, pictures)
    made = {}
    if "html" in formats:
        from napari_covseg.reports.document_html import document_html

        made["html"] = document_html(document).encode(errors="replace")
    if "pdf" in formats:
        from napari_covseg.reports.document_pdf import document_pdf

        yield Progress(3, 4, "laying out pages")
        made["pdf"] = document_pdf(document)
    return made


def _json(content: FindingsContent, name: str) -> bytes:
    import json

    found = {**content.to_json(), "case": name, "choices": choices()}
    text = json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode(errors="replace")
