"""``covseg dataset``: the case store, from the first scan to a dataset for nnU-Net."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

from napari_covseg.cli import dataset_consensus as consensus
from napari_covseg.cli import dataset_effort as effort
from napari_covseg.cli import dataset_index as index
from napari_covseg.cli import dataset_predict as predict
from napari_covseg.cli import dataset_review as review
from napari_covseg.cli import dataset_runs as runs
from napari_covseg.cli.author import add_author
from napari_covseg.cli.reading import LABEL_MAP, add_window

_STATES = ("new", "predicted", "in work", "corrected", "accepted", "flagged")
_ORDERS = ("score", "random", "first-come")


def add_parser(subparsers: Any) -> None:
    """Add the verb and its own verbs."""
    parser = subparsers.add_parser(
        "dataset",
        help="keep scans, label versions and reviews in a folder that is an nnU-Net dataset",
        description="A case store: a folder that is a valid nnU-Net v2 raw dataset and keeps every "
        "version of every label map with its author.",
    )
    verbs = parser.add_subparsers(dest="dataset_verb", metavar="VERB", required=True)
    _init(verbs)
    _add(verbs)
    _list(verbs)
    _predict(verbs)
    _next(verbs)
    _history(verbs)
    _restore(verbs)
    _consensus(verbs)
    review.add_verbs(partial(_verb, verbs), partial(_end, author=True))
    _effort(verbs)
    _verify(verbs)
    _export(verbs)
    _migrate_index(verbs)


def _verb(
    verbs: Any, name: str, text: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """A verb on a store."""
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=f"{text}.")
    parser.add_argument("store", metavar="STORE", help="folder of the case store")
    parser.set_defaults(func=run)
    return parser


def _end(parser: argparse.ArgumentParser, *, author: bool) -> None:
    """The options that stand last."""
    if author:
        add_author(parser)
    parser.add_argument("--json", action="store_true", help="print JSON only")


def _init(verbs: Any) -> None:
    parser = _verb(verbs, "init", "Make a new, empty case store", index.run_init)
    index.add_place(parser)
    _end(parser, author=True)


def _add(verbs: Any) -> None:
    text = "Add CTs, with labels where there are any; or a label file as a case's next version"
    parser = _verb(verbs, "add", text, runs.run_add)
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="CTs, folders of CTs, nnU-Net raw datasets; with --case one label file",
    )
    parser.add_argument(
        "--labels", metavar="PATH", help="label file of the one CT, or folder of label files"
    )
    parser.add_argument(
        "--label-map",
        metavar=LABEL_MAP,
        help="what the numbers of label files mean, such as lung=1,infection=2+3",
    )
    parser.add_argument(
        "--patients", metavar="FILE.csv", help="whose scans they are: columns case and patient"
    )
    parser.add_argument(
        "--accept", action="store_true", help="accept the labels as they are, at once"
    )
    parser.add_argument(
        "--keep-names",
        action="store_true",
        help="keep the files' names, if they say nothing about patients, instead of case_0001",
    )
    parser.add_argument("--series", metavar="UID", help="the DICOM series to take")
    add_window(parser)
    parser.add_argument(
        "--case", metavar="NAME", help="INPUT is a label file: save it as this case's next version"
    )
    parser.add_argument(
        "--reviewed",
        metavar="RANGES|all",
        help="for --case NAME: the slices that were checked, from 0 at the feet, such as 0-30,45",
    )
    parser.add_argument(
        "--minutes", type=float, default=0.0, metavar="N", help="for --case NAME: time it took"
    )
    _end(parser, author=True)


def _list(verbs: Any) -> None:
    parser = _verb(verbs, "list", "List the cases and how many are in each state", runs.run_list)
    parser.add_argument("--state", metavar="STATE", choices=_STATES, help="only cases in a state")
    parser.add_argument("--patient", metavar="NAME", help="only cases of a patient, by pseudonym")
    _end(parser, author=False)


def _predict(verbs: Any) -> None:
    parser = _verb(verbs, "predict", predict.TEXT, predict.run)
    predict.add_arguments(parser)
    _end(parser, author=True)


def _next(verbs: Any) -> None:
    text = "Take the next case into work, and keep others from taking it for a while"
    parser = _verb(verbs, "next", text, runs.run_next)
    parser.add_argument(
        "--order",
        default="score",
        choices=_ORDERS,
        help="by expected benefit (where covseg dataset predict found it), at random, or as they "
        "came (default score)",
    )
    parser.add_argument(
        "--model", metavar="HASH", help="the model whose scores count (default: the live model)"
    )
    parser.add_argument(
        "--review", action="store_true", help="for a second reader: what others have corrected"
    )
    index.add_hours(parser)
    parser.add_argument("--peek", action="store_true", help="only look, take nothing")
    _end(parser, author=True)


def _history(verbs: Any) -> None:
    parser = _verb(verbs, "history", "Show every label version of a case", runs.run_history)
    parser.add_argument("case", metavar="CASE", help="name of the case")
    _end(parser, author=False)


def _restore(verbs: Any) -> None:
    text = "Take up an old label version again, as a new one; nothing is overwritten"
    parser = _verb(verbs, "restore", text, runs.run_restore)
    parser.add_argument("case", metavar="CASE", help="name of the case")
    parser.add_argument("version", type=int, metavar="NUMBER", help="the version's number")
    _end(parser, author=True)


def _consensus(verbs: Any) -> None:
    parser = _verb(verbs, "consensus", consensus.TEXT, consensus.run)
    consensus.add_arguments(parser)
    _end(parser, author=True)


def _effort(verbs: Any) -> None:
    parser = _verb(verbs, "effort", effort.TEXT, effort.run)
    effort.add_arguments(parser)
    _end(parser, author=False)


def _verify(verbs: Any) -> None:
    text = "Check that every file is there and is what was saved; exits with 3 if not"
    parser = _verb(verbs, "verify", text, runs.run_verify)
    _end(parser, author=False)


def _migrate_index(verbs: Any) -> None:
    parser = _verb(verbs, "migrate-index", index.TEXT, index.run_migrate)
    index.add_target(parser)
    _end(parser, author=True)


def _export(verbs: Any) -> None:
    text = "Write an nnU-Net v2 raw dataset of the accepted cases, or one case's labels"
    parser = _verb(verbs, "export", text, runs.run_export)
    parser.add_argument(
        "--output",
        required=True,
        metavar="PATH",
        help="a new folder; with --case a file (.seg.nrrd for 3D Slicer, .nii.gz, .nrrd, .mha)",
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="also cases that are not accepted: to imagesTs, their newest labels to labelsTs",
    )
    parser.add_argument("--case", metavar="NAME", help="only the labels of this case")
    parser.add_argument(
        "--version",
        type=int,
        metavar="NUMBER",
        help="for --case NAME: a version (default: the accepted one, else the newest)",
    )
    _end(parser, author=False)
