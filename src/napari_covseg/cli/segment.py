"""``covseg segment``: label maps and volumes for one or many CTs."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.jobs import CaseNames, Job, jobs_of
from napari_covseg.cli.output import (
    ProgressBars,
    complain,
    exit_code,
    one_line,
    print_json,
    progress_bars,
    volumes_table,
)
from napari_covseg.cli.reading import add_window, window_of
from napari_covseg.cli.scoring import aligned
from napari_covseg.domain.errors import Cancelled
from napari_covseg.domain.progress import Progress, run_to_end
from napari_covseg.workflows.segment_settings import SegmentSettings

if TYPE_CHECKING:
    from napari_covseg.workflows.segment import SegmentFileResult


def add_parser(subparsers: Any) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "segment",
        help="segment lungs, GGO and consolidation; write label maps and volumes",
        description="Write DIR/<case>_labels.nii.gz and DIR/<case>.json for every input.",
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="DICOM folder, zip or file; .nii[.gz]; .nrrd; .mha/.mhd; a folder of such files",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the results")
    add_settings(parser)
    parser.add_argument(
        "--uncertainty",
        action="store_true",
        help="also write DIR/<case>_uncertainty.nii.gz: how unsure the model is, 0 to 1; mirrored "
        "views (--flips) make it tell more",
    )
    parser.add_argument(
        "--ranges",
        action="store_true",
        help="also say in which range each percentage likely lies, and write what it rests on: "
        "DIR/<case>_lesion_probability.nii.gz and DIR/<case>_consolidation_probability.nii.gz",
    )
    parser.add_argument("--series", metavar="UID", help="the DICOM series to take")
    add_window(parser)
    parser.add_argument(
        "--jobs", type=_positive, default=1, metavar="N", help="inputs at once (default 1)"
    )
    parser.add_argument("--json", action="store_true", help="print the results as JSON only")
    parser.set_defaults(func=run)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Flags from the fields of `SegmentSettings`."""
    metavars = {"model": "NAME|DIR", "device": "auto|cpu|cuda[:N]|mps"}
    for one in fields(SegmentSettings):
        choices = one.metadata.get("choices")
        parser.add_argument(
            f"--{one.name}",
            default=one.default,
            choices=choices,
            metavar=metavars.get(one.name),
            help=f"{one.metadata['help']} (default {one.default})",
        )


def settings_from(args: argparse.Namespace) -> SegmentSettings:
    """The settings that the flags say."""
    return SegmentSettings(**{one.name: getattr(args, one.name) for one in fields(SegmentSettings)})


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, got {text}")
    return value


@dataclass(frozen=True)
class _Outcome:
    """What came of an input: its entry in the JSON, or its error. Holds no volume."""

    path: Path
    entry: dict[str, Any] | None = None
    error: BaseException | None = None


def run(args: argparse.Namespace) -> int:
    """Segment every input; the exit code is the worst of them."""
    settings = settings_from(args)
    window_of(args)  # Complains before anything is read.
    _check_model_and_device(settings)
    names = CaseNames()
    outcomes = _run_all(jobs_of(args.inputs, names), names, args, settings)
    failed = [(o.path, o.error) for o in outcomes if o.error is not None]
    if args.json:
        errors = [
            {"input": str(path), "error": one_line(error), "exit_code": exit_code(error)}
            for path, error in failed
        ]
        print_json({"results": [o.entry for o in outcomes if o.entry], "errors": errors})
    return max((exit_code(error) for _, error in failed), default=0)


def _check_model_and_device(settings: SegmentSettings) -> None:
    """Fail before reading anything if every input would fail the same way."""
    from napari_covseg.models.device import choose_device
    from napari_covseg.models.zoo import load

    choose_device(settings.device)
    load(settings.model)


def _run_all(
    jobs: list[Job], names: CaseNames, args: argparse.Namespace, settings: SegmentSettings
) -> list[_Outcome]:
    stop = threading.Event()
    with progress_bars() as bars:

        def work(job: Job) -> _Outcome:
            try:
                if job.error is not None:
                    raise job.error
                done = _run_one(job, names, args, settings, bars, stop)
            except Exception as problem:
                error = problem
                if not stop.is_set():
                    bars.aside(lambda: complain(f"covseg: {one_line(error)}"))
                return _Outcome(job.path, error=error)
            if not args.json:
                bars.aside(lambda: _print_result(job, done))
            return _Outcome(job.path, entry=_as_json(job, done))

        if args.jobs == 1 or len(jobs) == 1:
            return [work(job) for job in jobs]
        with ThreadPoolExecutor(args.jobs) as pool:
            try:
                return list(pool.map(work, jobs))
            except BaseException:
                # Ctrl-C: the threads see this between their steps.
                stop.set()
                pool.shutdown(cancel_futures=True)
                raise


def _run_one(
    job: Job,
    names: CaseNames,
    args: argparse.Namespace,
    settings: SegmentSettings,
    bars: ProgressBars,
    stop: threading.Event,
) -> SegmentFileResult:
    from napari_covseg.workflows.segment import segment_file

    if stop.is_set():
        raise Cancelled("cancelled")
    report = bars(job.path.name)
    steps = segment_file(
        job.path,
        args.output,
        settings,
        series=args.series,
        window=window_of(args),
        name_case=lambda name: job.case or names.claim(name),
        uncertainty=args.uncertainty,
        likelihood=args.ranges,
    )

    def step(progress: Progress) -> None:
        if stop.is_set():
            raise Cancelled("cancelled")
        report(progress)

    try:
        return run_to_end(steps, step)
    finally:
        steps.close()
        report(Progress(1, 1, "done"))


def _print_result(job: Job, done: SegmentFileResult) -> None:
    print(f"{job.path.name}: {done.labels_path}, {done.json_path}")
    print(volumes_table(done.result.measurements))
    ranges = done.report.get("likely_ranges")
    if ranges:
        print(_ranges_table(ranges))
    for warning in done.result.warnings:
        print(f"warning: {warning}")
    print(flush=True)


def _ranges_table(ranges: Mapping[str, Mapping[str, tuple[float, float] | None]]) -> str:
    kinds = {"ggo": "GGO %", "consolidation": "Consolidation %", "lesions": "All lesions %"}
    rows = [("Likely range", *kinds.values())]
    for side, of_side in ranges.items():
        found = (of_side[f"{kind}_percent"] for kind in kinds)
        cells = ("-" if one is None else f"{one[0]:.1f} to {one[1]:.1f}" for one in found)
        rows.append((side.capitalize(), *cells))
    return aligned(rows)


def _as_json(job: Job, done: SegmentFileResult) -> dict[str, Any]:
    return {
        "input": str(job.path),
        "labels_path": str(done.labels_path),
        "json_path": str(done.json_path),
        **done.report,
    }
