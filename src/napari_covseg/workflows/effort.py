"""What correcting cost, as a table that other programs read."""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path
from typing import Any

from napari_covseg.cases.effort import CLASSES
from napari_covseg.cases.effort_records import CaseEffort, Effort
from napari_covseg.io.atomic import atomic_file
from napari_covseg.io.csv_cells import csv_cell

COLUMNS = (
    *("case", "patient", "accepted_utc", "accepted_by", "people", "model_sha256", "minutes"),
    *("reviewed_slices", "edited_voxels", "edited_ml"),
    *(f"dice_{name}" for name in CLASSES),
    "problem",
)


def write_effort_csv(effort: Effort, path: Path) -> Path:
    """A row for each accepted case; what is not known is empty.

    Raises
    ------
    InputError, ResourceError
        If the file cannot be written.
    """
    text = StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for one in effort.cases:
        writer.writerow({key: csv_cell(value) for key, value in _row(one).items()})
    with atomic_file(path) as file:
        file.write(text.getvalue().encode("utf-8"))
    return path


def _row(one: CaseEffort) -> dict[str, Any]:
    return {
        "case": one.case,
        "patient": one.patient,
        "accepted_utc": one.accepted.isoformat(timespec="seconds"),
        "accepted_by": one.by,
        "people": "; ".join(one.people),
        "model_sha256": one.model,
        "minutes": _rounded(one.minutes, 2),
        "reviewed_slices": one.slices,
        "edited_voxels": one.edited_voxels,
        "edited_ml": _rounded(one.edited_ml, 4),
        **{f"dice_{name}": _rounded(one.dice.get(name), 4) for name in CLASSES},
        "problem": one.problem,
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
