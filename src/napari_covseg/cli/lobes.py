"""Options that say where a case's lobes come from."""

from __future__ import annotations

import argparse
from pathlib import Path

from napari_covseg.workflows.lobe_choice import APPROXIMATE, LUNGMASK, LobeChoice


def add_lobes(parser: argparse.ArgumentParser, whose: str) -> None:
    """Add ``--lobes``, ``--lobe-map`` and ``--lobe-weights``; ``whose`` is before *scan*."""
    parser.add_argument(
        "--lobes",
        default=APPROXIMATE,
        metavar=f"FILE|{LUNGMASK}|{APPROXIMATE}",
        help=f"the lobes of {whose} scan: a map of them, or found by lungmask, which must be "
        f"installed with its weights, or approximated by planes (default {APPROXIMATE})",
    )
    parser.add_argument(
        "--lobe-map",
        metavar="NAME=ID,...",
        help="what the numbers in the lobe file mean, such as LUL=1,LLL=2,RUL=3,RML=4,RLL=5",
    )
    add_weights(parser)


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Add ``--lobe-weights``."""
    parser.add_argument(
        "--lobe-weights",
        metavar="DIR",
        help="the folder with lungmask's weights (default: torch's folder of checkpoints)",
    )


def lobes_from(args: argparse.Namespace) -> LobeChoice:
    """Where lobes come from, as the flags say; ``./lungmask`` is a file of that name.

    Raises
    ------
    ModelError
        If lungmask or its weights are not installed.
    UsageError
        If ``--lobe-map`` names no lobes.
    """
    from napari_covseg.io.lobes import parse_lobe_map

    names = parse_lobe_map(args.lobe_map) if args.lobe_map else None
    weights = Path(args.lobe_weights) if args.lobe_weights else None
    if args.lobes == LUNGMASK:
        from napari_covseg.models.lungmask_weights import find_weights

        find_weights(weights)  # Complains before anything is read.
        return LobeChoice(network=True, weights=weights)
    file = None if args.lobes == APPROXIMATE else Path(args.lobes)
    return LobeChoice(file, names, weights=weights)
