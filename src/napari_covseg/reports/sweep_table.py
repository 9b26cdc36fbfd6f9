"""The table of a sweep, as Table X of Singh & Krishna: settings and what came of them."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from napari_covseg.io.csv_cells import csv_cell
from napari_covseg.metrics.overlap import Counts
from napari_covseg.metrics.summary import PatientMean, mean_over_patients
from napari_covseg.reports.crossval_content import MEASURED
from napari_covseg.reports.document import RESEARCH_USE
from napari_covseg.reports.page import page, table

FIGURES: Mapping[str, str] = {
    "dice": "Dice",
    "iou": "IoU",
    "accuracy": "Pixel accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
}
"""What is measured, and how a person reads it."""
SHOWN = "infection"
_STYLE = """
body{font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color:#1c1c1c;
 max-width:1360px;margin:0 auto;padding:24px}
h1{font-size:26px;margin:0 0 4px}
.notice{border-left:4px solid #b00020;background:#fbecee;padding:8px 14px;margin:14px 0}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:13px}
th,td{padding:3px 8px;text-align:right;white-space:nowrap}
td.text,th.text{text-align:left}
thead th{border-bottom:1.5px solid #333;vertical-align:bottom}
tr.best td{font-weight:600;background:#eef4ea}
tr.open td{color:#777}
.note{color:#555;font-size:13.5px;max-width:95ch}
"""


@dataclass(frozen=True)
class SweepRow:
    """A training: its settings, and what was measured if it is finished.

    ``counts`` are by case and class (`MEASURED`); ``error`` says why the row failed.
    """

    number: int
    folder: str
    settings: Mapping[str, Any]
    parameters: int | None
    counts: Mapping[str, Mapping[str, Counts | None]] = field(default_factory=dict)
    epochs: int | None = None
    seconds: float = float("nan")
    stopped: str = ""
    device: str = ""
    error: str = ""

    @property
    def state(self) -> str:
        """``finished``, ``failed`` or ``open``."""
        if self.counts:
            return "finished"
        return "failed" if self.error else "open"


@dataclass(frozen=True)
class SweepContent:
    """All that the table says.

    Parameters
    ----------
    preset
        The name of the settings that were varied.
    split
        Shares that trained, validated and tested.
    tested
        How many cases.
    patients
        Whose each case is.
    rows
        In the order of the grid.
    """

    preset: str
    split: str
    tested: int
    patients: Mapping[str, str]
    rows: tuple[SweepRow, ...]

    @property
    def varied(self) -> tuple[str, ...]:
        """Settings in which rows differ; of arguments each one, ``FIELD.KEY``."""
        flat = [_flat(row.settings) for row in self.rows]
        names = dict.fromkeys(name for one in flat for name in one)
        return tuple(n for n in names if len({json.dumps(one.get(n)) for one in flat}) > 1)

    def mean(self, row: SweepRow, name: str, figure: str) -> PatientMean:
        """A figure of a class over the patients of a row."""
        values = {
            case: float(getattr(found, figure))
            for case, counts in row.counts.items()
            if (found := counts[name]) is not None
        }
        return mean_over_patients(values, self.patients)

    @property
    def best(self) -> SweepRow | None:
        """The finished row of the highest Dice for infection."""
        scores = [(self.mean(row, SHOWN, "dice").mean, row) for row in self.rows if row.counts]
        scores = [one for one in scores if math.isfinite(one[0])]
        return max(scores, key=lambda one: one[0])[1] if scores else None


def sweep_csv(content: SweepContent) -> str:
    """Every row and class, full precision; a row that is not finished has one line."""
    varied = content.varied
    figures = [f"{figure}_{part}" for figure in FIGURES for part in ("mean", "sd")]
    head = ["row", "folder", "state", *varied, "class", "patients", "cases", *figures]
    head += ["parameters", "epochs_done", "seconds", "stopped", "device", "error"]
    lines: list[list[object]] = []
    for row in content.rows:
        settings = _flat(row.settings)
        first = [row.number, row.folder, row.state, *(_plain(settings.get(n)) for n in varied)]
        last = [
            *(_cell(row.parameters), _cell(row.epochs), _cell(row.seconds)),
            *(row.stopped, row.device, row.error),
        ]
        for name in MEASURED if row.counts else ("",):
            if not name:
                lines.append([*first, "", "", "", *[""] * len(figures), *last])
                continue
            means = {figure: content.mean(row, name, figure) for figure in FIGURES}
            found = [_cell(v) for one in means.values() for v in (one.mean, one.std)]
            dice = means["dice"]
            lines.append([*first, name, dice.patients, dice.cases, *found, *last])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(map(csv_cell, line) for line in lines)
    return text.getvalue()


def sweep_markdown(content: SweepContent) -> str:
    """The table of infection; the best row in bold."""
    head, rows = shown_table(content)
    best = content.best
    lines = [_row(head), _row(["---"] * len(head))]
    for row, cells in zip(content.rows, rows, strict=True):
        bold = [f"**{cell}**" if cell else "" for cell in cells]
        lines.append(_row(bold if row is best else cells))
    return "\n".join([*lines, "", *said(content), ""])


def sweep_html(content: SweepContent) -> str:
    """The same as a page."""
    head, rows = shown_table(content)
    best = content.best
    marks = ["best" if r is best else "" if r.counts else "open" for r in content.rows]
    columns = ["" if n < len(head) - 1 else "text" for n in range(len(head))]
    title = f"Sweep of {content.preset}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="notice">{escape(RESEARCH_USE)}</p>',
        table(head, rows, marks, columns),
        *(f'<p class="note">{escape(line)}</p>' for line in said(content)),
    ]
    return page(title, _STYLE, parts)


def shown_table(content: SweepContent) -> tuple[list[str], list[list[str]]]:
    """Heads and rows as a person reads them: infection, mean and SD over patients."""
    varied = content.varied
    head = ["Row", *varied, *FIGURES.values(), "n", "Parameters", "Hours", ""]
    rows = []
    for row in content.rows:
        settings = _flat(row.settings)
        means = [content.mean(row, SHOWN, figure) for figure in FIGURES]
        figures = [_spread(one, name) for one, name in zip(means, FIGURES, strict=True)]
        rows.append(
            [
                *(str(row.number), *(_plain(settings.get(name)) for name in varied)),
                *(figures if row.counts else [""] * len(FIGURES)),
                str(means[0].patients) if row.counts else "",
                "" if row.parameters is None else f"{row.parameters:,}",
                f"{row.seconds / 3600:.2f}" if math.isfinite(row.seconds) else "",
                "" if row.counts else row.error or "not finished",
            ]
        )
    return head, rows


def said(content: SweepContent) -> list[str]:
    """How the table was measured, and what it cannot show."""
    return [
        f"Infection (GGO or consolidation), mean (SD) over the n patients of the test part that "
        f"have a Dice; cases of one patient are averaged first. Patients were divided "
        f"{content.split} to train, validate and test; {content.tested} cases test, by the network "
        "of the last epoch.",
        "Pixel accuracy and specificity count every labelled voxel, most of which are no lesion: "
        "both are near 1 whatever the network does.",
        "The best of many rows was chosen by the very patients it was measured on, so its figures "
        "flatter: train it again and measure it on others before quoting them.",
    ]


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with each argument as ``FIELD.KEY``."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}.{key}": inner for key, inner in value.items()})
        else:
            flat[name] = value
    return flat


def _plain(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _spread(one: PatientMean, figure: str) -> str:
    if not math.isfinite(one.mean):
        return "–"
    digits = 4 if figure in ("accuracy", "specificity") else 3
    sd = f" ({one.std:.{digits}f})" if math.isfinite(one.std) else ""
    return f"{one.mean:.{digits}f}{sd}"


def _cell(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return ""
    return str(value) if isinstance(value, int) else f"{value:.6f}"


def _row(cells: Sequence[str]) -> str:
    escaped = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
    return "| " + " | ".join(escaped) + " |"
