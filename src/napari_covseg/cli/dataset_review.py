"""Readers' decisions on the command line: accept, send back, flag, comment; take and give back."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.author import author_of
from napari_covseg.cli.dataset_index import add_hours, minutes_of
from napari_covseg.cli.output import print_json
from napari_covseg.domain.errors import InputError, UsageError

if TYPE_CHECKING:
    from napari_covseg.cases.records import LabelVersion, Review
    from napari_covseg.cases.store import CaseStore

_DIFFICULTIES = ("easy", "medium", "hard")

Run = Callable[[argparse.Namespace], int]
NewVerb = Callable[[str, str, Run], argparse.ArgumentParser]
"""Makes a verb on a store from its name, its help and what it does."""
End = Callable[[argparse.ArgumentParser], None]
"""Adds the options that stand last."""


def add_verbs(new: NewVerb, end: End) -> None:
    """Add the verbs."""
    for add in (_accept, _send_back, _flag, _unflag, _comment, _claim, _release):
        end(add(new))


def _accept(new: NewVerb) -> argparse.ArgumentParser:
    text = "Accept a label version: it becomes the case's training labels"
    parser = _on_case(new("accept", text, run_accept))
    parser.add_argument(
        "--version",
        type=int,
        metavar="N",
        help="the version's number (default: the newest that a person finished)",
    )
    parser.add_argument(
        "--whole",
        action="store_true",
        help="you checked every slice, also those not marked as reviewed",
    )
    parser.add_argument(
        "--instead-of",
        metavar="N,...",
        help="numbers of other readers' versions that are set aside by this",
    )
    _says(parser)
    return parser


def _send_back(new: NewVerb) -> argparse.ArgumentParser:
    text = "Return a case to its annotator; its labels are no training labels any more"
    parser = _on_case(new("send-back", text, run_send_back))
    parser.add_argument("--comment", required=True, metavar="TEXT", help="what is to be done")
    return parser


def _flag(new: NewVerb) -> argparse.ArgumentParser:
    text = "Mark a case that needs someone else's eye; it is not handed out until it is unflagged"
    parser = _on_case(new("flag", text, run_flag))
    parser.add_argument("--comment", required=True, metavar="TEXT", help="why")
    return parser


def _unflag(new: NewVerb) -> argparse.ArgumentParser:
    text = "Take a flag away; the case stands again where its versions say"
    parser = _on_case(new("unflag", text, run_unflag))
    parser.add_argument("--comment", default="", metavar="TEXT", help="what came of it")
    return parser


def _comment(new: NewVerb) -> argparse.ArgumentParser:
    text = "Say something about a case, or how hard it is; nothing else changes"
    parser = _on_case(new("comment", text, run_comment))
    parser.add_argument("text", nargs="?", default="", metavar="TEXT", help="what to say")
    _difficulty(parser)
    return parser


def _claim(new: NewVerb) -> argparse.ArgumentParser:
    text = "Take a case into work by name, and keep others from taking it for a while"
    parser = _on_case(new("claim", text, run_claim))
    add_hours(parser)
    return parser


def _release(new: NewVerb) -> argparse.ArgumentParser:
    return _on_case(new("release", "Give a case back that you had taken into work", run_release))


def _on_case(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("case", metavar="CASE", help="name of the case")
    return parser


def _says(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--comment", default="", metavar="TEXT", help="what to say about it")
    _difficulty(parser)


def _difficulty(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--difficulty", choices=_DIFFICULTIES, help="how hard the case is to annotate"
    )


def run_accept(args: argparse.Namespace) -> int:
    """Accept a version."""
    store, reader = _open(args), author_of(args)
    version = _version(store, args.case, args.version)
    review = store.accept(
        version.id,
        reader=reader,
        whole=args.whole,
        instead_of=_ids(store, args.case, args.instead_of),
        comment=args.comment,
        difficulty=_judged(args),
    )
    slices = len(store.case(args.case).accepted_slices)
    return _tell(args, store, review, f"version {version.number} is accepted, {slices} slices")


def run_send_back(args: argparse.Namespace) -> int:
    """Return a case."""
    store, reader = _open(args), author_of(args)
    review = store.send_back(args.case, reader=reader, comment=args.comment)
    return _tell(args, store, review, "sent back")


def run_flag(args: argparse.Namespace) -> int:
    """Flag a case."""
    store, reader = _open(args), author_of(args)
    return _tell(
        args, store, store.flag(args.case, reader=reader, comment=args.comment), "is flagged"
    )


def run_unflag(args: argparse.Namespace) -> int:
    """Take a flag away."""
    store, reader = _open(args), author_of(args)
    review = store.unflag(args.case, reader=reader, comment=args.comment)
    return _tell(args, store, review, f"no flag; {store.case(args.case).state}")


def run_comment(args: argparse.Namespace) -> int:
    """Say something about a case."""
    if not args.text.strip() and args.difficulty is None:
        raise UsageError("say something: TEXT, --difficulty, or both")
    store, reader = _open(args), author_of(args)
    review = store.comment(args.case, reader=reader, comment=args.text, difficulty=_judged(args))
    return _tell(args, store, review, "noted")


def run_claim(args: argparse.Namespace) -> int:
    """Take a case into work."""
    store, reader = _open(args), author_of(args)
    store.claim(args.case, reader, minutes=minutes_of(args))
    return _tell(args, store, None, f"in work by {reader}")


def run_release(args: argparse.Namespace) -> int:
    """Give a case back; one that another has is theirs to give."""
    store, reader = _open(args), author_of(args)
    holder = store.case(args.case).claimed_by
    if holder and holder != reader:
        raise InputError(f"{args.case}: {holder} has it in work, and only they can give it back")
    store.release(args.case, reader)
    return _tell(args, store, None, "given back")


def _open(args: argparse.Namespace) -> CaseStore:
    from napari_covseg.cases.store import CaseStore

    return CaseStore.open(Path(args.store))


def _version(store: CaseStore, case: str, number: int | None) -> LabelVersion:
    """The version of that number, or the newest that is neither a prediction nor a draft."""
    from napari_covseg.cases.records import Kind
    from napari_covseg.workflows.dataset_export import find_version

    if number is not None:
        return find_version(store, case, number)
    for one in reversed(store.history(case, drafts=False)):
        if one.kind is not Kind.PREDICTION and not one.set_aside:
            return one
    raise InputError(
        f"{case}: no person has finished a version yet; to accept a prediction as it is, name it "
        "with --version and --whole"
    )


def _ids(store: CaseStore, case: str, told: str | None) -> list[str]:
    from napari_covseg.workflows.dataset_export import find_version

    if told is None:
        return []
    try:
        numbers = [int(number) for number in told.split(",")]
    except ValueError:
        raise UsageError(f"--instead-of {told}: expected numbers, such as 3,4") from None
    return [find_version(store, case, number).id for number in numbers]


def _judged(args: argparse.Namespace) -> Any:
    from napari_covseg.cases.records import Difficulty

    return None if args.difficulty is None else Difficulty(args.difficulty)


def _tell(args: argparse.Namespace, store: CaseStore, review: Review | None, text: str) -> int:
    if not args.json:
        print(f"{args.case}: {text}")
        return 0
    case = store.case(args.case)
    print_json(
        {
            "case": case.name,
            "state": case.state,
            "accepted": case.accepted,
            "accepted_slices": len(case.accepted_slices),
            "claimed_by": case.claimed_by,
            "comment": case.comment,
            "difficulty": case.difficulty,
            "decision": None if review is None else review.decision,
        }
    )
    return 0
