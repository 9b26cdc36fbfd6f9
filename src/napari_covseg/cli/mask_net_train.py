"""``covseg mask-net-train``: a classifier of pictures on what a lesion detector sees in them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.long_work import run_stoppable
from napari_covseg.cli.output import aligned, print_json
from napari_covseg.cli.training_options import add_changes, add_device, changes_from
from napari_covseg.training.mask_net_settings import PRESETS, find_preset
from napari_covseg.training.settings import help_of

if TYPE_CHECKING:
    from napari_covseg.workflows.mask_net import MaskNetResult


def add_parser(subparsers: Any) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "mask-net-train",
        help="train COVID-CT-Mask-Net on labelled pictures, from a lesion detector",
        description="Train a classifier on the 256 best ranked predictions of a lesion detector "
        "(covseg detect-train); write the model, its logs and a state to resume from.",
        epilog="settings (--set FIELD=VALUE), with their values in the presets:\n"
        + help_of(PRESETS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "images",
        metavar="IMAGES",
        help="CSV with file,label[,split][,group]; a folder with one called labels.csv or "
        "classification.csv; or a folder whose subfolders are classes",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the model")
    parser.add_argument("--name", default="", help="the model's name (default: that of DIR)")
    start = parser.add_mutually_exclusive_group(required=True)
    start.add_argument("--detector", default="", metavar="DIR", help="the detector to build on")
    start.add_argument(
        "--from",
        dest="start",
        default="",
        metavar="DIR",
        help="a COVID-CT-Mask-Net to go on from (--preset adapt: 600 pictures, 10 epochs)",
    )
    parser.add_argument(
        "--within", default="", metavar="PREFIX", help="take only files whose name starts so"
    )
    add_changes(parser, PRESETS, "fast", "mode=s+bn or size=512")
    add_device(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Train."""
    preset = find_preset(args.preset).with_settings(changes_from(args))

    from napari_covseg.workflows.mask_net import MaskNetRequest, train_mask_net

    request = MaskNetRequest(
        images=Path(args.images),
        output=Path(args.output),
        preset=preset,
        detector=args.detector,
        start=args.start,
        within=args.within,
        name=args.name,
        device=args.device,
        resume=args.resume,
    )
    result = run_stoppable(train_mask_net(request), "cancelled: go on with --resume")
    if args.json:
        print_json(result.to_dict())
    else:
        _print(result)
    return 0


def _print(result: MaskNetResult) -> None:
    loop, found = result.loop, result.figures
    print(f"{result.model}: {loop.rows[-1]['epoch']} epochs ({loop.stopped})")
    print(
        f"{result.training_pictures} pictures trained, {result.measured_pictures} measured "
        f"({result.split})"
    )
    print(f"accuracy {found['accuracy']:.3f}, class-adjusted F1 {found['f1_adjusted']:.3f}")
    rows = [["class", "sensitivity", "precision", "AUC", "pictures"]]
    for name, one in found["classes"].items():
        shown = [_shown(one[key]) for key in ("sensitivity", "precision", "auc")]
        rows.append([name, *shown, str(one["pictures"])])
    print(aligned(rows))
    for warning in result.warnings:
        print(f"warning: {warning}")


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
