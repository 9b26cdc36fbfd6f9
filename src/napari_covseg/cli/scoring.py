"""What `evaluate` and `compare` share: options, figures' names and aligned tables."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_covseg.cli.output import one_line
from napari_covseg.cli.reading import LABEL_MAP, label_map_of
from napari_covseg.domain.errors import CovsegError, UsageError

if TYPE_CHECKING:
    from napari_covseg.workflows.evaluate import EvaluateSettings

_SHOWN = 5
_DIGITS = {
    "specificity": 4,
    "accuracy": 4,
    "hd95_mm": 1,
    "volume_error_ml": 1,
    "absolute_volume_error_ml": 1,
    "volume_error_percent": 1,
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options about references, patients and surfaces."""
    parser.add_argument(
        "--label-map",
        metavar=LABEL_MAP,
        help="what the references' numbers mean, such as lung=1,infection=2+3; without it "
        "dataset.json says so, or they are ours",
    )
    parser.add_argument(
        "--patients",
        metavar="FILE.csv",
        help="columns case and patient: cases of one patient are averaged first",
    )
    parser.add_argument(
        "--no-lung-reference",
        action="store_true",
        help="the references mark lesions only: give the lungs no figures",
    )
    parser.add_argument(
        "--no-surface",
        action="store_true",
        help="leave out HD95 and NSD (95-percent Hausdorff distance, normalised surface Dice)",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=2.0,
        metavar="MM",
        help="how far apart surfaces may lie for the normalised surface Dice (default 2)",
    )


def settings_of(args: argparse.Namespace) -> EvaluateSettings:
    """The settings that `add_options` asks for."""
    from napari_covseg.workflows.evaluate import EvaluateSettings

    return EvaluateSettings(
        label_map=label_map_of(args.label_map),
        patients=Path(args.patients) if args.patients else None,
        lung_reference=not args.no_lung_reference,
        surface=not args.no_surface,
        tolerance_mm=args.tolerance,
    )


def figure_names(text: str, known: Sequence[str]) -> tuple[str, ...]:
    """The figures that ``NAME,...`` or ``all`` stands for.

    Raises
    ------
    UsageError
        If a name is not known.
    """
    if text.strip() == "all":
        return tuple(known)
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in known:
            raise UsageError(
                f"--figures: {name!r} is no figure; expected all or some of {', '.join(known)}"
            )
    return names


def number(value: float, figure: str = "", *, sign: bool = False) -> str:
    """A value with as many digits as its figure deserves; a dash for no value."""
    if not math.isfinite(value):
        return "-"
    digits = _DIGITS.get(figure, 3)
    # Adding zero turns -0.0 into 0.0.
    return f"{round(value, digits) + 0.0:{'+' if sign else ''}.{digits}f}"


def interval(ends: tuple[float, float], figure: str = "", *, sign: bool = False) -> str:
    """``low to high``; a dash for no value."""
    if not all(map(math.isfinite, ends)):
        return "-"
    return " to ".join(number(end, figure, sign=sign) for end in ends)


def aligned(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table whose first ``left`` columns are flush left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def with_case(case: str, error: CovsegError) -> str:
    """An error's line, which names its case."""
    line = one_line(error)
    return line if line.startswith(case) else f"{case}: {line}"


def left_out(cases: Sequence[str], what: str) -> str:
    """A line on the cases that lack something."""
    listed = ", ".join(cases[:_SHOWN]) + (", ..." if len(cases) > _SHOWN else "")
    count = "1 case has" if len(cases) == 1 else f"{len(cases)} cases have"
    return f"left out, {count} no {what}: {listed}"
