"""``covseg detect``: lesions of CTs one by one."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.jobs import CaseNames, Job, jobs_of
from napari_covseg.cli.output import (
    aligned,
    complain,
    exit_code,
    format_ml,
    one_line,
    print_json,
    progress_bars,
)
from napari_covseg.cli.reading import add_window, window_of
from napari_covseg.domain.progress import run_to_end
from napari_covseg.workflows.detect_settings import DetectSettings

if TYPE_CHECKING:
    from napari_covseg.workflows.detect import DetectFileResult


def add_parser(subparsers: Any) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "detect",
        help="find lesions one by one; write boxes, scores and masks",
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
    metavars = {"model": "NAME|DIR", "device": "auto|cpu|cuda[:N]|mps", "score": "S"}
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
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Find lesions in every input; the exit code is the worst of them."""
    settings = DetectSettings(args.model, args.device, args.score)
    window_of(args)  # Complains before anything is read.

    from napari_covseg.models.detector_files import find_detector
    from napari_covseg.models.device import choose_device

    choose_device(settings.device)
    find_detector(settings.model)
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
