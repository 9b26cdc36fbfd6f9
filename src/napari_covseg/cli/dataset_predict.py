"""``covseg dataset predict``: the live model's labels and its uncertainty, for the queue."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.author import author_of
from napari_covseg.cli.output import complain, exit_code, one_line, print_json, progress_bars
from napari_covseg.workflows.segment_settings import FLIPS

if TYPE_CHECKING:
    from napari_covseg.workflows.dataset_predict import Predicted

TEXT = "Predict labels where nobody has drawn any, and find out where the model is unsure"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of its own."""
    parser.add_argument(
        "--case",
        action="append",
        default=[],
        metavar="NAME",
        help="a case; may be given several times (default: all that wait to be annotated)",
    )
    parser.add_argument(
        "--model",
        metavar="HASH",
        help="the model to use (default: the live model, else the shipped one)",
    )
    parser.add_argument(
        "--device",
        default="auto",
        metavar="auto|cpu|cuda[:N]|mps",
        help="auto (the best there is), cpu, cuda, cuda:N or mps (default auto)",
    )
    parser.add_argument(
        "--flips",
        default="left-right",
        choices=FLIPS,
        help="mirrored views to average (default left-right)",
    )
    parser.add_argument(
        "--no-uncertainty",
        action="store_true",
        help="labels only: the queue then has nothing to go by",
    )


def run(args: argparse.Namespace) -> int:
    """Predict; the exit code is the worst of the cases'."""
    from napari_covseg.domain.progress import run_to_end
    from napari_covseg.workflows.dataset_predict import PredictRequest, predict_cases

    request = PredictRequest(
        store=Path(args.store),
        author=author_of(args),
        cases=tuple(args.case),
        model=args.model,
        device=args.device,
        uncertainty=not args.no_uncertainty,
        flips=args.flips,
    )
    with progress_bars() as start:
        found = run_to_end(predict_cases(request), start("predict"))
    failed = [one for one in found.cases if one.error is not None]
    for one in failed:
        complain(f"covseg: {one.case}: {_said(one)}")
    if args.json:
        errors = [{"case": one.case, "error": _said(one)} for one in failed]
        cases = [_case(one) for one in found.cases if one.error is None]
        print_json({"model": found.model, "cases": cases, "errors": errors})
    else:
        for one in found.cases:
            if one.error is None:
                print(_line(one))
    return max((exit_code(one.error) for one in failed if one.error is not None), default=0)


def _said(one: Predicted) -> str:
    assert one.error is not None
    return one_line(one.error).removeprefix(f"{one.case}: ")


def _line(one: Predicted) -> str:
    if not one.done:
        return f"{one.case}: nothing left to do"
    parts = [f"version {one.version} is the prediction"] if one.version is not None else []
    if one.score is not None:
        parts.append(f"{one.score.value:.1f} ml uncertain")
        if one.score.slice is not None:
            parts.append(f"most in slice {one.score.slice}")
    return f"{one.case}: {', '.join(parts)}"


def _case(one: Predicted) -> dict[str, Any]:
    score = one.score
    return {
        "case": one.case,
        "version": one.version,
        "score": None if score is None else score.value,
        "slice": None if score is None else score.slice,
        **({} if score is None else dict(score.detail)),
        "warnings": list(one.warnings),
    }
