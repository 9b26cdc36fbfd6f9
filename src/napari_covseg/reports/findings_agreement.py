"""How a reader's own severity scores agree with the measured ones."""

from __future__ import annotations

from collections.abc import Iterator

from napari_covseg.metrics.agreement import cohens_kappa
from napari_covseg.quantify.figures import LOBES
from napari_covseg.quantify.severity import Score
from napari_covseg.reports.document import Block, Heading, Paragraph, Table
from napari_covseg.reports.findings_content import FindingsContent, ReaderScore, score_parts
from napari_covseg.reports.wording import NONE, lobe_name, part_name, points, points_between


def agreement(content: FindingsContent) -> Iterator[Block]:
    """The section of the report; nothing where the reader gave no score."""
    if not content.reading.scores:
        return
    yield Heading("Reader and measurement")
    yield Table(
        ("Score", "Reader", "Measured", "Likely range", "Difference"),
        tuple(
            (
                score.title,
                str(reader.value),
                points(score),
                points_between(score) or NONE,
                NONE if score.value is None else f"{reader.value - score.value:+d}",
            )
            for reader, score in _pairs(content)
        ),
    )
    for reader, score in _pairs(content):
        if reader.parts and score.value is not None:
            yield from _parts(reader, score)
    yield Paragraph("Difference: reader minus measurement, in points.", "note")


def _pairs(content: FindingsContent) -> Iterator[tuple[ReaderScore, Score]]:
    for reader in content.reading.scores:
        yield reader, content.result.scores[reader.key]


def _parts(reader: ReaderScore, score: Score) -> Iterator[Block]:
    names = score_parts(reader.key)
    measured = [score.parts.get(name) for name in names]
    yield Table(
        (score.title, "Reader", "Measured"),
        tuple(
            (_title(name), str(mine), NONE if theirs is None else str(theirs))
            for name, mine, theirs in zip(names, reader.parts, measured, strict=True)
        ),
    )
    known = [value for value in measured if value is not None]
    kappa = cohens_kappa(reader.parts, known, "quadratic") if len(known) == len(names) else None
    if kappa is not None:
        yield Paragraph(
            f"Weighted kappa (quadratic) over the {len(names)} parts: {kappa.value:.2f}. Of one "
            "patient it is only a hint.",
            "note",
        )


def _title(part: str) -> str:
    return lobe_name(part) if part in LOBES else part_name(part)
