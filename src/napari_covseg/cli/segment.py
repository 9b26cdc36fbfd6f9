"""``covseg segment``: label maps and volumes for one or many CTs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.jobs import Job
from napari_covseg.cli.output import complain, exit_code, one_line, print_json, volumes_table
from napari_covseg.cli.reading import add_window, window_of
from napari_covseg.cli.scoring import aligned
from napari_covseg.cli.segment_run import (
    Outcome,
    Plan,
    failures,
    run_here,
    run_on_cluster,
    table_rows,
)
from napari_covseg.workflows.segment_settings import SegmentSettings

if TYPE_CHECKING:
    from napari_covseg.workflows.segment_many import CaseDone, CaseRequest


def add_parser(subparsers: Any) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "segment",
        help="segment lungs, GGO and consolidation; write label maps and volumes",
        description="Write DIR/<case>_labels.nii.gz and DIR/<case>.json for every input. What an "
        "earlier run has done is not done again, so the same command goes on where it stopped.",
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
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS|local",
        help="work on a Dask cluster, such as tcp://host:8786; inputs, results and models must lie "
        "on a share that its machines see at the same place; local: N processes here",
    )
    parser.add_argument(
        "--again", action="store_true", help="segment also what an earlier run has done"
    )
    parser.add_argument(
        "--table", metavar="FILE", help="also write one row a case, as .csv or .parquet"
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


def run(args: argparse.Namespace) -> int:
    """Segment every input; the exit code is the worst of them."""
    settings = settings_from(args)
    window_of(args)  # Complains before anything is read.
    table = Path(args.table) if args.table else None
    if table is not None:
        from napari_covseg.workflows.segment_table import check_table

        check_table(table)
    plan = _plan(args, settings)
    outcomes = run_on_cluster(plan, args.scheduler) if args.scheduler else run_here(plan)
    if table is not None:
        from napari_covseg.workflows.segment_table import write_table

        write_table(table_rows(outcomes), table)
    failed = [o for o in outcomes if o.error is not None]
    codes = [exit_code(o.error) for o in failed if o.error is not None]
    if args.json:
        _print_json(outcomes)
    elif len(outcomes) > 1:
        _print_end(outcomes)
    return max(codes, default=0)


def _plan(args: argparse.Namespace, settings: SegmentSettings) -> Plan:
    """What is to be done; fails before reading anything if every input would fail the same way."""
    from napari_covseg.models.device import choose_device
    from napari_covseg.models.zoo import available
    from napari_covseg.workflows.segment_cluster import LOCAL
    from napari_covseg.workflows.segment_many import CaseRequest, loaded_model_key

    # The machines of a cluster have devices of their own, and a current folder of their own.
    here = args.scheduler in (None, LOCAL)
    device_kind = choose_device(settings.device).kind if here else "cpu"
    model, output = loaded_model_key(settings.model), Path(args.output)
    if args.scheduler:
        output = output.absolute()
        if settings.model not in available():
            settings = replace(settings, model=str(Path(settings.model).absolute()))
    request: CaseRequest = CaseRequest(
        path=Path(),
        output=output,
        settings=settings,
        model=model,
        series=args.series,
        window=window_of(args),
        uncertainty=args.uncertainty,
        likelihood=args.ranges,
        again=args.again,
    )
    tell = partial(_tell, as_json=args.json)
    return Plan(args.inputs, request, args.jobs, device_kind, tell)


def _tell(outcome: Outcome, as_json: bool) -> None:
    """Show what came of an input, when it is there."""
    if outcome.error is not None:
        complain(f"covseg: {one_line(outcome.error)}")
    elif outcome.done is not None and not as_json:
        _print_result(outcome.job, outcome.done)


def _print_json(outcomes: list[Outcome]) -> None:
    errors = [
        {"input": str(o.job.path), "error": one_line(o.error), "exit_code": exit_code(o.error)}
        for o in outcomes
        if o.error is not None
    ]
    results = [_as_json(o.job, o.done) for o in outcomes if o.done is not None]
    print_json({"results": results, "errors": errors})


def _print_end(outcomes: list[Outcome]) -> None:
    """How many were done, and a table of those that were not."""
    before = sum(o.done is not None and o.done.before for o in outcomes)
    failed = sum(o.error is not None for o in outcomes)
    complain(
        f"{len(outcomes)} inputs: {len(outcomes) - before - failed} segmented, "
        f"{before} done before, {failed} failed"
    )
    if failed:
        complain(failures(outcomes))


def _print_result(job: Job, done: CaseDone) -> None:
    from napari_covseg.quantify.volumes import Measurements

    before = "done before: " if done.before else ""
    print(f"{job.path.name}: {before}{done.labels_path}, {done.json_path}", flush=True)
    if done.before:
        return
    print(volumes_table(Measurements.from_dict(done.report["measurements"])))
    ranges = done.report.get("likely_ranges")
    if ranges:
        print(_ranges_table(ranges))
    for warning in done.report["warnings"]:
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


def _as_json(job: Job, done: CaseDone) -> dict[str, Any]:
    return {
        "input": str(job.path),
        "labels_path": str(done.labels_path),
        "json_path": str(done.json_path),
        "done_before": done.before,
        **done.report,
    }
