"""``covseg compare``: two models' label maps against the same references, paired."""

from __future__ import annotations

import argparse
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
    from napari_covseg.metrics.paired import PairedDifference
    from napari_covseg.workflows.compare import Comparison


def add_parser(subparsers: Any) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "compare",
        help="compare two models' label maps on the same references: is one better?",
        description="Evaluate two folders of label maps against the same references and write, for "
        "each class and figure, the difference over patients (second minus first), its interval "
        "and a Wilcoxon signed-rank test.",
    )
    parser.add_argument("--first", required=True, metavar="DIR", help="one model's label maps")
    parser.add_argument("--second", required=True, metavar="DIR", help="the other model's")
    parser.add_argument("--references", required=True, metavar="DIR", help="reference label maps")
    parser.add_argument("--output", required=True, metavar="FILE.json", help="where figures go")
    for which in ("first", "second"):
        parser.add_argument(
            f"--{which}-label-map",
            metavar=LABEL_MAP,
            help=f"as --label-map, for the {which} model",
        )
    add_options(parser)
    parser.add_argument(
        "--figures",
        default="dice",
        metavar="NAME,...|all",
        help="the figures to show, such as dice,surface_dice; all are written (default dice)",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON only")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Compare, write and print; the exit code is the worst of the cases'."""
    from napari_covseg.domain.progress import run_to_end
    from napari_covseg.workflows.compare import COMPARED, ComparedModel, compare, write_comparison

    names = figure_names(args.figures, COMPARED)
    first = ComparedModel(Path(args.first), label_map_of(args.first_label_map))
    second = ComparedModel(Path(args.second), label_map_of(args.second_label_map))
    with progress_bars() as start:
        steps = compare(first, second, Path(args.references), settings_of(args))
        result = run_to_end(steps, start("compare"))
    for which, model in zip(("first", "second"), (result.first, result.second), strict=True):
        for case, error in model.errors.items():
            complain(f"covseg: {which}: {with_case(case, error)}")
    try:
        written = write_comparison(result, Path(args.output))
    finally:
        if args.json:
            print_json(result.to_json())
        else:
            _show(result, names)
    if not args.json:
        print(written)
    return result.exit_code


def difference_table(result: Comparison, figure: str) -> str:
    """A row for each class, and below them in words what the numbers cannot say."""
    differences = {name: result.difference(name, figure) for name in result.first.summary()}
    rows = [
        [
            *("Class", "first", "second", "difference", "95 %", "p"),
            *("better", "worse", "same", "patients"),
        ],
        *(_row(name, one, figure) for name, one in differences.items()),
    ]
    notes: dict[str, list[str]] = {}
    for name, one in differences.items():
        for note in _notes(one):
            notes.setdefault(note, []).append(name.replace("_", " "))
    return "\n".join(
        [
            figure,
            aligned(rows),
            *(f"{', '.join(classes)}: {note}" for note, classes in notes.items()),
        ]
    )


def _row(name: str, one: PairedDifference, figure: str) -> list[str]:
    return [
        name.replace("_", " "),
        number(one.first, figure),
        number(one.second, figure),
        number(one.difference, figure, sign=True),
        interval(one.interval_95, figure, sign=True),
        "<0.001" if one.p < 0.001 else number(one.p),
        *(str(count) for count in (one.wins, one.losses, one.ties, one.patients)),
    ]


def _notes(one: PairedDifference) -> list[str]:
    notes = [one.note] if one.note else []
    if one.cases_unpaired:
        several = "1 case has" if one.cases_unpaired == 1 else f"{one.cases_unpaired} cases have"
        notes.append(f"{several} a value from one model only and left the comparison")
    return notes


def _show(result: Comparison, names: tuple[str, ...]) -> None:
    print(f"first: {result.names[0]}, second: {result.names[1]}; difference: second minus first")
    for figure in names:
        print(f"\n{difference_table(result, figure)}")
    print()
    for which, model in zip(("first", "second"), (result.first, result.second), strict=True):
        if model.without_prediction:
            print(left_out(model.without_prediction, f"prediction of the {which} model"))
