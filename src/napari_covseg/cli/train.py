"""``covseg train``: a model folder from nnU-Net datasets."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.long_work import run_stoppable
from napari_covseg.cli.output import print_json
from napari_covseg.cli.reading import label_map_of, window_of
from napari_covseg.cli.training_options import (
    DATA,
    SPLITS,
    add_device,
    add_reading,
    add_settings,
    add_splits,
    preset_from,
    what_can_be_set,
)
from napari_covseg.domain.errors import UsageError

if TYPE_CHECKING:
    from napari_covseg.training.splits import Fold
    from napari_covseg.workflows.train_request import TrainResult

FOLD = "1/5"


def add_parser(subparsers: Any) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "train",
        help="train a network on nnU-Net datasets",
        description="Train a network; write the model, its logs and a state to resume from.",
        epilog=what_can_be_set(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", metavar="DATA", help=DATA)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the model")
    parser.add_argument("--name", default="", help="the model's name (default: that of DIR)")
    add_settings(parser, "train for so long at most; the learning rate of fast ends with it")
    parser.add_argument(
        "--from",
        dest="start",
        metavar="MODEL",
        help="start from this model's weights, by its name or folder, or from those of covseg "
        "pretrain, by its folder; network, arguments and preparation must be those of the settings",
    )
    _add_split(parser)
    add_splits(parser)
    _add_pseudo_labels(parser)
    add_reading(parser)
    add_device(parser)
    parser.set_defaults(func=run)


def _add_pseudo_labels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pseudo-label",
        dest="pseudo_scans",
        action="append",
        default=[],
        metavar="CTS",
        help="CTs without labels (a file or folder; repeatable): once trained, the model labels a "
        "few of their slices, trains on with them, and so on",
    )
    parser.add_argument(
        "--pseudo-rounds", type=int, default=5, metavar="N", help="how often (default 5)"
    )
    parser.add_argument(
        "--pseudo-group", type=int, default=5, metavar="K", help="slices each time (default 5)"
    )
    parser.add_argument(
        "--pseudo-confidence",
        type=float,
        default=0.0,
        metavar="P",
        help="leave pixels open whose class is less probable than this (default 0: none)",
    )


def _add_split(parser: argparse.ArgumentParser) -> None:
    split = parser.add_mutually_exclusive_group()
    split.add_argument(
        "--validation-patients",
        metavar="A,B",
        help="patients that only measure how good the network is, and do not train it",
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


def read_fold(text: str) -> tuple[int, int]:
    """``K/N`` as numbers.

    Raises
    ------
    UsageError
        If it is something else.
    """
    number, slash, folds = text.partition("/")
    if not slash or not (number.isdecimal() and folds.isdecimal()):
        raise UsageError(f"--fold {text}: expected K/N, such as {FOLD}")
    return int(number), int(folds)


def run(args: argparse.Namespace) -> int:
    """Train."""
    preset = preset_from(args)
    fold = read_fold(args.fold or FOLD)
    window = window_of(args)

    from napari_covseg.training.parallel import several_processes
    from napari_covseg.workflows.train import train
    from napari_covseg.workflows.train_request import TrainRequest

    split = _split(args, fold)
    request = TrainRequest(
        data=Path(args.data),
        output=Path(args.output),
        preset=preset,
        train=split.train,
        validation=split.validation,
        name=args.name,
        device=args.device,
        patients=Path(args.patients) if args.patients else None,
        cache=Path(args.cache) if args.cache else None,
        resume=args.resume,
        label_map=label_map_of(args.label_map),
        window=window,
        start=args.start,
    )
    steps = train(request)
    if args.pseudo_scans:
        from napari_covseg.workflows.pseudo_label import PseudoLabels, pseudo_label

        scans = tuple(map(Path, args.pseudo_scans))
        labels = PseudoLabels(scans, args.pseudo_rounds, args.pseudo_group, args.pseudo_confidence)
        steps = pseudo_label(request, labels)
    result = run_stoppable(steps, "cancelled: go on with --resume")
    if several_processes() and os.environ.get("RANK") != "0":
        return 0  # One of those that torchrun started tells.
    if args.json:
        print_json(result.to_dict())
    else:
        _print(result)
    return 0


def _split(args: argparse.Namespace, fold: tuple[int, int]) -> Fold:
    from napari_covseg.io.nnunet import read_datasets
    from napari_covseg.training.splits import Fold
    from napari_covseg.training.state import make_folder
    from napari_covseg.workflows.split import split_by_fold, split_by_patients

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


def _print(result: TrainResult) -> None:
    fit = result.fit
    if result.origin:
        print(f"weights: {result.origin}")
    print(f"{result.model}: {result.training_cases} cases, {fit.last.epoch} epochs ({fit.stopped})")
    print(
        f"loss {fit.last.loss:.4f}, {fit.seconds / 60:.1f} min, {fit.images_per_second:.1f} "
        f"patches/s, {fit.waited_percent:.0f} % of the time waiting for batches"
        + (f", graphics card {fit.gpu_percent:.0f} % busy" if fit.gpu_percent is not None else "")
    )
    if fit.last.validation is not None:
        _print_figures("Dice of the last epoch", fit.last.validation.to_dict())
    for warning in result.warnings:
        print(f"warning: {warning}")


def _print_figures(title: str, figures: dict[str, Any]) -> None:
    rows: Sequence[tuple[str, dict[str, Any]]] = list(figures.items())
    for name, figure in rows:
        if figure["mean"] is not None:
            spread = f" (sd {figure['std']:.3f})" if figure["std"] is not None else ""
            print(
                f"{title}, {name}: {figure['mean']:.3f}{spread}, {figure['patients']} patients, "
                f"{figure['cases']} cases"
            )
