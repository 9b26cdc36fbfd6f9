"""Who works, as verbs on a case store need it: told, known, or asked once."""

from __future__ import annotations

import argparse
import sys

from napari_covseg.domain.errors import UsageError


def add_author(parser: argparse.ArgumentParser) -> None:
    """The option ``--author``."""
    parser.add_argument(
        "--author",
        metavar="NAME",
        help="who does this; else COVSEG_AUTHOR, else as asked once and remembered",
    )


def author_of(args: argparse.Namespace) -> str:
    """Who works: as told, as known, or asked once if a person is there to answer.

    Raises
    ------
    UsageError
        If nobody said, or the name is empty or too long.
    ResourceError
        If the answer cannot be remembered.
    """
    from napari_covseg.cases.author import known_author, remember_author

    if args.author:
        return str(args.author)
    known = known_author()
    if known is not None:
        return known
    if not sys.stdin.isatty():
        raise UsageError("say who you are: --author NAME, or set COVSEG_AUTHOR")
    print("Your name or initials (kept with every version you save): ", end="", file=sys.stderr)
    sys.stderr.flush()
    return remember_author(sys.stdin.readline())
