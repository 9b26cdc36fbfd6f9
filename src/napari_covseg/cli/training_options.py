"""Options that trainings share, and the list of what can be set."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from napari_covseg.cli.reading import add_label_map, add_window
from napari_covseg.models.networks import NETWORKS
from napari_covseg.training.schedules import PRESETS, Preset, find_preset, settings_help

DATA = "an nnU-Net v2 raw dataset, or a folder of several"
SPLITS = "splits.json"


def add_reading(parser: argparse.ArgumentParser) -> None:
    """How DATA is read."""
    parser.add_argument(
        "--patients",
        metavar="FILE.csv",
        help="columns case and patient (default: cases.csv in DATA or above; without it every case "
        "counts as a patient of its own)",
    )
    add_label_map(parser)
    add_window(parser)
    parser.add_argument(
        "--cache",
        metavar="FOLDER",
        help="for prepared cases, which trainings may share (default DIR/cache)",
    )


def add_settings(parser: argparse.ArgumentParser, minutes: str) -> None:
    """How it is trained; ``minutes`` says what that option does."""
    add_changes(parser, PRESETS, "fast", "batch=4 or patch=64,64", minutes)


def add_changes(
    parser: argparse.ArgumentParser,
    presets: Iterable[str],
    default: str,
    example: str,
    minutes: str = "train for so long at most",
) -> None:
    """A preset and what changes it; ``example`` is of ``--set``."""
    parser.add_argument(
        "--preset",
        default=default,
        metavar="NAME",
        help=f"{' or '.join(presets)} (default {default})",
    )
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help=f"change a setting of the preset, such as {example}; repeatable",
    )
    parser.add_argument("--minutes", type=float, metavar="M", help=minutes)
    parser.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="of every random choice but the folds, which stay the same (default 0)",
    )


def add_device(parser: argparse.ArgumentParser, what: str = "training") -> None:
    """Where it is trained, whether what is there goes on, and how the result is told."""
    parser.add_argument(
        "--device",
        default="auto",
        metavar="auto|cpu|cuda[:N]|mps",
        help="where to train; auto: CUDA, Apple graphics or the CPU (default auto)",
    )
    parser.add_argument(
        "--resume", action="store_true", help=f"go on with the {what} that DIR holds, if any"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON only")


def add_splits(parser: argparse.ArgumentParser) -> None:
    """Where folds are kept."""
    parser.add_argument(
        "--splits",
        metavar="FILE",
        help=f"where folds are kept once drawn (default DIR/{SPLITS})",
    )


def what_can_be_set() -> str:
    """Settings and networks, a line for each."""
    networks = (f"  {one.name}: {one.description}" for one in NETWORKS.values())
    return (
        f"settings (--set FIELD=VALUE), with their values in the presets:\n{settings_help()}\n\n"
        + "networks (--set network=NAME):\n"
        + "\n".join(networks)
    )


def preset_from(args: argparse.Namespace) -> Preset:
    """The preset with what the flags change.

    Raises
    ------
    UsageError
        If there is no such preset or a setting cannot be used.
    """
    return find_preset(args.preset).with_settings(changes_from(args))


def changes_from(args: argparse.Namespace) -> list[str]:
    """What `add_changes` took, as ``FIELD=VALUE``."""
    settings = list(args.settings)
    settings += [f"minutes={args.minutes}"] if args.minutes is not None else []
    settings += [f"seed={args.seed}"] if args.seed is not None else []
    return settings
