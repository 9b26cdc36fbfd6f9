"""The report of what stands in the viewer: what it is made of, and what its reader wrote. No Qt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.plugin.doubting import doubt_of, file_of
from napari_covseg.plugin.layers import join, volume_of

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_covseg.cases.records import LabelVersion
    from napari_covseg.domain.lobes import LobeMap
    from napari_covseg.plugin.classifying import Classified
    from napari_covseg.plugin.desk import Desk
    from napari_covseg.plugin.quantifying import LabelWatch
    from napari_covseg.plugin.session import Session
    from napari_covseg.reports.findings_content import FindingsContent, ReaderScore, Reading
    from napari_covseg.workflows.origin import Origin

Points = Mapping[str, Mapping[str, int]]
"""A reader's points: score to lobe or region to points."""


@dataclass(frozen=True)
class Preview:
    """Page one in short: the key pictures (JPEG) and the findings as text."""

    picture: bytes
    text: str


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured, of which labels after how many edits, and with which lobes."""

    watch: LabelWatch
    version: int
    lobes: LobeMap | None
    content: FindingsContent

    @classmethod
    def at(cls, watch: LabelWatch, lobes: LobeMap | None) -> Callable[[FindingsContent], Measured]:
        """Makes it of what is measured of the labels as they are now."""
        return partial(cls, watch, watch.version, lobes)

    def fits(self, watch: LabelWatch, lobes: LobeMap | None) -> bool:
        """Whether labels and lobes are still the same."""
        same = self.watch is watch and self.version == watch.version
        return same and self.lobes is lobes


def kept_steps(content: FindingsContent) -> Steps[FindingsContent]:
    """What is there already."""
    yield Progress(1, 1, "measured")
    return content


def acted_steps(
    measuring: Steps[FindingsContent],
    reading: Reading,
    signed_labels: str,
    classified: Classified | None,
    act: Callable[[FindingsContent], Steps[Any]],
) -> Steps[tuple[FindingsContent, Any]]:
    """Measure, and do something with the report of what was measured.

    A sign-off of other labels than those (``signed_labels``, their hash) is left out, and so is
    what a classifier said unless it is given.
    """
    said = None
    if classified is not None:
        from napari_covseg.workflows.report_classification import answer_of

        said = answer_of(classified.result, classified.card)
    content = replace((yield from measuring), reading=reading, classification=said)
    if reading.signed and content.provenance.labels_sha256 != signed_labels:
        content = replace(content, reading=replace(reading, reader="", signed=""))
    return content, (yield from act(content))


def content_steps(
    session: Session, desk: Desk, ct: Image, reading: Reading
) -> Steps[FindingsContent]:
    """Measure what the layers hold at the call; the rest runs in a worker's thread.

    Raises
    ------
    InputError
        If the CT has no place in the patient, or a layer holds something that is no label.
    """
    volume = volume_of(ct)
    lungs, lesions = session.labels_of(ct)
    layers = [
        (np.array(layer.data), {"name": layer.name, "metadata": dict(layer.metadata)})
        for layer in (lungs, lesions)
        if layer is not None
    ]
    lobes, in_doubt = session.lobes.get(ct), doubt_of(session, desk, ct)
    drawn = any(
        getattr(layer, "_undo_history", ()) for layer in (lungs, lesions) if layer is not None
    )
    known = _known_origin(session, desk, ct, drawn)
    file = file_of(lungs) or file_of(lesions)

    def steps() -> Steps[FindingsContent]:
        from napari_covseg.workflows.origin import Origin, origin_of
        from napari_covseg.workflows.report import report_content
        from napari_covseg.workflows.report_origin import CaseFiles

        yield Progress(0, 1, "reading the labels")
        labels = join(layers)
        origin = known
        if origin is None and file is not None:
            from napari_covseg.io.labels import label_case_name

            origin = origin_of(file, label_case_name(file), labels)
        doubt = in_doubt(labels)
        labels = replace(labels, case=volume.case)
        case = CaseFiles(labels, volume, origin or Origin(), lobes, doubt=doubt)
        return (yield from report_content(case, reading))

    return steps()


def preview_steps(content: FindingsContent) -> Steps[Preview]:
    """Draw the key pictures."""
    from napari_covseg.reports.findings_pictures import key_pictures
    from napari_covseg.reports.findings_text import findings_text

    yield Progress(0, 1, "drawing the key pictures")
    return Preview(key_pictures(content.planes), findings_text(content))


def page_steps(content: FindingsContent, path: Path) -> Steps[Path]:
    """Write the page of HTML to look at.

    Raises
    ------
    ResourceError, InputError
        If it cannot be written.
    """
    from napari_covseg.io.atomic import atomic_file
    from napari_covseg.workflows.report import report_page

    text = yield from report_page(content)
    with atomic_file(path) as file:
        file.write(text.encode(errors="replace"))
    return path


def saved_steps(
    content: FindingsContent, folder: Path, formats: Sequence[str]
) -> Steps[tuple[Path, ...]]:
    """Write the report in each format, as ``covseg report`` does."""
    from napari_covseg.workflows.report import write_report
    from napari_covseg.workflows.segment import make_folder

    make_folder(folder)
    return (yield from write_report(content, folder, content.case or "case", formats))


def reader_scores(points: Points) -> tuple[ReaderScore, ...]:
    """The scores of which the reader gave points for every part."""
    from napari_covseg.reports.findings_content import SCORES, ReaderScore, score_parts

    found = []
    for key in SCORES:
        given = points.get(key, {})
        parts = score_parts(key)
        if all(name in given for name in parts):
            values = tuple(int(given[name]) for name in parts)
            found.append(ReaderScore(key, sum(values), values))
    return tuple(found)


def _known_origin(session: Session, desk: Desk, ct: Image, drawn: bool) -> Origin | None:
    """How the labels over a CT came about, as far as the viewer knows.

    ``drawn`` says that napari can undo something in their layers: not every stroke over a case of
    a store goes through Correct.
    """
    from napari_covseg.workflows.origin import Origin, mapping

    case = session.case_of(ct)
    if case is not None:
        result = case.shown.result
        model = {key: str(value) for key, value in mapping(result.provenance, "model").items()}
        edited = case.edited or bool(result.provenance.get("edited"))
        return Origin(True, edited, model, result.provenance, result.warnings)
    served = desk.served
    if served is None or served.ct is not ct or served.version is None:
        return None
    correction = desk.correction
    edited = correction is not None and correction.ct is ct and correction.version > 0
    return _stored_origin(served.version, edited or drawn)


def _stored_origin(version: LabelVersion, edited: bool) -> Origin | None:
    from napari_covseg.cases.records import Kind
    from napari_covseg.workflows.origin import Origin

    if version.model is None:
        return None
    changed = edited or version.kind != Kind.PREDICTION
    return Origin(True, changed, {"sha256": version.model})
