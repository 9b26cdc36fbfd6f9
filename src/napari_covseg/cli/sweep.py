"""``covseg sweep``: a network trained with many settings, and one table of what came of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.long_work import run_stoppable
from napari_covseg.cli.output import complain, one_line, print_json
from napari_covseg.cli.reading import label_map_of, window_of
from napari_covseg.cli.scoring import aligned
from napari_covseg.cli.training_options import (
    DATA,
    add_reading,
    add_settings,
    add_splits,
    preset_from,
    what_can_be_set,
)
from napari_covseg.domain.errors import UsageError
from napari_covseg.training.grids import GRIDS, Grid, read_grid, read_grid_file

if TYPE_CHECKING:
    from napari_covseg.workflows.sweep import SweepResult

SPLIT = "70,10,20"


def add_parser(subparsers: Any) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "sweep",
        help="train with many settings; one table",
        description="Train and measure a network with every combination of settings and write one "
        "table.\nThe same command again goes on where it stopped.",
        epilog=what_can_be_set(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", metavar="DATA", help=DATA)
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="folder for the table and its rows"
    )
    parser.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="FIELD=V1,V2,...",
        help="values of a setting to train with, such as learning_rate=1e-5,5e-5 or "
        "network_arguments.blocks=4,6; values with commas are divided by semicolons, such as "
        "'patch=192,192;224,224'; repeatable: all combinations (default: the preset's own, of "
        f"{', '.join(GRIDS)})",
    )
    parser.add_argument(
        "--grid-file",
        metavar="FILE",
        help="TOML or JSON with such fields and lists of values, or several tables [[grid]]",
    )
    parser.add_argument(
        "--split",
        default=SPLIT,
        metavar="A,B,C",
        help="shares of the patients that train, validate and test (default "
        f"{SPLIT.replace(',', ', ')})",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="rows that train at once on each device, each in a process of its own (default 1)",
    )
    parser.add_argument(
        "--postprocess",
        action="store_true",
        help="measure the whole pipeline's label maps, not the network's own output",
    )
    add_settings(parser, "train each row for so long at most")
    add_splits(parser)
    add_reading(parser)
    parser.add_argument(
        "--device",
        default="auto",
        metavar="NAME[,NAME...]",
        help="auto (every CUDA card there is), cpu, cuda[:N] or mps (default auto)",
    )
    parser.add_argument("--json", action="store_true", help="print the table as JSON only")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Sweep, write and print; the exit code is the worst of the rows'."""
    preset = preset_from(args)
    grids = _grids(args, preset.name)
    split = _split(args.split)
    devices = tuple(name.strip() for name in args.device.split(","))
    if len(devices) > 1 and "auto" in devices:
        raise UsageError(f"--device {args.device}: auto cannot be one of several")

    from napari_covseg.workflows.sweep import SweepRequest, sweep

    request = SweepRequest(
        data=Path(args.data),
        output=Path(args.output),
        preset=preset,
        grids=grids,
        split=split,
        splits=Path(args.splits) if args.splits else None,
        devices=devices,
        jobs=args.jobs,
        postprocess=args.postprocess,
        patients=Path(args.patients) if args.patients else None,
        cache=Path(args.cache) if args.cache else None,
        label_map=label_map_of(args.label_map),
        window=window_of(args),
    )
    result = run_stoppable(sweep(request), "cancelled: the same command goes on")
    for number, error in result.errors.items():
        complain(f"covseg: row {number}: {one_line(error)}")
    if args.json:
        print_json(_json(result))
    else:
        _print(result)
    return result.exit_code


def _grids(args: argparse.Namespace, preset: str) -> tuple[Grid, ...]:
    """What the options say; else the preset's own."""
    if args.grid and args.grid_file:
        raise UsageError("--grid and --grid-file: give one of them")
    if args.grid_file:
        return read_grid_file(Path(args.grid_file))
    if args.grid:
        return (read_grid(args.grid),)
    if preset not in GRIDS:
        raise UsageError(
            f"preset {preset} has no grid of its own: say what to vary with --grid or --grid-file"
        )
    return GRIDS[preset]


def _split(text: str) -> tuple[int, int, int]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        raise UsageError(f"--split {text}: expected three shares, such as {SPLIT}")
    train, validation, test = (int(part) for part in parts)
    return train, validation, test


def _print(result: SweepResult) -> None:
    from napari_covseg.reports.sweep_table import said, shown_table

    head, rows = shown_table(result.content)
    print(aligned([head, *rows]))
    print()
    for line in said(result.content):
        print(f"note: {line}")
    print(result.html)


def _json(result: SweepResult) -> dict[str, Any]:
    import csv

    with result.csv.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    best = result.content.best
    return {"best": best.number if best else None, "rows": lines}
