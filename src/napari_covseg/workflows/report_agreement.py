"""Readers' severity scores of many cases, from a CSV, and how they agree with the measured ones."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.domain.errors import InputError, UsageError
from napari_covseg.reports.findings_content import SCORES, ReaderScore

if TYPE_CHECKING:
    from napari_covseg.metrics.agreement import BlandAltman, Coefficient

FILE = "agreement.json"


@dataclass(frozen=True, slots=True)
class ScoreAgreement:
    """One score, reader against measurement, over the cases that have both.

    ``difference`` is reader minus measurement; None where there are too few cases, or all values
    are the same.
    """

    cases: int
    equal: int
    kappa_quadratic: Coefficient | None
    icc_agreement: Coefficient | None
    difference: BlandAltman | None


def read_scores(path: Path) -> dict[str, tuple[ReaderScore, ...]]:
    """Scores by case, of a CSV with the column ``case`` and some of the scores' short names.

    Empty cells are scores that were not given; ``1+0+3+1+2`` gives the points of the lobes.

    Raises
    ------
    InputError
        If the file cannot be read, or a row says something else.
    """
    from napari_covseg.io.sniff import readable

    with readable(path), path.open(newline="", encoding="utf-8-sig") as file:
        try:
            rows = list(csv.DictReader(file))
        except (UnicodeDecodeError, csv.Error):
            raise InputError(f"{path.name}: expected a CSV in UTF-8") from None
    keys = {short: key for key, (short, _, _) in SCORES.items()}
    columns = [name for name in (rows[0] if rows else {}) if name in keys]
    if not rows or "case" not in rows[0] or not columns:
        raise InputError(
            f"{path.name}: expected a column case, some of {', '.join(keys)}, and a row for each "
            "case"
        )
    found: dict[str, tuple[ReaderScore, ...]] = {}
    for row in rows:
        case = (row["case"] or "").strip()
        if case in found:
            raise InputError(f"{path.name}: the case {case} has two rows")
        given = ((name, (row[name] or "").strip()) for name in columns)
        try:
            found[case] = tuple(reader_score(keys[name], text) for name, text in given if text)
        except UsageError as error:
            raise InputError(f"{path.name}: {case}: {error}") from None
    return found


def reader_score(key: str, text: str) -> ReaderScore:
    """``9``, or the points of its parts as ``1+0+3+1+2``.

    Raises
    ------
    UsageError
        If it is neither, or not within its range.
    """
    parts = [part.strip() for part in text.split("+")]
    if not all(part.isdecimal() for part in parts):
        raise UsageError(f"{text}: expected a number, or points such as 1+0+3+1+2")
    points = tuple(int(part) for part in parts)
    return ReaderScore(key, sum(points), points if len(points) > 1 else ())


def agreement(rows: Iterable[Mapping[str, Any]]) -> dict[str, ScoreAgreement]:
    """By score, of the rows of ``cases.csv`` (`report_cases.case_row`); without scores none."""
    from napari_covseg.metrics.agreement import bland_altman, cohens_kappa, icc_agreement

    rows = list(rows)
    found: dict[str, ScoreAgreement] = {}
    for key in SCORES:
        pairs = [(row.get(f"reader_{key}"), row.get(key)) for row in rows]
        both = [(int(a), int(b)) for a, b in pairs if a is not None and b is not None]
        if not both:
            continue
        reader, measured = (list(values) for values in zip(*both, strict=True))
        found[key] = ScoreAgreement(
            cases=len(both),
            equal=sum(a == b for a, b in both),
            kappa_quadratic=cohens_kappa(reader, measured, "quadratic"),
            icc_agreement=icc_agreement(both),
            difference=bland_altman(measured, reader),
        )
    return found


def write_agreement(found: Mapping[str, ScoreAgreement], folder: Path) -> Path:
    """Write ``agreement.json``, whole or not at all.

    Raises
    ------
    ResourceError, InputError
        If it cannot be written.
    """
    from napari_covseg.io.atomic import write_json

    return write_json(folder / FILE, {key: asdict(one) for key, one in found.items()})
