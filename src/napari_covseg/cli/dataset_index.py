"""Where the index of a case store lies: chosen when it is made, and moved later."""

from __future__ import annotations

import argparse
from pathlib import Path

from napari_covseg.cli.author import author_of
from napari_covseg.cli.output import print_json
from napari_covseg.domain.errors import UsageError

HOURS = 2.0
_MOST_HOURS = 168.0
TEXT = "Move a store's index to a PostgreSQL server, or back into its folder"


def add_place(parser: argparse.ArgumentParser) -> None:
    """Where a new index is to lie."""
    parser.add_argument(
        "--index",
        metavar="URL",
        help="keep the index on a PostgreSQL server, postgresql://SERVER/DATABASE without a "
        "password (default: in the folder)",
    )
    _add_schema(parser)


def add_target(parser: argparse.ArgumentParser) -> None:
    """Where an index is to be moved."""
    parser.add_argument(
        "--to",
        required=True,
        metavar="URL|sqlite",
        help="postgresql://SERVER/DATABASE without a password, or sqlite for the folder",
    )
    _add_schema(parser)


def _add_schema(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--schema",
        metavar="NAME",
        help="the schema of the database that is to hold it, one for each store (default covseg)",
    )


def add_hours(parser: argparse.ArgumentParser) -> None:
    """How long a case is kept for who takes it."""
    parser.add_argument(
        "--hours",
        type=float,
        default=HOURS,
        metavar="N",
        help=f"keep the case for so long (default {HOURS:g})",
    )


def minutes_of(args: argparse.Namespace) -> float:
    """What `add_hours` asked for, in minutes.

    Raises
    ------
    UsageError
        If it is not more than 0 and at most a week.
    """
    hours = float(args.hours)
    if not 0 < hours <= _MOST_HOURS:
        raise UsageError(f"--hours {hours:g}: expected more than 0 and at most {_MOST_HOURS:g}")
    return 60 * hours


def run_init(args: argparse.Namespace) -> int:
    """Make a store."""
    from napari_covseg.cases.store import CaseStore

    store = CaseStore.create(
        Path(args.store), author=author_of(args), index=args.index, schema=args.schema
    )
    if args.json:
        print_json({"store": str(store.folder)})
    else:
        print(f"{args.store}: a new case store; add scans with covseg dataset add")
    return 0


def run_migrate(args: argparse.Namespace) -> int:
    """Move an index; what a killed save left is completed first."""
    from napari_covseg.cases.moving import move_index
    from napari_covseg.cases.store import CaseStore

    store, author = CaseStore.open(Path(args.store)), author_of(args)
    moved = move_index(store.folder, args.to, schema=args.schema, author=author)
    if args.json:
        print_json({"index": moved.now, "before": moved.before, "rows": moved.rows})
    else:
        print(f"{args.store}: the index lies in {moved.now} now ({moved.rows} rows)")
        print(f"The former one is kept, out of use: {moved.before}")
    return 0
