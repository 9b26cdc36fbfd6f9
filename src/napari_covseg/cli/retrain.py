"""``covseg retrain``: a new model from a store's accepted labels, live only if it is better."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.author import add_author, author_of
from napari_covseg.cli.gate_table import decision_text
from napari_covseg.cli.long_work import run_stoppable
from napari_covseg.cli.output import complain, print_json

if TYPE_CHECKING:
    from napari_covseg.workflows.retrain_request import RetrainResult


def add_parser(subparsers: Any) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "retrain",
        help="train the live model of a case store further, and let the gate decide",
        description="Train on the accepted labels of a case store, from its live model; measure "
        "old and new on patients that neither trained on; the new one goes live only if it is "
        "better overall and in no class worse than a margin.",
    )
    parser.add_argument("store", metavar="STORE", help="folder of the case store")
    parser.add_argument(
        "--from",
        dest="start",
        choices=("live", "shipped"),
        default="live",
        help="model to start from (default live)",
    )
    parser.add_argument(
        "--replay", metavar="DATA", help="nnU-Net data to train on too, against forgetting"
    )
    parser.add_argument(
        "--replay-share",
        type=float,
        default=0.5,
        metavar="S",
        help="how often batches come from there (default 0.5)",
    )
    parser.add_argument(
        "--distillation",
        type=float,
        default=1.0,
        metavar="W",
        help="weight of staying with the old model on cases without labels, against forgetting; 0 "
        "for none (default 1)",
    )
    parser.add_argument(
        "--distillation-share",
        type=float,
        default=0.25,
        metavar="S",
        help="how often batches come from those (default 0.25)",
    )
    parser.add_argument(
        "--share",
        type=float,
        metavar="S",
        help="of the new weights in the average with the old ones (default: chosen on validation "
        "patients, else 0.75)",
    )
    parser.add_argument("--minutes", type=float, metavar="M", help="time for each training")
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change a setting of the training, as in covseg train; repeatable",
    )
    add_margins(parser)
    parser.add_argument("--no-promote", action="store_true", help="only say what the gate says")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of every random choice")
    parser.add_argument(
        "--device", default="auto", metavar="auto|cpu|cuda[:N]|mps", help="default auto"
    )
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with the one interrupted")
    again.add_argument("--discard", action="store_true", help="give up the one interrupted")
    add_author(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON only")
    parser.set_defaults(func=run)


def add_margins(parser: argparse.ArgumentParser) -> None:
    """What the gate allows; the names are those of `GateRule`'s fields."""
    parser.add_argument(
        "--dice-margin",
        type=float,
        metavar="D",
        help="a class's Dice may fall by less than this (default 0.05)",
    )
    parser.add_argument(
        "--volume-margin-percent",
        type=float,
        metavar="P",
        help="a class's volume error may rise by less than this share of its volume (default 10)",
    )
    parser.add_argument(
        "--volume-margin-ml",
        type=float,
        metavar="ML",
        help="or by less than this, whichever is more (default 10)",
    )


def margins_of(args: argparse.Namespace) -> Any:
    """`GateRule` with the margins asked for.

    Raises
    ------
    UsageError
        If one is no number of 0 or more.
    """
    from napari_covseg.cases.gate import GateRule

    names = ("dice_margin", "volume_margin_percent", "volume_margin_ml")
    said = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return GateRule(**said)


def run(args: argparse.Namespace) -> int:
    """Retrain."""
    from napari_covseg.workflows.retrain import retrain
    from napari_covseg.workflows.retrain_request import RetrainRequest

    minutes = [] if args.minutes is None else [f"minutes={args.minutes}"]
    request = RetrainRequest(
        store=Path(args.store),
        author=author_of(args),
        start=args.start,
        settings=(*args.settings, *minutes),
        replay=Path(args.replay) if args.replay else None,
        replay_share=args.replay_share,
        distillation=args.distillation,
        distillation_share=args.distillation_share,
        share=args.share,
        device=args.device,
        seed=args.seed,
        rule=margins_of(args),
        promote=not args.no_promote,
        resume=args.resume,
        discard=args.discard,
    )
    steps = retrain(request)
    result = run_stoppable(steps, "cancelled: go on with --resume")
    if args.json:
        print_json(result.to_dict())
    else:
        _print(result)
    return 0


def _print(result: RetrainResult) -> None:
    print(decision_text(result.decision))
    for warning in result.warnings:
        complain(f"warning: {warning}")
    state = "live now" if result.promoted else "kept, not live"
    others = f" and {result.unlabelled_cases} without labels" if result.unlabelled_cases else ""
    print(
        f"{result.name} ({result.model[:8]}): {state}; {result.training_cases} cases{others}, "
        f"{result.share:.0%} of the new weights, {result.seconds / 60:.1f} min"
    )
