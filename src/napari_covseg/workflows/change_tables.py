"""What changed between two scans, as JSON and as rows of CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from napari_covseg import __version__
from napari_covseg.domain.change import ChangeLabel
from napari_covseg.io.csv_cells import csv_cell
from napari_covseg.workflows.segment import RESEARCH_USE

if TYPE_CHECKING:
    from napari_covseg.quantify.change import Change

COLUMNS = ("case", "prior", "group", "name", "figure", "value", "unit", "fit", "note")
"""``fit`` is the verdict on the registration, in every row that rests on it."""


def to_json(change: Change) -> dict[str, Any]:
    """All of it with what the figures rest on; plain values, no NaN, no patient data."""
    from napari_covseg.quantify import lesion_changes, working_scan
    from napari_covseg.quantify import registration_quality as fit

    return {
        "version": __version__,
        **change.to_dict(),
        "map_labels": {label.name.lower(): int(label) for label in ChangeLabel},
        "choices": {
            "working_grid_mm": working_scan.WORKING_MM,
            "good_from": {"lung_dice": fit.GOOD_DICE, "surface_mm": fit.GOOD_MM},
            "fair_from": {"lung_dice": fit.FAIR_DICE, "surface_mm": fit.FAIR_MM},
            "matched_from_overlap": lesion_changes.OVERLAP_SHARE,
            "matched_within_mm": lesion_changes.NEAR_MM,
            "grown_from_percent": lesion_changes.GROWN_PERCENT,
        },
        "notice": RESEARCH_USE,
    }


def to_csv(change: Change) -> str:
    """One row for each figure, with the columns `COLUMNS`; empty where there is none."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    both = {"case": change.case, "prior": change.prior_case}
    for row in _rows(change):
        cells = {**both, **dict.fromkeys(COLUMNS[2:], ""), **row}
        writer.writerow({key: csv_cell(value) for key, value in cells.items()})
    return text.getvalue()


def _rows(change: Change) -> Iterator[dict[str, Any]]:
    fit = change.registration
    rests = {"fit": fit.verdict}
    pair = {"group": "pair", "name": "scans"}
    yield {**pair, "figure": "interval", "value": change.interval_days, "unit": "days"}
    yield {**pair, **rests, "figure": "lung_dice", "value": fit.lung_dice}
    yield {**pair, **rests, "figure": "surface", "value": fit.surface_mm, "unit": "mm"}
    yield from _scan_rows(change)
    for row in (*_region_rows(change), *_lesion_rows(change)):
        yield {**row, **rests}


def _scan_rows(change: Change) -> Iterator[dict[str, Any]]:
    """Each scan by itself, whatever the registration."""
    for when, measured in (("current", change.current), ("prior", change.prior)):
        for side, one in measured.to_dict().items():
            for figure, value in one.items() if isinstance(one, dict) else ():
                name, _, unit = figure.rpartition("_")
                if unit in ("ml", "percent"):
                    place = {"group": f"{when}_scan", "name": side, "figure": name}
                    yield {**place, "value": value, "unit": unit.replace("percent", "%")}


def _region_rows(change: Change) -> Iterator[dict[str, Any]]:
    for group, parts in (("part", change.parts), (f"lobe_{change.lobes_from}", change.lobes)):
        for name, one in parts.items():
            place = {"group": group, "name": name}
            yield {**place, "figure": "lung", "value": one.lung_ml, "unit": "ml"}
            for kind in ("ggo", "consolidation", "lesions"):
                for figure, value in asdict(getattr(one, kind)).items():
                    unit = {"ml": "ml", "points": "points"}.get(figure.rsplit("_", 1)[1], "%")
                    yield {**place, "figure": f"{kind}_{figure}", "value": value, "unit": unit}
            for state, amount in one.states.items():
                yield {**place, "figure": state, "value": amount.ml, "unit": "ml"}
                yield {**place, "figure": state, "value": amount.percent, "unit": "%"}


def _lesion_rows(change: Change) -> Iterator[dict[str, Any]]:
    for number, lesion in enumerate(change.lesions.listed, start=1):
        note = f"{lesion.kind} {lesion.trend}".strip()
        place = {"group": "lesion", "name": str(number), "note": note}
        for figure, unit in (
            *(("prior_ml", "ml"), ("current_ml", "ml"), ("change_ml", "ml")),
            ("change_percent", "%"),
        ):
            yield {**place, "figure": figure, "value": getattr(lesion, figure), "unit": unit}
