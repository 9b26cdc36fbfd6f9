"""``covseg dataset effort``: what correcting cost, and whether the loop saves time."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from napari_covseg.cli.output import aligned, complain, format_ml, print_json, progress_bars

if TYPE_CHECKING:
    from napari_covseg.cases.effort_records import Effort

TEXT = "Show what correcting cost: minutes, changes and Dice by model and by person"
_NONE = "–"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments after the store."""
    parser.add_argument("--csv", metavar="FILE.csv", help="write a row for each accepted case")
    parser.add_argument(
        "--plot", metavar="FILE", help="draw it case by case (.png or .svg, by the name)"
    )


def run(args: argparse.Namespace) -> int:
    """Measure, write what was asked for, and tell."""
    from napari_covseg.cases.effort import effort_of
    from napari_covseg.cases.store import CaseStore
    from napari_covseg.domain.progress import run_to_end
    from napari_covseg.workflows.effort import write_effort_csv

    store = CaseStore.open(Path(args.store))
    with progress_bars() as start:
        effort = run_to_end(effort_of(store), start("effort"))
    if args.csv:
        write_effort_csv(effort, Path(args.csv))
    if args.plot:
        from napari_covseg.reports.effort import write_effort_plot

        write_effort_plot(effort, Path(args.plot))
    for one in effort.cases:
        if one.problem:
            complain(f"warning: {one.problem}")
    if args.json:
        print_json(effort.to_dict())
    else:
        print(_told(effort))
    return 0


def _told(effort: Effort) -> str:
    from napari_covseg.cases.effort_records import verdict

    if not effort.cases:
        return "no accepted cases yet"
    models = [["Predicted by", "Cases", "Minutes a case", "Seconds a slice", "Edited ml", "Dice"]]
    models += [
        [
            *(one.name, str(one.cases), _number(one.minutes), _number(one.seconds_per_slice)),
            _NONE if one.edited_ml is None else format_ml(one.edited_ml),
            ", ".join(f"{name} {dice:.3f}" for name, dice in one.dice.items()) or _NONE,
        ]
        for one in effort.generations
    ]
    people = [["Person", "Cases", "Minutes", "Slices", "Edited voxels", "Edited ml"]]
    people += [
        [
            *(one.person, str(one.cases), f"{one.minutes:.1f}", str(one.slices)),
            *(str(one.edited_voxels), format_ml(one.edited_ml)),
        ]
        for one in effort.people
    ]
    total = (
        f"{len(effort.cases)} accepted cases, {effort.minutes:.1f} minutes, "
        f"{format_ml(effort.edited_ml)} ml differ from predictions"
    )
    sentence = verdict(effort)
    return "\n\n".join([aligned(models), aligned(people), f"{total}\n{sentence}"])


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:.1f}"
