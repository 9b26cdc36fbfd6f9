"""Many reports in one table: a row for each case, a failed one with its error."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from napari_covseg.reports.findings_content import SCORES, FindingsContent

_PARTS = ("both", "right", "left")
_AMOUNTS = ("ggo", "consolidation", "lesions", "high_opacity")
_CLASSIFIED = ("classified_as", "classified_probability", "classified_unsure", "classifier")
FILE = "cases.csv"


def columns() -> tuple[str, ...]:
    """The columns, in order."""
    found = ["case", "error", "made", "warnings", "second_opinion_fits"]
    for part in _PARTS:
        found.append(f"{part}_lung_ml")
        for amount in _AMOUNTS:
            found += [f"{part}_{amount}_ml", f"{part}_{amount}_percent"]
    found += ["lesion_count", "largest_lesion_ml", "mean_hu", "mass_g", "perc15_hu"]
    found += ["laa950_percent", "lobes"]
    for score in SCORES:
        found += [score, f"{score}_low", f"{score}_high", f"reader_{score}"]
    return (*found, "co_rads", "signed_by", "model", "model_sha256", "input_sha256", *_CLASSIFIED)


def case_row(content: FindingsContent) -> dict[str, Any]:
    """A case's row; what is not known is left out."""
    result, reading, provenance = content.result, content.reading, content.provenance
    row: dict[str, Any] = {
        "case": content.case,
        "made": provenance.made,
        "warnings": " | ".join(content.warnings),
        "lesion_count": result.lesions.count,
        "lobes": result.lobes_from,
        "co_rads": reading.co_rads,
        "signed_by": reading.reader if reading.signed else None,
        "model": f"{provenance.model_name} {provenance.model_version}".strip(),
        "model_sha256": provenance.model_sha256,
        "input_sha256": provenance.input_sha256,
    }
    if result.second_opinion is not None:
        row["second_opinion_fits"] = "no" if result.second_opinion.disagreements else "yes"
    for name in _PARTS:
        if name in result.parts:
            row |= _part(name, result.parts[name])
    if result.lesions.largest is not None:
        row["largest_lesion_ml"] = result.lesions.largest.ml
    if result.density is not None:
        both = result.density["both"]
        for figure in ("mean_hu", "mass_g", "perc15_hu", "laa950_percent"):
            row[figure] = getattr(both, figure)
    for key, score in result.scores.items():
        low, high = score.value_range or (None, None)
        row |= {key: score.value, f"{key}_low": low, f"{key}_high": high}
    for given in reading.scores:
        row[f"reader_{given.key}"] = given.value
    if content.classification is not None:
        said = content.classification
        unsure = "yes" if said.unsure else "no"
        row |= zip(_CLASSIFIED, (said.label, said.probability, unsure, said.model), strict=True)
    return row


def write_cases(rows: Iterable[Mapping[str, Any]], folder: Path) -> Path:
    """Write ``cases.csv``, whole or not at all.

    Raises
    ------
    ResourceError, InputError
        If it cannot be written.
    """
    from napari_covseg.io.atomic import atomic_file
    from napari_covseg.io.csv_cells import csv_cell

    text = io.StringIO()
    writer = csv.DictWriter(text, columns(), restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: "" if one is None else csv_cell(one) for key, one in row.items()})
    path = folder / FILE
    with atomic_file(path) as file:
        file.write(text.getvalue().encode(errors="replace"))
    return path


def _part(name: str, part: Any) -> dict[str, Any]:
    found = {f"{name}_lung_ml": part.lung_ml}
    for kind in _AMOUNTS:
        amount = getattr(part, kind)
        if amount is not None:
            found[f"{name}_{kind}_ml"] = amount.ml
            found[f"{name}_{kind}_percent"] = amount.percent
    return found
