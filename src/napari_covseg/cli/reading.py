"""What verbs share on how files are read: what labels mean, and what grey levels do."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from napari_covseg.domain.errors import UsageError

if TYPE_CHECKING:
    from napari_covseg.domain.labels import Label

LABEL_MAP = "NAME=ID[+ID],..."


def add_window(parser: argparse.ArgumentParser) -> None:
    """The option ``--window``."""
    parser.add_argument(
        "--window",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="HU of the darkest and brightest grey, for 8-bit or windowed input",
    )


def add_label_map(parser: argparse.ArgumentParser) -> None:
    """The option ``--label-map``, for datasets."""
    parser.add_argument(
        "--label-map",
        metavar=LABEL_MAP,
        help="what DATA's label numbers mean, such as lung=1,infection=2+3; without it "
        "dataset.json says so",
    )


def window_of(args: argparse.Namespace) -> tuple[float, float] | None:
    """What ``--window`` says, in HU; None where it is not given.

    Raises
    ------
    UsageError
        If LOW is not below HIGH.
    """
    if args.window is None:
        return None
    low, high = args.window
    if not low < high:
        raise UsageError("--window LOW HIGH: LOW must be below HIGH")
    return low, high


def label_map_of(text: str | None) -> Mapping[int, Label] | None:
    """A label map from its text, None from None.

    Raises
    ------
    UsageError
        If it cannot be read, or a name is not known.
    """
    from napari_covseg.io import parse_label_map

    return parse_label_map(text) if text else None
