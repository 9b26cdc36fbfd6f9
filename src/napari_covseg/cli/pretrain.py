"""``covseg pretrain``: what a network can learn from images alone, before it is trained."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.long_work import run_stoppable
from napari_covseg.cli.output import print_json
from napari_covseg.cli.reading import label_map_of, window_of
from napari_covseg.cli.train import FOLD, read_fold
from napari_covseg.cli.training_options import (
    SPLITS,
    add_device,
    add_reading,
    add_settings,
    add_splits,
)
from napari_covseg.training.pretrain_settings import TASKS, Pretext, pretext_help
from napari_covseg.training.schedules import Preset, find_preset

if TYPE_CHECKING:
    from napari_covseg.workflows.pretrain_request import PretrainResult


def add_parser(subparsers: Any) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "pretrain",
        help="let a network learn from images without labels, before it is trained",
        description="Pretrain a network on images alone: it paints what a coach network hides, or "
        "tells how an image was turned. A training can start from what it learned.",
        epilog="settings of the task (--set FIELD=VALUE), beside those of covseg train:\n"
        + pretext_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "data",
        nargs="+",
        metavar="DATA",
        help="nnU-Net v2 raw datasets, whose labels are not used; CTs, and folders of CTs",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the weights")
    parser.add_argument(
        "--task", choices=TASKS, help="what is learned without labels (default inpainting)"
    )
    add_settings(parser, "pretrain for so long at most; the learning rate of fast ends with it")
    held_out = parser.add_mutually_exclusive_group()
    held_out.add_argument(
        "--validation-patients", metavar="A,B", help="patients that are held out: none is looked at"
    )
    held_out.add_argument(
        "--fold",
        metavar="K/N",
        help="hold out the patients that fold K of N measures in covseg train "
        f"(default {FOLD} where DATA holds an annotated dataset)",
    )
    held_out.add_argument("--all-patients", action="store_true", help="hold out nobody")
    add_splits(parser)
    add_reading(parser)
    add_device(parser, "pretraining")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Pretrain."""
    preset, pretext = _settings(args)
    fold = read_fold(args.fold or FOLD)
    window = window_of(args)

    from napari_covseg.workflows.pretrain import pretrain
    from napari_covseg.workflows.pretrain_request import PretrainRequest

    request = PretrainRequest(
        data=tuple(map(Path, args.data)),
        output=Path(args.output),
        preset=preset,
        pretext=pretext,
        validation=_held_out(args, fold),
        device=args.device,
        patients=Path(args.patients) if args.patients else None,
        cache=Path(args.cache) if args.cache else None,
        resume=args.resume,
        label_map=label_map_of(args.label_map),
        window=window,
    )
    result = run_stoppable(pretrain(request), "cancelled: go on with --resume")
    if args.json:
        print_json(result.to_dict())
    else:
        _print(result)
    return 0


def _settings(args: argparse.Namespace) -> tuple[Preset, Pretext]:
    """Those of the network and those of the task; ``--set`` takes both."""
    settings = list(args.settings)
    settings += [f"task={args.task}"] if args.task else []
    pretext, others = Pretext().with_settings(settings)
    others += [f"minutes={args.minutes}"] if args.minutes is not None else []
    others += [f"seed={args.seed}"] if args.seed is not None else []
    return find_preset(args.preset).with_settings(others), pretext


def _held_out(args: argparse.Namespace, fold: tuple[int, int]) -> tuple[str, ...]:
    """Names of the cases that must not be looked at."""
    from napari_covseg.training.pretrain_data import find_data
    from napari_covseg.training.state import make_folder
    from napari_covseg.workflows.split import split_by_fold, split_by_patients

    if args.all_patients:
        return ()
    patients = Path(args.patients) if args.patients else None
    found = find_data(map(Path, args.data), patients, label_map_of(args.label_map))
    if args.validation_patients:
        names = [name.strip() for name in args.validation_patients.split(",") if name.strip()]
        return split_by_patients(found.datasets, names).validation
    if not (found.datasets or args.fold or args.splits):
        return ()
    output = Path(args.output)
    make_folder(output)
    file = Path(args.splits) if args.splits else output / SPLITS
    return split_by_fold(found.datasets, *fold, file).validation


def _print(result: PretrainResult) -> None:
    fit = result.fit
    print(
        f"{result.folder}: {result.labelled} annotated cases (without their labels), "
        f"{result.unlabelled} CTs without labels, {fit.last.epoch} epochs ({fit.stopped})"
    )
    if result.left_out:
        print(f"{result.left_out} CTs without labels left out: they are held out")
    print(
        f"loss {fit.last.loss:.4f}, {fit.seconds / 60:.1f} min, {fit.images_per_second:.1f} "
        f"patches/s; {result.tensors} tensors for covseg train --from {result.folder}"
    )
    for warning in result.warnings:
        print(f"warning: {warning}")
