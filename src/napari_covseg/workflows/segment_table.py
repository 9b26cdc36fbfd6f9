"""One row a case over many CTs: volumes, percentages and how they came about, as CSV or Parquet.

Rows hold case names (a file's own name, of DICOM a pseudonym), never paths or the texts of errors,
which may name people.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from napari_covseg.domain.errors import UsageError
from napari_covseg.io.atomic import atomic_file
from napari_covseg.io.csv_cells import csv_cell
from napari_covseg.quantify.volumes import SideMeasurements
from napari_covseg.workflows.origin import mapping

SUFFIXES = (".csv", ".parquet")
SIDES = ("both", "right", "left")
FIGURES = tuple(one.name for one in fields(SideMeasurements))
TEXT, WHOLE, NUMBER = "text", "whole", "number"
COLUMNS: Mapping[str, str] = {
    "case": TEXT,
    "status": TEXT,
    "exit_code": WHOLE,
    **{f"{side}_{figure}": NUMBER for side in SIDES for figure in FIGURES},
    "voxel_ml": NUMBER,
    "slice_with_most_lesion": WHOLE,
    "slices": WHOLE,
    "spacing_z_mm": NUMBER,
    "spacing_y_mm": NUMBER,
    "spacing_x_mm": NUMBER,
    "warnings": TEXT,
    "model": TEXT,
    "model_version": TEXT,
    "model_sha256": TEXT,
    "software_version": TEXT,
    "device": TEXT,
    "input_sha256": TEXT,
}
"""Names and kinds of the columns. A case that failed has its name, where that is known, status
``failed`` and the exit code of its error; the rest is empty.
"""


def check_table(path: Path) -> None:
    """See that a table of that name can be written, before hours are spent.

    Raises
    ------
    UsageError
        If the name ends otherwise than `SUFFIXES`, its folder does not exist, or Parquet needs what
        is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"--table {path.name}: expected a name in .csv or .parquet")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--table {path.name}: its folder does not exist; make it first")
    if suffix == ".parquet":
        _pyarrow()


def done_row(report: Mapping[str, Any], before: bool) -> dict[str, Any]:
    """The row of a case from what its JSON says."""
    measured, provenance = mapping(report, "measurements"), mapping(report, "provenance")
    model, scan = mapping(provenance, "model"), mapping(provenance, "input")
    row: dict[str, Any] = {
        "case": report["case"],
        "status": "done before" if before else "segmented",
        "exit_code": 0,
    }
    for side in SIDES:
        of_side = mapping(measured, side)
        row |= {f"{side}_{figure}": of_side.get(figure) for figure in FIGURES}
    spacing = scan.get("spacing_zyx_mm") or (None, None, None)
    return row | {
        "voxel_ml": measured.get("voxel_ml"),
        "slice_with_most_lesion": measured.get("slice_with_most_lesion"),
        "slices": (scan.get("shape_zyx") or (None,))[0],
        **{f"spacing_{axis}_mm": mm for axis, mm in zip("zyx", spacing, strict=True)},
        "warnings": " ".join(report.get("warnings", ())),
        "model": model.get("name"),
        "model_version": model.get("version"),
        "model_sha256": model.get("sha256"),
        "software_version": provenance.get("software_version"),
        "device": mapping(provenance, "device").get("title"),
        "input_sha256": scan.get("sha256"),
    }


def failed_row(case: str | None, exit_code: int) -> dict[str, Any]:
    """The row of a case that could not be segmented."""
    return {"case": case, "status": "failed", "exit_code": exit_code}


def write_table(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Write the rows under `COLUMNS`, whole or not at all; the format follows the name.

    Raises
    ------
    UsageError
        As `check_table`.
    ResourceError, InputError
        If it cannot be written.
    """
    check_table(path)
    content = _parquet(rows) if path.suffix.lower() == ".parquet" else _csv(rows)
    with atomic_file(path) as file:
        file.write(content)
    return path


def _csv(rows: Iterable[Mapping[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([csv_cell(row.get(name)) for name in COLUMNS])
    return text.getvalue().encode(errors="replace")


def _parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    arrow, parquet = _pyarrow()
    kinds = {TEXT: arrow.string(), WHOLE: arrow.int64(), NUMBER: arrow.float64()}
    schema = arrow.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
    table = arrow.Table.from_pylist([dict(row) for row in rows], schema=schema)
    sink = arrow.BufferOutputStream()
    parquet.write_table(table, sink)
    return bytes(sink.getvalue().to_pybytes())


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError(
            "a table in .parquet needs pyarrow: pip install 'napari-covseg[parquet]', "
            "or choose a name in .csv"
        ) from error
    return pyarrow, parquet
