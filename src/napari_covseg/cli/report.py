"""``covseg report``: the report of one case or many, as HTML, PDF, CSV, JSON and plain text."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.jobs import CaseNames, Job, jobs_of
from napari_covseg.cli.lobes import add_lobes, lobes_from
from napari_covseg.cli.output import (
    ProgressBars,
    complain,
    exit_code,
    format_percent,
    one_line,
    print_json,
    progress_bars,
)
from napari_covseg.cli.reading import LABEL_MAP, add_window, label_map_of, window_of
from napari_covseg.cli.report_agreement import tell_agreement
from napari_covseg.cli.report_reader import OF_ONE_CASE, add_reader, reading_from
from napari_covseg.cli.segment import add_settings, settings_from
from napari_covseg.domain.errors import UsageError
from napari_covseg.domain.progress import Progress, run_to_end
from napari_covseg.workflows.report_request import FORMATS, ReportRequest

if TYPE_CHECKING:
    from napari_covseg.workflows.report import Reported


def add_parser(subparsers: Any) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "report",
        help="write a report with scores, volumes and pictures: HTML, PDF, CSV, JSON, text",
        description="Write DIR/<case>_report.html and so on for every input, and DIR/cases.csv "
        "with a row for each. Without --labels a CT is segmented first, and its labels are kept in "
        "DIR too. Research use only.",
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="DICOM folder, zip or file; .nii[.gz]; .nrrd; .mha/.mhd; a folder of such files",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the reports")
    parser.add_argument(
        "--labels",
        metavar="FILE|DIR",
        help="the label map, or a folder with <case>_labels.nii.gz for each case",
    )
    parser.add_argument(
        "--format",
        default=",".join(FORMATS),
        metavar="NAME,...",
        help=f"some of {','.join(FORMATS)} (default all)",
    )
    add_reader(parser)
    parser.add_argument(
        "--with-identifiers",
        action="store_true",
        help="put the patient's name, ID, birth date and the study date into the report (DICOM); "
        "--json prints them too",
    )
    parser.add_argument(
        "--classification",
        metavar="FILE.json|DIR",
        help="what covseg classify said of the CT (<case>.json, or the folder with one of each "
        "case): a section of its own, with the heat map beside it; research, not a diagnosis",
    )
    add_lobes(parser, "the")
    parser.add_argument(
        "--label-map",
        metavar=LABEL_MAP,
        help="what the numbers in the label file mean, such as lung=1,infection=2",
    )
    parser.add_argument("--series", metavar="UID", help="the DICOM series to take")
    add_window(parser)
    add_settings(parser)
    parser.add_argument("--json", action="store_true", help="print the results as JSON only")
    parser.set_defaults(func=run)


@dataclass(frozen=True)
class _Outcome:
    """What came of an input."""

    path: Path
    row: Mapping[str, Any]
    entry: Mapping[str, Any] | None = None
    error: Exception | None = None


def run(args: argparse.Namespace) -> int:
    """Report on every input; the exit code is the worst of them."""
    request = _request(args)
    names = CaseNames()
    jobs = jobs_of(args.inputs, names)
    given = [
        f"--{name.replace('_', '-')}" for name in OF_ONE_CASE if getattr(args, name) is not None
    ]
    given += ["--lobes"] if request.lobes.file is not None else []
    if len(jobs) > 1 and given:
        raise UsageError(f"{given[0]} is of one case, but there are {len(jobs)} inputs")
    if len(jobs) > 1 and request.labels is not None and request.labels.is_file():
        raise UsageError(f"--labels is one file, but there are {len(jobs)} inputs; name a folder")
    if len(jobs) > 1 and request.classification is not None and request.classification.is_file():
        raise UsageError(
            f"--classification is one file, but there are {len(jobs)} inputs; name a folder"
        )
    outcomes = _run_all(jobs, names, args, request)
    agreed: Mapping[str, Any] = {}
    if args.scores:
        rows = [one.row for one in outcomes]
        agreed = tell_agreement(rows, args.known_scores, Path(args.output), quiet=args.json)
    failed = [one for one in outcomes if one.error is not None]
    if args.json:
        print_json(
            {
                "results": [one.entry for one in outcomes if one.entry is not None],
                **({"agreement": agreed} if args.scores else {}),
                "errors": [
                    {
                        "input": str(one.path),
                        "error": one_line(one.error),
                        "exit_code": exit_code(one.error),
                    }
                    for one in failed
                    if one.error is not None
                ],
            }
        )
    return max((exit_code(one.error) for one in failed if one.error is not None), default=0)


def _request(args: argparse.Namespace) -> ReportRequest:
    from napari_covseg.workflows.report_agreement import read_scores

    labels = Path(args.labels) if args.labels else None
    if labels is None:
        _check_model(args)
    if args.scores and args.score:
        raise UsageError("--score and --scores: give one of them")
    args.known_scores = read_scores(Path(args.scores)) if args.scores else {}
    formats = [name.strip().lower() for name in args.format.split(",") if name.strip()]
    return ReportRequest(
        formats=tuple(dict.fromkeys(formats)),
        labels=labels,
        lobes=lobes_from(args),
        series=args.series,
        window=window_of(args),
        label_map=label_map_of(args.label_map),
        with_identifiers=args.with_identifiers,
        segment=settings_from(args),
        reading=reading_from(args),
        scores=args.known_scores,
        classification=Path(args.classification) if args.classification else None,
    )


def _check_model(args: argparse.Namespace) -> None:
    """Fail before reading anything if every input would fail the same way."""
    from napari_covseg.models.device import choose_device
    from napari_covseg.models.zoo import load

    choose_device(args.device)
    load(args.model)


def _run_all(
    jobs: list[Job], names: CaseNames, args: argparse.Namespace, request: ReportRequest
) -> list[_Outcome]:
    from napari_covseg.workflows.report_cases import write_cases

    outcomes: list[_Outcome] = []
    with progress_bars() as bars:
        overall = bars("all cases") if len(jobs) > 1 else None
        for job in jobs:
            if overall is not None:
                overall(Progress(len(outcomes), len(jobs), f"{len(outcomes)} of {len(jobs)}"))
            outcomes.append(_run_one(job, names, args, request, bars))
            if "csv" in request.formats and Path(args.output).is_dir():
                # After every case, so that what is stopped leaves what was done.
                write_cases([one.row for one in outcomes], Path(args.output))
    return outcomes


def _run_one(
    job: Job,
    names: CaseNames,
    args: argparse.Namespace,
    request: ReportRequest,
    bars: ProgressBars,
) -> _Outcome:
    from napari_covseg.workflows.report_cases import case_row

    try:
        done = _report(job, names, args, request, bars)
    except Exception as problem:
        error, line = problem, one_line(problem)
        bars.aside(lambda: complain(f"covseg: {line}"))
        return _Outcome(job.path, {"case": job.case or job.path.name, "error": line}, error=error)
    if not args.json:
        bars.aside(lambda: _print_result(job, done))
    # The content itself is not kept: the slices of many cases would fill the memory.
    entry = {
        "input": str(job.path),
        "paths": [str(path) for path in done.paths],
        **done.content.to_json(),
    }
    return _Outcome(job.path, case_row(done.content), entry)


def _report(
    job: Job,
    names: CaseNames,
    args: argparse.Namespace,
    request: ReportRequest,
    bars: ProgressBars,
) -> Reported:
    from napari_covseg.workflows.report import report_file

    if job.error is not None:
        raise job.error
    report = bars(job.path.name)
    steps = report_file(
        job.path, Path(args.output), request, lambda name: job.case or names.claim(name)
    )
    try:
        return run_to_end(steps, report)
    finally:
        steps.close()
        report(Progress(1, 1, "done"))


def _print_result(job: Job, done: Reported) -> None:
    print(f"{job.path.name}: {', '.join(str(path) for path in done.paths)}")
    content = done.content
    both = content.result.parts.get("both")
    if both is not None:
        shares = (
            f"lesions {format_percent(both.lesions.percent)} %",
            f"GGO {format_percent(both.ggo.percent)} %",
            f"consolidation {format_percent(both.consolidation.percent)} %",
        )
        scores = [
            f"{score.title} {score.value}/{score.maximum}"
            for score in content.result.scores.values()
            if score.value is not None
        ]
        print("; ".join((*shares, *scores)))
    opinion = content.result.second_opinion
    disagreements = opinion.disagreements if opinion is not None else ()
    for warning in (*content.warnings, *disagreements):
        print(f"warning: {warning}")
    print(flush=True)
