"""``covseg crossval``: folds by patient, trained, measured and put into one report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.long_work import run_stoppable
from napari_covseg.cli.output import complain, one_line, print_json
from napari_covseg.cli.reading import label_map_of, window_of
from napari_covseg.cli.scoring import aligned, interval, number
from napari_covseg.cli.train import read_fold
from napari_covseg.cli.training_options import (
    DATA,
    add_reading,
    add_settings,
    add_splits,
    preset_from,
    what_can_be_set,
)
from napari_covseg.domain.errors import UsageError

if TYPE_CHECKING:
    from napari_covseg.workflows.crossval import CrossvalResult
    from napari_covseg.workflows.crossval_request import CrossvalRequest


def add_parser(subparsers: Any) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "crossval",
        help="cross-validate a training by patient; tables, curves and pictures",
        description="Train and measure a network on folds by patient and write one report.\n"
        "The same command again goes on where it stopped.",
        epilog=what_can_be_set(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", metavar="DATA", help=DATA)
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="folder for the report and the folds"
    )
    parser.add_argument(
        "--folds",
        type=int,
        default=5,
        metavar="N",
        help="divide the patients into N parts, each of which measures once (default 5)",
    )
    parser.add_argument(
        "--fold",
        metavar="K/N",
        help="train and measure part K of N only: for jobs on several machines that share DIR; the "
        "same command without it then writes the report",
    )
    parser.add_argument(
        "--turned-round",
        action="store_true",
        help="train on each fold's small part and measure on the large one (with 5 folds 20 %% "
        "and 80 %%)",
    )
    parser.add_argument(
        "--postprocess",
        action="store_true",
        help="measure the whole pipeline's label maps, not the network's own output",
    )
    add_settings(parser, "train each fold for so long at most")
    add_splits(parser)
    add_reading(parser)
    parser.add_argument(
        "--device",
        default="auto",
        metavar="NAME[,NAME...]",
        help="auto (every CUDA card there is), cpu, cuda[:N] or mps; several train folds beside "
        "one another (default auto)",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON only")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Cross-validate, write and print; the exit code is the worst of the folds'."""
    preset = preset_from(args)
    devices = tuple(name.strip() for name in args.device.split(","))
    if len(devices) > 1 and "auto" in devices:
        raise UsageError(f"--device {args.device}: auto cannot be one of several")

    fold = read_fold(args.fold) if args.fold else None

    from napari_covseg.workflows.crossval import crossval
    from napari_covseg.workflows.crossval_report import json_content
    from napari_covseg.workflows.crossval_request import CrossvalRequest

    request = CrossvalRequest(
        data=Path(args.data),
        output=Path(args.output),
        preset=preset,
        folds=fold[1] if fold else args.folds,
        splits=Path(args.splits) if args.splits else None,
        turned_round=args.turned_round,
        postprocess=args.postprocess,
        devices=devices,
        patients=Path(args.patients) if args.patients else None,
        cache=Path(args.cache) if args.cache else None,
        label_map=label_map_of(args.label_map),
        window=window_of(args),
    )
    if fold:
        return _run_fold(request, fold[0], args.json)
    steps = crossval(request)
    result = run_stoppable(steps, "cancelled: the same command goes on")
    for failed, error in result.errors.items():
        complain(f"covseg: fold {failed}: {one_line(error)}")
    if args.json:
        print_json(json_content(result.content))
    else:
        _print(result)
    return result.exit_code


def _run_fold(request: CrossvalRequest, number: int, as_json: bool) -> int:
    """One fold; the figures come when all are there."""
    from napari_covseg.workflows.crossval import crossval_fold

    done = run_stoppable(crossval_fold(request, number), "cancelled: the same command goes on")
    if as_json:
        print_json({"fold": number, "folder": str(done.folder), "finished": list(done.finished)})
        return 0
    print(f"{done.folder}: {len(done.finished)} of {done.folds} folds are finished")
    if len(done.finished) == done.folds:
        print("the same command without --fold writes the report")
    return 0


def summary_table(result: CrossvalResult) -> str:
    """A row for each class: over patients, then the Dice of each fold."""
    from napari_covseg.reports.tables import summary

    folds = [str(fold.number) for fold in result.content.folds]
    rows = [
        [
            *("Class", "Dice", "std", "95 %", "median", "pooled", "Sens.", "Spec."),
            *("patients", "cases", *(f"fold {fold}" for fold in folds)),
        ]
    ]
    for name, found in summary(result.content).items():
        dice = found["dice"]
        rows.append(
            [
                name,
                *(number(dice[key]) for key in ("mean", "std")),
                interval(dice["interval_95"]),
                number(dice["median"]),
                number(found["pooled_dice"]),
                number(found["sensitivity"]["mean"]),
                number(found["specificity"]["mean"], "specificity"),
                *(str(found[key]) for key in ("patients", "cases")),
                *(number(fold["dice"]) for fold in found["folds"]),
            ]
        )
    return aligned(rows)


def _print(result: CrossvalResult) -> None:
    from napari_covseg.reports.crossval_content import how_split, limits, what_measured

    content = result.content
    print(how_split(content))
    print(what_measured(content))
    print(f"\n{summary_table(result)}\n")
    for warning in content.warnings:
        print(f"warning: {warning}")
    for limit in limits(content):
        print(f"note: {limit}")
    print(result.files.html)
