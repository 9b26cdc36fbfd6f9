"""``covseg detect`` finds lesions with a trained detector; ``covseg train-detector`` trains one."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.jobs import CaseNames, Job, jobs_of
from napari_covseg.cli.long_work import run_stoppable
from napari_covseg.cli.output import (
    aligned,
    complain,
    exit_code,
    format_ml,
    one_line,
    print_json,
    progress_bars,
)
from napari_covseg.cli.reading import add_window, label_map_of, window_of
from napari_covseg.cli.training_options import DATA, SPLITS, add_reading, add_splits
from napari_covseg.domain.progress import run_to_end
from napari_covseg.workflows.detect_settings import DetectSettings

if TYPE_CHECKING:
    from napari_covseg.training.splits import Fold
    from napari_covseg.workflows.detect import DetectFileResult
    from napari_covseg.workflows.detect_train import DetectTrainResult

FOLD = "1/5"


def add_parser(subparsers: Any) -> None:
    """Add the verbs."""
    _add_detect(subparsers)
    _add_train(subparsers)


def _add_detect(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "detect",
        help="find lesions with a trained detector; write boxes, scores and masks",
        description="Write DIR/<case>_detected.json (lesions with class, score, volume and boxes) "
        "and DIR/<case>_detected_labels.nii.gz (their masks) for every input.",
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="DICOM folder, zip or file; .nii[.gz]; .nrrd; .mha/.mhd; a folder of such files",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--model",
        required=True,
        metavar="DIR",
        help="folder of a detector (covseg train-detector); none ships with the package",
    )
    metavars = {"device": "auto|cpu|cuda[:N]|mps", "score": "S"}
    for one in fields(DetectSettings):
        if one.name in metavars:
            parser.add_argument(
                f"--{one.name}",
                default=one.default,
                type=type(one.default),
                metavar=metavars[one.name],
                help=f"{one.metadata['help']} (default {one.default})",
            )
    parser.add_argument("--series", metavar="UID", help="the DICOM series to take")
    add_window(parser)
    parser.add_argument("--json", action="store_true", help="print the results as JSON only")
    parser.set_defaults(func=run_detect)


def run_detect(args: argparse.Namespace) -> int:
    """Find lesions in every input; the exit code is the worst of them."""
    settings = DetectSettings(args.model, args.device, args.score)
    window_of(args)  # Complains before anything is read.

    from napari_covseg.models.detector_files import read_detector
    from napari_covseg.models.device import choose_device

    choose_device(settings.device)
    read_detector(settings.model)
    names = CaseNames()
    results: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    for job in jobs_of(args.inputs, names):
        try:
            done = _detect_one(job, names, args, settings)
        except Exception as error:
            complain(f"covseg: {one_line(error)}")
            code = exit_code(error)
            errors.append({"input": str(job.path), "error": one_line(error), "exit_code": code})
            continue
        files = {"labels_path": str(done.labels_path), "json_path": str(done.json_path)}
        results.append({"input": str(job.path), **files, **done.report})
        if not args.json:
            _print_lesions(job, done)
    if args.json:
        print_json({"results": results, "errors": errors})
    return max((one["exit_code"] for one in errors), default=0)


def _detect_one(
    job: Job, names: CaseNames, args: argparse.Namespace, settings: DetectSettings
) -> DetectFileResult:
    from napari_covseg.workflows.detect import detect_file

    if job.error is not None:
        raise job.error
    steps = detect_file(
        job.path,
        args.output,
        settings,
        series=args.series,
        window=window_of(args),
        name_case=lambda name: job.case or names.claim(name),
    )
    with progress_bars() as bars:
        try:
            return run_to_end(steps, bars(job.path.name))
        finally:
            steps.close()


def _print_lesions(job: Job, done: DetectFileResult) -> None:
    print(f"{job.path.name}: {done.labels_path}, {done.json_path}")
    lesions = done.result.detection.lesions
    head = ["", "class", "score", "ml", "slices"]
    rows = [
        [
            str(one.number),
            one.label.title,
            f"{one.score:.2f}",
            format_ml(one.ml),
            f"{one.box[0] + 1} to {one.box[3]}",
        ]
        for one in lesions
    ]
    print(aligned([head, *rows]) if rows else "no lesion scores enough")
    for warning in done.result.warnings:
        print(f"warning: {warning}")
    print(flush=True)


def _add_train(subparsers: Any) -> None:
    from napari_covseg.training.detect_settings import PRESETS, help_of

    parser = subparsers.add_parser(
        "train-detector",
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
    parser.add_argument(
        "--preset",
        default="scratch",
        metavar="NAME",
        help=f"{' or '.join(PRESETS)} (default scratch); the second needs --weights",
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="local file (.safetensors or .pth) with weights of the ResNet (ImageNet's) or of a "
        "whole detector, to start from",
    )
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change a setting of the preset, such as batch=2 or heads_only=true; repeatable",
    )
    parser.add_argument("--minutes", type=float, metavar="M", help="train for so long at most")
    parser.add_argument("--seed", type=int, metavar="N", help="of every random choice (default 0)")
    _add_split(parser)
    add_splits(parser)
    add_reading(parser)
    parser.add_argument(
        "--device",
        default="auto",
        metavar="auto|cpu|cuda[:N]|mps",
        help="where to train; auto: CUDA, Apple graphics or the CPU (default auto)",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the training that DIR holds, if any"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON only")
    parser.set_defaults(func=run_train)


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


def run_train(args: argparse.Namespace) -> int:
    """Train a detector."""
    from napari_covseg.training.detect_settings import find_preset

    settings = list(args.settings)
    settings += [f"minutes={args.minutes}"] if args.minutes is not None else []
    settings += [f"seed={args.seed}"] if args.seed is not None else []
    preset = find_preset(args.preset).with_settings(settings)
    window = window_of(args)

    from napari_covseg.workflows.detect_train import DetectTrainRequest, train_detector

    split = _split(args)
    request = DetectTrainRequest(
        data=Path(args.data),
        output=Path(args.output),
        preset=preset,
        weights=Path(args.weights) if args.weights else None,
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
