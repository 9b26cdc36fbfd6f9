"""The report of a case: from a CT and its labels, or from a file to files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_covseg.domain.errors import InputError, ResourceError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.reports.findings_content import FindingsContent, Reading
from napari_covseg.workflows.doubt import read_doubt
from napari_covseg.workflows.origin import Origin, mapping, origin_of
from napari_covseg.workflows.quantify import ASSUMED, choices, to_csv
from napari_covseg.workflows.report_origin import CaseFiles, provenance_of, warnings_of
from napari_covseg.workflows.report_request import ReportRequest
from napari_covseg.workflows.segment import make_folder

if TYPE_CHECKING:
    from napari_covseg.domain.identity import Identity
    from napari_covseg.quantify.doubt import Doubt
    from napari_covseg.reports.classification import ClassifierAnswer
    from napari_covseg.reports.document import Picture


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
    provenance = provenance_of(case, result)
    return FindingsContent(
        case=labels.case,
        result=result,
        provenance=provenance,
        planes=planes_of(labels, volume),
        warnings=warnings_of(case, result, provenance),
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
        said = () if content.classification is None else content.classification.to_rows()
        made["csv"] = to_csv(replace(content.result, case=name), said).encode(errors="replace")
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
        If CT, labels, lobes or a classification cannot be read, or are not of this case.
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
        # First, so that a CT is not segmented for hours before a wrong file is noticed.
        said = None if request.classification is None else _answer(request, name, volume)
        case = yield from _case(path, volume, name, output, request)
        identity = _identity(path, request) if request.with_identifiers else None
        content = yield from report_content(case, request.reading_of(name), identity)
        result = replace(content.result, case=name)
        content = replace(content, case=name, result=result, classification=said)
        paths = yield from write_report(content, output, name, request.formats)
    except MemoryError:
        raise ResourceError(f"{path.name}: not enough memory to report on it") from None
    return Reported(paths, content)


def _answer(request: ReportRequest, name: str, volume: CTVolume) -> ClassifierAnswer:
    from napari_covseg.workflows.report_classification import read_answer

    assert request.classification is not None
    return read_answer(request.classification, name, volume)


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
