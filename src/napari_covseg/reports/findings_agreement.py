"""How a reader's own severity scores agree with the measured ones, in one case and over cases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from napari_covseg.metrics.agreement import cohens_kappa, score_agreement
from napari_covseg.quantify.severity import Score
from napari_covseg.reports.document import Block, Heading, Paragraph, Table
from napari_covseg.reports.findings_content import READER_LOBES, FindingsContent, ReaderScore
from napari_covseg.reports.wording import NONE, lobe_name, points, points_between


def agreement(content: FindingsContent) -> Iterator[Block]:
    """The section of the report; nothing where the reader gave no score."""
    if not content.reading.scores:
        return
    yield Heading("Reader and measurement")
    yield Table(
        ("Score", "Reader", "Measured", "Interval", "Difference"),
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
            yield _lobes(reader, score)
    yield Paragraph("Difference: reader minus measurement, in points.", "note")


def agreement_over_cases(contents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Kappa of reader and measurement over cases, for each score that two or more cases have.

    Parameters
    ----------
    contents
        For each case ``case``, ``measured`` and ``reader``: score name to points.
    """
    found: dict[str, Any] = {}
    one: dict[str, dict[str, int]] = {}
    other: dict[str, dict[str, int]] = {}
    for content in contents:
        for key, value in content["reader"].items():
            measured = content["measured"].get(key)
            if measured is not None:
                one.setdefault(key, {})[content["case"]] = value
                other.setdefault(key, {})[content["case"]] = measured
    for key, readers in one.items():
        if len(readers) > 1:
            kappas = score_agreement(readers, other[key])
            found[key] = {
                "cases": len(readers),
                **{
                    name: None
                    if kappa is None
                    else {"value": kappa.value, "interval_95": list(kappa.interval_95)}
                    for name, kappa in kappas.items()
                },
            }
    return found


def _pairs(content: FindingsContent) -> Iterator[tuple[ReaderScore, Score]]:
    for reader in content.reading.scores:
        yield reader, content.result.scores[reader.key]


def _lobes(reader: ReaderScore, score: Score) -> Table:
    measured = [score.parts.get(lobe) for lobe in READER_LOBES]
    rows = [
        (lobe_name(lobe), str(mine), NONE if theirs is None else str(theirs))
        for lobe, mine, theirs in zip(READER_LOBES, reader.parts, measured, strict=True)
    ]
    known = [value for value in measured if value is not None]
    if len(known) == len(reader.parts):
        kappa = cohens_kappa(reader.parts, known, "linear")
        text = NONE if kappa is None else f"{kappa.value:.2f}"
        rows.append(("Kappa over the lobes, linear weights", text, ""))
    return Table((score.title, "Reader", "Measured"), tuple(rows))
