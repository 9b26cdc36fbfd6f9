"""``covseg dataset consensus``: where two readers differ, and one version of both."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.author import author_of
from napari_covseg.cli.output import aligned, complain, format_ml, print_json, progress_bars
from napari_covseg.domain.errors import InputError, UsageError

if TYPE_CHECKING:
    from napari_covseg.cases.records import LabelVersion
    from napari_covseg.cases.store import CaseStore
    from napari_covseg.domain.labels import Label
    from napari_covseg.editing.consensus import Region
    from napari_covseg.workflows.consensus import Joined, Readings

TEXT = "Show where two readers differ; with --by, save one version of both"
_RULES = ("union", "intersection", "first", "second")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments after the store."""
    parser.add_argument("case", metavar="CASE", help="name of the case")
    parser.add_argument(
        "--versions",
        metavar="A,B",
        help="numbers of the two versions (default: those that stand side by side)",
    )
    parser.add_argument(
        "--by",
        choices=_RULES,
        metavar="RULE",
        help="save a consensus, made by this rule wherever they differ",
    )
    parser.add_argument("--accept", action="store_true", help="with --by: accept it at once")
    parser.add_argument(
        "--whole", action="store_true", help="with --by: you checked every slice of the scan"
    )


def run(args: argparse.Namespace) -> int:
    """Compare two versions, and join them if a rule is given."""
    from napari_covseg.cases.store import CaseStore
    from napari_covseg.domain.progress import run_to_end
    from napari_covseg.editing.consensus import Rule
    from napari_covseg.workflows.consensus import read_both, save_joined

    if args.by is None and (args.accept or args.whole):
        raise UsageError("--accept and --whole go with --by")
    author = author_of(args) if args.by else ""
    store = CaseStore.open(Path(args.store))
    first, second = _versions(store, args.case, args.versions)
    done: Joined | None = None
    with progress_bars() as start:
        readings = run_to_end(read_both(store, first, second), start("compare"))
        if args.by:
            how = {"author": author, "accept": args.accept, "whole": args.whole}
            steps = save_joined(store, readings, Rule(args.by), **how)
            done = run_to_end(steps, start("join"))
    if args.json:
        print_json({**_as_json(readings), "saved": _saved(done)})
        return 0
    print(_told(readings))
    if done is not None:
        accepted = ", accepted" if done.review else ""
        print(f"{args.case}: version {done.version.number} is the {args.by}{accepted}")
        for one in done.beside:
            complain(f"{args.case}: version {one.number} of {one.author} stands beside it still")
    return 0


def _versions(store: CaseStore, case: str, told: str | None) -> tuple[LabelVersion, LabelVersion]:
    from napari_covseg.workflows.consensus import side_by_side
    from napari_covseg.workflows.dataset_export import find_version

    if told is None:
        found = side_by_side(store, case)
        if found is None:
            raise InputError(
                f"{case}: no two readers' versions stand side by side; name two with --versions "
                "(covseg dataset history shows them)"
            )
        return found
    try:
        one, other = (int(number) for number in told.split(","))
    except ValueError:
        raise UsageError(f"--versions {told}: expected two numbers, such as 3,4") from None
    return find_version(store, case, one), find_version(store, case, other)


def _as_json(readings: Readings) -> dict[str, Any]:
    found = readings.comparison
    return {
        "case": readings.first.case,
        "versions": [readings.first.number, readings.second.number],
        "agreement": {
            name: {"dice": one.dice, "first_ml": one.first_ml, "second_ml": one.second_ml}
            for name, one in readings.agreement.items()
        },
        "differences": [
            {
                "kind": region.kind,
                "first": [label.name.lower() for label in region.first],
                "second": [label.name.lower() for label in region.second],
                "ml": region.ml,
                "voxels": region.voxels,
                "slice": region.slice_index,
            }
            for region in found.regions
        ],
        "only_first_checked": list(found.first_alone),
        "only_second_checked": list(found.second_alone),
    }


def _saved(done: Joined | None) -> dict[str, Any] | None:
    if done is None:
        return None
    return {
        "id": done.version.id,
        "number": done.version.number,
        "accepted": done.review is not None,
        "beside": [one.number for one in done.beside],
    }


def _told(readings: Readings) -> str:
    first, second = readings.first, readings.second
    names = [f"{one.author} ({one.number})" for one in (first, second)]
    classes = [["", f"{names[0]} ml", f"{names[1]} ml", "Dice"]]
    classes += [
        [
            name.replace("_", " "),
            format_ml(one.first_ml),
            format_ml(one.second_ml),
            "–" if one.dice is None else f"{one.dice:.3f}",
        ]
        for name, one in readings.agreement.items()
    ]
    tables = [aligned(classes)]
    if readings.comparison.regions:
        rows = [["Slice", "Difference", *names, "ml"]]
        rows += [_row(region) for region in readings.comparison.regions]
        tables.append(aligned(rows))
    else:
        tables.append("the two versions differ nowhere that both checked")
    for one, alone in zip(
        (first, second),
        (readings.comparison.first_alone, readings.comparison.second_alone),
        strict=True,
    ):
        if alone:
            tables.append(f"{len(alone)} slices were checked by {one.author} only and stand")
    return "\n\n".join(tables)


def _row(region: Region) -> list[str]:
    return [
        str(region.slice_index),
        str(region.kind),
        _called(region.first),
        _called(region.second),
        f"{region.ml:.2f}",
    ]


def _called(labels: tuple[Label, ...]) -> str:
    return " + ".join(label.title for label in labels)
