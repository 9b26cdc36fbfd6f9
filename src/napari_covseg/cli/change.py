"""``covseg change``: two scans of one patient, and what became of the lesions."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.lobes import add_lobes, lobes_from
from napari_covseg.cli.output import format_ml, format_percent, print_json, progress_bars
from napari_covseg.cli.reading import LABEL_MAP, add_window, label_map_of, window_of
from napari_covseg.cli.scoring import aligned
from napari_covseg.cli.segment import add_settings, settings_from

if TYPE_CHECKING:
    from napari_covseg.quantify.change import Change

_INPUT = "DICOM folder, zip or file; .nii[.gz]; .nrrd; .mha/.mhd"
_SHOWN = ("both", "right", "left", "upper_third", "middle_third", "lower_third")


def add_parser(subparsers: Any) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "change",
        help="compare two scans of one patient: what appeared, resolved, grew and turned",
        description="Lay the lungs of PRIOR over those of CURRENT and write DIR/<case>_change as "
        ".html, .json, .csv and as a map (.nii.gz): what appeared, resolved, stayed, turned from "
        "GGO to consolidation and back, by region and lesion by lesion. A CT without labels is "
        "segmented first. How well the lungs fit is measured and said. Research use only.",
    )
    parser.add_argument("current", metavar="CURRENT", help=f"the later scan: {_INPUT}")
    parser.add_argument("prior", metavar="PRIOR", help="the earlier scan, likewise")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--labels", metavar="FILE", help="the label map of CURRENT")
    parser.add_argument("--prior-labels", metavar="FILE", help="the label map of PRIOR")
    parser.add_argument(
        "--deformable",
        action="store_true",
        help="bend the lungs onto each other too, where moving and scaling them is not enough",
    )
    parser.add_argument(
        "--interval-days",
        type=int,
        metavar="N",
        help="days from PRIOR to CURRENT; without it, from the study dates of DICOM",
    )
    add_lobes(parser, "the CURRENT")
    for which in ("", "prior-"):
        parser.add_argument(
            f"--{which}label-map",
            metavar=LABEL_MAP,
            help=f"what the numbers in --{which}labels mean, such as lung=1,infection=2",
        )
        parser.add_argument(
            f"--{which}series",
            metavar="UID",
            help=f"the DICOM series to take of {'PRIOR' if which else 'CURRENT'}",
        )
    add_window(parser)
    add_settings(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON only")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Compare, write and print."""
    from napari_covseg.domain.progress import run_to_end
    from napari_covseg.workflows.change import ChangeSettings, ScanFiles, change_files

    current = ScanFiles(
        Path(args.current), _path(args.labels), args.series, label_map_of(args.label_map)
    )
    prior = ScanFiles(
        Path(args.prior),
        _path(args.prior_labels),
        args.prior_series,
        label_map_of(args.prior_label_map),
    )
    settings = ChangeSettings(
        deformable=args.deformable,
        interval_days=args.interval_days,
        window=window_of(args),
        lobes=lobes_from(args),
        segment=settings_from(args),
    )
    with progress_bars() as start:
        steps = change_files(current, prior, Path(args.output), settings)
        result = run_to_end(steps, start("change"))
    if args.json:
        print_json(result.to_json())
        return 0
    _show(result.change)
    for path in result.paths:
        print(path)
    return 0


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _show(change: Change) -> None:
    head = ["ml", "before", "now", "change", "%", "appeared", "resolved", "persistent"]
    rows = [[*head, "GGO→consol.", "consol.→GGO"]]
    for name in _SHOWN:
        if name in change.parts:
            one = change.parts[name]
            lesions = one.lesions
            rows.append(
                [
                    name.replace("_", " ").capitalize(),
                    _ml(lesions.prior_ml),
                    _ml(lesions.current_ml),
                    _ml(lesions.change_ml, sign=True),
                    format_percent(lesions.change_percent),
                    *(_ml(state.ml) for state in one.states.values()),
                ]
            )
    print(aligned(rows))
    counts = ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in change.lesions.counts.items())
    print(f"lesions: {counts or 'none in either scan'}")
    fit = change.registration
    print(f"registration: {fit.verdict} ({fit.method}), lung Dice {fit.lung_dice:.3f}")
    for warning in change.warnings:
        print(f"warning: {warning}")


def _ml(value: float | None, *, sign: bool = False) -> str:
    if value is None:
        return "–"
    text = format_ml(abs(value))
    return ("-" if value < 0 else "+" if sign else "") + text
