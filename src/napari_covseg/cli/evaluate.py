"""``covseg evaluate``: predicted label maps against references."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.output import complain, print_json, progress_bars
from napari_covseg.cli.reading import LABEL_MAP, label_map_of
from napari_covseg.cli.scoring import (
    add_options,
    aligned,
    figure_names,
    interval,
    left_out,
    number,
    settings_of,
    with_case,
)

if TYPE_CHECKING:
    from napari_covseg.workflows.scores import Evaluation


def add_parser(subparsers: Any) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "evaluate",
        help="compare label maps with references: overlap, surfaces and volumes, over patients",
        description="Match label files by case name and write the figures of each class.",
    )
    parser.add_argument("--predictions", required=True, metavar="DIR", help="predicted label maps")
    parser.add_argument("--references", required=True, metavar="DIR", help="reference label maps")
    parser.add_argument("--output", required=True, metavar="FILE.json", help="where figures go")
    parser.add_argument(
        "--prediction-label-map", metavar=LABEL_MAP, help="as --label-map, for the predictions"
    )
    add_options(parser)
    parser.add_argument(
        "--figures",
        metavar="NAME,...|all",
        help="show these figures' means, spread and intervals too, such as iou,specificity",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON only")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate, write and print; the exit code is the worst of the cases'."""
    from napari_covseg.domain.progress import run_to_end
    from napari_covseg.workflows.evaluate import evaluate, write_evaluation
    from napari_covseg.workflows.scores import FIGURES

    names = figure_names(args.figures, FIGURES) if args.figures else ()
    settings = replace(
        settings_of(args), prediction_label_map=label_map_of(args.prediction_label_map)
    )
    with progress_bars() as start:
        steps = evaluate(Path(args.predictions), Path(args.references), settings)
        result = run_to_end(steps, start("evaluate"))
    for case, error in result.errors.items():
        complain(f"covseg: {with_case(case, error)}")
    try:
        written = write_evaluation(result, Path(args.output))
    finally:
        if args.json:
            print_json(result.to_json())
        else:
            print(summary_table(result))
            if names:
                print(f"\n{figures_table(result, names)}")
    if not args.json:
        _print_left_out(result)
        print(written)
    return result.exit_code


def summary_table(result: Evaluation) -> str:
    """A row for each class: means over patients, the Dice's spread, how many had a value."""
    surface = result.surface_tolerance_mm is not None
    rows = [
        [
            *("Class", "Dice", "std", "95 %", "pooled", "Sens.", "Prec."),
            *(("HD95 mm", "NSD") if surface else ()),
            *("ml off", "patients"),
        ]
    ]
    for name, figures in result.summary().items():
        dice = figures["dice"]
        means = ["sensitivity", "precision", *(("hd95_mm", "surface_dice") if surface else ())]
        rows.append(
            [
                name.replace("_", " "),
                number(dice["mean"]),
                number(dice["std"]),
                interval(dice["interval_95"]),
                number(figures["pooled_dice"]),
                *(number(figures[figure]["mean"], figure) for figure in means),
                number(figures["volume_error_ml"]["mean"], "volume_error_ml"),
                str(dice["patients"]),
            ]
        )
    return aligned(rows)


def figures_table(result: Evaluation, names: Sequence[str]) -> str:
    """A row for each class and figure that has a value."""
    rows = [["Class", "Figure", "Mean", "std", "95 %", "patients", "cases"]]
    for one, figures in result.summary().items():
        for name in names:
            over = figures[name]
            if over["patients"]:
                rows.append(
                    [
                        *(one.replace("_", " "), name),
                        *(number(over[key], name) for key in ("mean", "std")),
                        interval(over["interval_95"], name),
                        *(str(over[key]) for key in ("patients", "cases")),
                    ]
                )
    return aligned(rows, left=2)


def _print_left_out(result: Evaluation) -> None:
    for score in result.scores:
        for warning in score.warnings:
            print(f"warning: {score.case}: {warning}")
    for name, figures in result.summary().items():
        if cases := figures["cases_infinite_distance"]:
            print(
                f"{name.replace('_', ' ')}: no HD95 where only one map holds the class "
                f"({cases} of {figures['dice']['cases']} cases)"
            )
    for cases, what in (
        (result.without_prediction, "prediction"),
        (result.without_reference, "reference"),
    ):
        if cases:
            print(left_out(cases, what))
