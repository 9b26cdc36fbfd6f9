"""A cross-validation as one HTML page: pictures inside it, nothing fetched, nothing to run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from napari_covseg.reports.crossval_content import (
    MEASURED,
    CrossvalContent,
    FoldReport,
    how_split,
    limits,
    what_measured,
)
from napari_covseg.reports.document import RESEARCH_USE
from napari_covseg.reports.page import listed, page, picture, table
from napari_covseg.reports.tables import COLUMNS, Row, class_table

_PICTURES = {
    "fitting_curves": (
        "Fitting curves",
        "Training loss and Dice on the validation cases after each epoch. Thin lines are folds; "
        "the thick line is their mean as far as every fold has a value (folds whose cases lack a "
        "class are left out), the band its 95 % interval over three folds or more (Student's t). "
        "This Dice is measured during training on prepared images and differs a little from the "
        "tables'.",
    ),
    "box_plots": (
        "Every case",
        "Dice of each case. Boxes hold the middle half of the cases, the line is the median, "
        "whiskers reach the farthest case within 1.5 box lengths (all cases, where there are fewer "
        "than five).",
    ),
    "slices": (
        "Reference beside prediction",
        "The best, the median and the worst case, each on the slice where the reference has most "
        "of the class. The patient's right is on the left; window -1350 to 150 HU.",
    ),
}
_STYLE = """
body{font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color:#1c1c1c;
 max-width:1360px;margin:0 auto;padding:24px}
h1{font-size:26px;margin:0 0 4px}
h2{font-size:19px;margin:34px 0 8px}
h3{font-size:15px;margin:0 0 4px}
.notice{border-left:4px solid #b00020;background:#fbecee;padding:8px 14px;margin:14px 0}
.failed{border-left:4px solid #b00020;padding:4px 14px;margin:14px 0}
.tables{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(640px,100%),1fr));
 gap:22px 34px}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:13px}
th,td{padding:2px 6px;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left;padding-left:0}
thead th{border-bottom:1.5px solid #333;vertical-align:bottom}
tr.start td{border-top:1px solid #999}
tr.main td{font-weight:600}
img{max-width:100%;height:auto;display:block}
.note{color:#555;font-size:13.5px;max-width:85ch}
p,li{max-width:95ch}details{margin:10px 0}summary{cursor:pointer}
"""


def report_html(content: CrossvalContent, pictures: Mapping[str, bytes]) -> str:
    """The page; ``pictures`` are PNG by name (``fitting_curves``, ``box_plots``, ``slices``)."""
    title = f"Cross-validation on {', '.join(content.datasets)}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(_subtitle(content))}</p>",
        f'<p class="notice">{escape(RESEARCH_USE)}</p>',
        *_failed(content),
        "<h2>In short</h2>",
        _key_figures(content),
        "<h2>How it was measured</h2>",
        *(f"<p>{escape(line)}</p>" for line in (how_split(content), what_measured(content))),
        "<h2>What these data cannot show</h2>",
        listed(limits(content)),
        "<h2>Results of each fold</h2>",
        f'<p class="note">{_TABLE_NOTE}</p>',
        '<div class="tables">',
        *(_class_section(content, name) for name in MEASURED if _has(content, name)),
        "</div>",
        *(_picture(name, pictures[name]) for name in _PICTURES if name in pictures),
        "<h2>Folds</h2>",
        _folds(content.folds),
        *_warnings(content),
        "<h2>Every measurement</h2>",
        f"<details><summary>Dice of each case</summary>{_cases(content)}</details>",
        "<h2>Settings of the training</h2>",
        f"<details><summary>Every setting</summary>{_settings(content.settings)}</details>",
        f'<p class="note">Made by napari-covseg {escape(content.version)}. The same figures stand '
        "in table.csv, cases.csv and crossval.json beside this page.</p>",
    ]
    return page(title, _STYLE, parts)


_TABLE_NOTE = (
    "Cases of a patient are averaged first, so each patient counts once; patients and cases are "
    "those that have a Dice. “Median” is the Dice’s over patients, “pooled” that of all voxels "
    "together. SD is the sample standard deviation. The interval is the percentile bootstrap over "
    "patients. Specificity counts all annotated voxels, most of which are far from any lung: it is "
    "near 1 whatever the network does."
)


def number(value: float) -> str:
    """Three decimals, four above 0.9995, so that nothing but 1 reads as 1; a dash for no value."""
    if not math.isfinite(value):
        return "–"
    return f"{min(value, 0.9999):.4f}" if 0.9995 <= value < 1 else f"{value:.3f}"


def _subtitle(content: CrossvalContent) -> str:
    settings = content.settings
    turned = ", turned round" if content.turned_round else ""
    return (
        f"{len(content.folds)} folds by patient{turned}; network {settings.get('network')}, "
        f"settings {settings.get('name')}; {content.patients} patients, {content.cases} cases "
        "measured."
    )


def _failed(content: CrossvalContent) -> list[str]:
    if not content.failed:
        return []
    lines = listed(f"Fold {fold.number}: {fold.error}" for fold in content.failed)
    return [
        f'<div class="failed"><p><b>{len(content.failed)} of {len(content.folds)} folds failed; '
        f"every figure below is of the others only.</b></p>{lines}</div>"
    ]


def _key_figures(content: CrossvalContent) -> str:
    head = (
        "Class",
        "Patients",
        "Cases",
        "Dice",
        "95 % interval",
        "SD",
        "Median",
        "Pooled",
        "Sensitivity",
        "Specificity",
    )
    rows = []
    for name, title in MEASURED.items():
        if not _has(content, name):
            continue
        found = {row.name: row for row in class_table(content, name)}
        mean, low = found["Mean of patients"], found["95 % interval, from"]
        high = found["95 % interval, to"]
        ends = [number(row.values["dice"]) for row in (low, high)]
        rows.append(
            [
                title,
                str(mean.patients),
                str(mean.cases),
                number(mean.values["dice"]),
                "–" if "–" in ends else " to ".join(ends),
                number(found["SD of patients"].values["dice"]),
                number(found["Median of patients"].values["dice"]),
                number(mean.values["pooled_dice"]),
                number(mean.values["sensitivity"]),
                number(mean.values["specificity"]),
            ]
        )
    return table(head, rows) + '<p class="note">Means over patients.</p>'


def _class_section(content: CrossvalContent, name: str) -> str:
    rows = class_table(content, name)
    # The interval stands in one row for a reader, in two for a program.
    shown = [row for row in rows if not row.name.startswith("95 %")]
    interval = [row for row in rows if row.name.startswith("95 %")]
    head = ("", "Patients", "Cases", *COLUMNS.values())
    cells: list[list[str]] = []
    classes: list[str] = []
    group = ""
    for row in shown:
        marks = ["start"] if group and row.group != group else []
        marks += ["main"] if row.name == "Mean of patients" else []
        group = row.group
        classes.append(" ".join(marks))
        cells.append(_cells(row))
        if row.name == "Mean of patients":
            cells.append(_interval_cells(*interval))
            classes.append("")
    return f"<div><h3>{escape(MEASURED[name])}</h3>{table(head, cells, classes)}</div>"


def _cells(row: Row) -> list[str]:
    return [
        row.name,
        str(row.patients),
        str(row.cases),
        *(number(row.values[column]) for column in COLUMNS),
    ]


def _interval_cells(low: Row, high: Row) -> list[str]:
    def both(column: str) -> str:
        ends = (number(low.values[column]), number(high.values[column]))
        return "–" if "–" in ends else "–".join(ends)

    return ["95 % interval", str(low.patients), str(low.cases), *(both(name) for name in COLUMNS)]


def _picture(name: str, png: bytes) -> str:
    title, note = _PICTURES[name]
    image = picture(png, title)
    return f'<h2>{escape(title)}</h2>{image}<p class="note">{escape(note)}</p>'


def _folds(folds: Sequence[FoldReport]) -> str:
    head = (
        "Fold",
        "Trained on: patients",
        "cases",
        "Measured: patients",
        "cases",
        "Epochs",
        "Ended by",
        "Minutes",
        "Device",
    )
    rows = [
        [
            str(fold.number),
            str(fold.train_patients),
            str(fold.train_cases),
            str(fold.patients),
            str(fold.cases),
            str(fold.epochs) if fold.epochs else "–",
            "error" if fold.error else fold.stopped,
            f"{fold.seconds / 60:.1f}" if math.isfinite(fold.seconds) else "–",
            fold.device or "–",
        ]
        for fold in folds
    ]
    return table(head, rows)


def _warnings(content: CrossvalContent) -> list[str]:
    if not content.warnings:
        return []
    return ["<h2>Warnings about the data</h2>", listed(content.warnings)]


def _cases(content: CrossvalContent) -> str:
    head = (
        "Case",
        "Data set",
        "Patient",
        "Fold",
        *(f"{t.split(' (')[0]}" for t in MEASURED.values()),
    )
    rows = [
        [
            one.case,
            one.dataset,
            str(one.patient),
            str(one.fold),
            *(number(one.value(name, "dice")) for name in MEASURED),
        ]
        for one in content.measured
    ]
    return table(head, rows)


def _settings(settings: Mapping[str, Any]) -> str:
    rows = [[name, str(value)] for name, value in settings.items()]
    return table(("Setting", "Value"), rows)


def _has(content: CrossvalContent, name: str) -> bool:
    return any(one.counts[name] is not None for one in content.measured)
