"""``covseg evaluate``: predicted label maps against references."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.output import complain, one_line, print_json, progress_bars
from napari_covseg.domain.errors import CovsegError

if TYPE_CHECKING:
    from napari_covseg.workflows.evaluate import Evaluation

_SHOWN = 5


def add_parser(subparsers: Any) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "evaluate",
        help="compare label maps with references: Dice, volumes, by case and over patients",
        description="Match label files by case name and write the figures of each class.",
    )
    parser.add_argument("--predictions", required=True, metavar="DIR", help="predicted label maps")
    parser.add_argument("--references", required=True, metavar="DIR", help="reference label maps")
    parser.add_argument("--output", required=True, metavar="FILE.json", help="where figures go")
    parser.add_argument(
        "--label-map",
        metavar="NAME=ID[+ID],...",
        help="what the references' numbers mean, such as lung=1,infection=2+3; without it "
        "dataset.json says so, or they are ours",
    )
    parser.add_argument(
        "--prediction-label-map",
        metavar="NAME=ID[+ID],...",
        help="the same for the predictions",
    )
    parser.add_argument(
        "--patients",
        metavar="FILE.csv",
        help="columns case and patient: cases of one patient are averaged first",
    )
    parser.add_argument(
        "--no-lung-reference",
        action="store_true",
        help="the references mark lesions only: give the lungs no figures",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON only")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate, write and print; the exit code is the worst of the cases'."""
    from napari_covseg.domain.progress import run_to_end
    from napari_covseg.io import parse_label_map
    from napari_covseg.workflows.evaluate import EvaluateSettings, evaluate, write_evaluation

    settings = EvaluateSettings(
        label_map=parse_label_map(args.label_map) if args.label_map else None,
        prediction_label_map=(
            parse_label_map(args.prediction_label_map) if args.prediction_label_map else None
        ),
        patients=Path(args.patients) if args.patients else None,
        lung_reference=not args.no_lung_reference,
    )
    with progress_bars() as start:
        steps = evaluate(Path(args.predictions), Path(args.references), settings)
        result = run_to_end(steps, start("evaluate"))
    for case, error in result.errors.items():
        complain(f"covseg: {_with_case(case, error)}")
    try:
        written = write_evaluation(result, Path(args.output))
    finally:
        if args.json:
            print_json(result.to_json())
        else:
            print(summary_table(result))
    if not args.json:
        _print_left_out(result)
        print(written)
    return result.exit_code


def summary_table(result: Evaluation) -> str:
    """A row for each class: mean over patients, spread, and how many had a value."""
    head = ["Class", "Dice", "std", "95 %", "pooled", "Sens.", "Prec.", "ml off", "patients"]
    rows = [head]
    for name, figures in result.summary().items():
        dice = figures["dice"]
        rows.append(
            [
                name.replace("_", " "),
                _number(dice["mean"]),
                _number(dice["std"]),
                _interval(*dice["interval_95"]),
                _number(figures["pooled_dice"]),
                _number(figures["sensitivity"]["mean"]),
                _number(figures["precision"]["mean"]),
                _number(figures["volume_error_ml"]["mean"], 1),
                str(dice["patients"]),
            ]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def _number(value: float, digits: int = 3) -> str:
    # Adding zero turns -0.0 into 0.0.
    return "-" if math.isnan(value) else f"{round(value, digits) + 0.0:.{digits}f}"


def _interval(low: float, high: float) -> str:
    return "-" if math.isnan(low) else f"{_number(low)} to {_number(high)}"


def _with_case(case: str, error: CovsegError) -> str:
    line = one_line(error)
    return line if line.startswith(case) else f"{case}: {line}"


def _print_left_out(result: Evaluation) -> None:
    for score in result.scores:
        for warning in score.warnings:
            print(f"warning: {score.case}: {warning}")
    for cases, what in (
        (result.without_prediction, "prediction"),
        (result.without_reference, "reference"),
    ):
        if cases:
            listed = ", ".join(cases[:_SHOWN]) + (", ..." if len(cases) > _SHOWN else "")
            count = "1 case has" if len(cases) == 1 else f"{len(cases)} cases have"
            print(f"left out, {count} no {what}: {listed}")
