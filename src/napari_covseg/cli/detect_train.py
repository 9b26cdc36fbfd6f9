"""``covseg detect-train``: a lesion detector from nnU-Net datasets."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.long_work import run_stoppable
from napari_covseg.cli.output import print_json
from napari_covseg.cli.reading import label_map_of, window_of
from napari_covseg.cli.training_options import (
    DATA,
    SPLITS,
    add_changes,
    add_device,
    add_reading,
    add_splits,
    changes_from,
)
from napari_covseg.training.detect_settings import PRESETS, find_preset
from napari_covseg.training.settings import help_of

if TYPE_CHECKING:
    from napari_covseg.training.splits import Fold
    from napari_covseg.workflows.detect_train import DetectTrainResult

FOLD = "1/5"


def add_parser(subparsers: Any) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "detect-train",
        help="train a lesion detector (Mask R-CNN) on nnU-Net datasets",
        description="Train Mask R-CNN to find GGO and consolidation in axial slices; write the "
        "detector, its logs and a state to resume from.",
        epilog="settings (--set FIELD=VALUE), with their values in the presets:\n"
        + help_of(PRESETS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", metavar="DATA", help=DATA)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the detector")
    parser.add_argument("--name", default="", help="the detector's name (default: that of DIR)")
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--from",
        dest="start",
        default="",
        metavar="MODEL",
        help="segmentation model, by name or folder, that a detector of preset lite0 stands on "
        "(default: the one that ships)",
    )
    start.add_argument(
        "--weights",
        metavar="FILE",
        help="local file (.safetensors or .pth) with weights of the ResNet (ImageNet's) or of a "
        "whole detector, to start from; preset ter-sarkisov2022 needs it",
    )
    add_changes(parser, PRESETS, "lite0", "batch=2 or heads_only=true")
    _add_split(parser)
    add_splits(parser)
    add_reading(parser)
    add_device(parser)
    parser.set_defaults(func=run)


def _add_split(parser: argparse.ArgumentParser) -> None:
    split = parser.add_mutually_exclusive_group()
    split.add_argument(
        "--validation-patients",
        metavar="A,B",
        help="patients that only measure how good the detector is, and do not train it",
    )
    split.add_argument(
        "--fold",
        metavar="K/N",
        help="divide the patients into N parts: part K measures, the others train "
        f"(default {FOLD})",
    )
    split.add_argument(
        "--all-patients", action="store_true", help="train on everybody; nothing is measured"
    )


def run(args: argparse.Namespace) -> int:
    """Train a detector."""
    preset = find_preset(args.preset).with_settings(changes_from(args))
    window = window_of(args)

    from napari_covseg.workflows.detect_train import DetectTrainRequest, train_detector

    split = _split(args)
    request = DetectTrainRequest(
        data=Path(args.data),
        output=Path(args.output),
        preset=preset,
        weights=Path(args.weights) if args.weights else None,
        start=args.start,
        train=split.train,
        validation=split.validation,
        name=args.name,
        device=args.device,
        patients=Path(args.patients) if args.patients else None,
        cache=Path(args.cache) if args.cache else None,
        resume=args.resume,
        label_map=label_map_of(args.label_map),
        window=window,
    )
    result = run_stoppable(train_detector(request), "cancelled: go on with --resume")
    if args.json:
        print_json(result.to_dict())
    else:
        _print_training(result)
    return 0


def _split(args: argparse.Namespace) -> Fold:
    from napari_covseg.cli.train import read_fold
    from napari_covseg.io.nnunet import read_datasets
    from napari_covseg.training.splits import Fold
    from napari_covseg.training.state import make_folder
    from napari_covseg.workflows.split import split_by_fold, split_by_patients

    fold = read_fold(args.fold or FOLD)
    if args.all_patients:
        return Fold((), ())
    patients = Path(args.patients) if args.patients else None
    datasets = read_datasets(
        Path(args.data), patients=patients, label_map=label_map_of(args.label_map)
    )
    if args.validation_patients:
        names = [name.strip() for name in args.validation_patients.split(",") if name.strip()]
        return split_by_patients(datasets, names)
    output = Path(args.output)
    make_folder(output)
    file = Path(args.splits) if args.splits else output / SPLITS
    return split_by_fold(datasets, *fold, file)


def _print_training(result: DetectTrainResult) -> None:
    loop = result.loop
    last = loop.rows[-1]
    cases = f"{result.training_cases} cases"
    print(f"{result.model}: {cases}, {last['epoch']} epochs ({loop.stopped})")
    print(f"loss {last['loss']:.4f}, {loop.seconds / 60:.1f} min")
    for kind, figures in result.figures.items():
        print(f"average precision of {kind}, {figures['patients']} patients:")
        for name in ("ggo", "consolidation", "mean"):
            one = figures[name]
            parts = [f"{_TITLES[key]} {_shown(one[key])}" for key in _TITLES]
            print(f"  {name}: {', '.join(parts)}, {one['lesions']} lesions")
    for warning in result.warnings:
        print(f"warning: {warning}")


_TITLES = {"ap50": "0.5:", "ap75": "0.75:", "ap": "0.5:0.95:"}


def _shown(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return "none to find"
    text = f"{figure['value']:.3f}"
    interval = figure["interval95"]
    return text if interval is None else f"{text} ({interval[0]:.3f} to {interval[1]:.3f})"
