"""What `report` prints of a reader's scores of many cases against the measured ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.output import complain
from napari_covseg.cli.scoring import aligned, interval, left_out, number

if TYPE_CHECKING:
    from napari_covseg.workflows.report_agreement import ScoreAgreement


def tell_agreement(
    rows: Sequence[Mapping[str, Any]], known: Collection[str], folder: Path, *, quiet: bool
) -> Mapping[str, Any]:
    """Write and print how the reader's scores agree with the measured ones; for JSON.

    ``known`` are the cases that the reader scored.
    """
    from napari_covseg.workflows.report_agreement import agreement, write_agreement

    found = agreement(rows)
    missing = sorted(set(known) - {row["case"] for row in rows})
    if missing:
        complain(f"covseg: {left_out(missing, 'report')}")
    if found:
        path = write_agreement(found, folder)
        if not quiet:
            print(f"{path}\n{_agreement_table(found)}", flush=True)
    return {key: asdict(one) for key, one in found.items()}


def _agreement_table(found: Mapping[str, ScoreAgreement]) -> str:
    rows: list[Sequence[str]]
    rows = [("Score", "Cases", "Equal", "Kappa (quadratic)", "ICC(2,1)", "Reader minus measured")]
    for key, one in found.items():
        apart = "-"
        if one.difference is not None:
            limits = interval((one.difference.lower, one.difference.upper), sign=True)
            apart = f"{number(one.difference.bias, sign=True)} ({limits})"
        coefficients = (
            "-" if given is None else f"{number(given.value)} ({interval(given.interval_95)})"
            for given in (one.kappa_quadratic, one.icc_agreement)
        )
        rows.append((key, str(one.cases), str(one.equal), *coefficients, apart))
    return aligned(rows)
