"""``covseg classify``: what a classifier says of pictures and CTs, and how sure it is."""

from __future__ import annotations

import argparse
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.jobs import CaseNames
from napari_covseg.cli.long_work import stopping
from napari_covseg.cli.output import (
    complain,
    exit_code,
    one_line,
    print_json,
    progress_bars,
)
from napari_covseg.domain.errors import Cancelled
from napari_covseg.domain.progress import Progress, run_to_end
from napari_covseg.workflows.classify_settings import ClassifySettings

if TYPE_CHECKING:
    from napari_covseg.workflows.classify_files import ClassifiedFile


def add_parser(subparsers: Any) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "classify",
        help="classify chest X-rays, CT slices or CTs, with uncertainty; no diagnosis",
        description="Write DIR/<case>.json for every input and DIR/classification.csv for all.\n"
        "Not a diagnosis: research use only.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="PNG, JPEG, DICOM X-ray or slice; a CT as for segment; a folder of such files",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the results")
    add_settings(parser)
    parser.add_argument("--json", action="store_true", help="print the results as JSON only")
    parser.set_defaults(func=run)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Flags from the fields of `ClassifySettings`."""
    metavars = {"model": "NAME|DIR", "weights": "FILE", "device": "auto|cpu|cuda[:N]|mps"}
    for one in fields(ClassifySettings):
        if one.type == "bool":
            parser.add_argument(f"--{one.name}", action="store_true", help=one.metadata["help"])
            continue
        default = f" (default {one.default})" if one.default else ""
        parser.add_argument(
            f"--{one.name}",
            default=one.default,
            metavar=metavars[one.name],
            help=one.metadata["help"] + default,
        )


def run(args: argparse.Namespace) -> int:
    """Classify every input; the exit code is the worst of them."""
    settings = ClassifySettings(
        **{one.name: getattr(args, one.name) for one in fields(ClassifySettings)}
    )
    from napari_covseg.models.device import choose_device
    from napari_covseg.workflows.classify import find_sources, load_classifier
    from napari_covseg.workflows.classify_files import TABLE, append_row, classify_file
    from napari_covseg.workflows.segment import make_folder

    choose_device(settings.device)
    classifier = load_classifier(settings)
    sources = find_sources(args.inputs)
    output = Path(args.output)
    make_folder(output)
    (output / TABLE).unlink(missing_ok=True)
    names, entries, errors = CaseNames(), [], []
    with progress_bars() as bars, stopping() as stopped:
        for path in sources:
            report = bars(path.name)

            def show(step: Progress, report: Any = report) -> None:
                if stopped():
                    raise Cancelled("cancelled: what was classified is kept")
                report(step)

            try:
                done = run_to_end(
                    classify_file(path, output, classifier, settings, names.claim), show
                )
            except Cancelled:
                raise
            except Exception as error:
                errors.append((path, error))
                bars.aside(partial(complain, f"covseg: {one_line(error)}"))
                continue
            append_row(output / TABLE, done)
            report(Progress(1, 1, "done"))
            if args.json:
                entries.append({"case": done.case, **done.result.to_dict()})
            else:
                bars.aside(partial(print, _line(done)))
    if args.json:
        print_json({"results": entries, "errors": [_error(*one) for one in errors]})
    elif len(errors) < len(sources):
        print("Not a diagnosis. Research use only: not a medical device.")
    return max((exit_code(error) for _, error in errors), default=0)


def _line(done: ClassifiedFile) -> str:
    result = done.result
    chances = ", ".join(
        f"{name} {100 * chance:.0f} %"
        for name, chance in zip(result.classes, result.probabilities, strict=True)
    )
    from napari_covseg.workflows.classify import UNSURE

    return f"{done.case}: {chances}{f' ({UNSURE})' if result.unsure else ''}"


def _error(path: Path, error: BaseException) -> dict[str, Any]:
    return {"input": str(path), "error": one_line(error), "exit_code": exit_code(error)}
