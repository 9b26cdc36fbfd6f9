"""``covseg``: parse the command, run the verb, turn errors into one line and an exit code.

Only argparse and light modules are imported here and in the verbs' files, so that ``--help`` is
instant; a verb imports what it needs when it runs.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from napari_covseg.cli.output import complain, exit_code, one_line
from napari_covseg.cli.process import tune
from napari_covseg.domain.errors import Cancelled

VERBS = (
    *("segment", "report", "change", "export", "evaluate", "compare"),
    *("pretrain", "train", "crossval", "sweep"),
    *("classify", "classify_train", "detect", "detect_train", "mask_net_train"),
    *("dataset", "retrain", "models", "receive", "info", "demo"),
)


class _Version(argparse.Action):
    """Prints the version, which is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from napari_covseg import __version__

        print(f"covseg {__version__}")
        parser.exit()


def build_parser(verbs: Sequence[str] = VERBS) -> argparse.ArgumentParser:
    """The parser with every verb, or with those of ``verbs``."""
    parser = argparse.ArgumentParser(
        prog="covseg",
        description="Lungs, ground-glass opacity and consolidation in chest CT. Research use only.",
        epilog="exit codes: 0 done, 2 wrong usage, 3 input unreadable or unsuitable, "
        "4 out of memory or disk, 5 model unusable, 130 cancelled",
    )
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="show program's version number and exit"
    )
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in verbs:
        import_module(f"napari_covseg.cli.{verb}").add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (argparse exits by itself with 0 or 2)."""
    if argv is None:
        tune()
    words = list(sys.argv[1:] if argv is None else argv)
    args = build_parser(_verbs_of(words)).parse_args(words)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A file name need not be text: show such bytes escaped instead of failing on them.
            stream.reconfigure(errors="backslashreplace")
    try:
        return int(args.func(args))
    except KeyboardInterrupt:
        complain("covseg: cancelled")
        return Cancelled.exit_code
    except BrokenPipeError:
        # The reader of our output has gone; Python would complain again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        complain(f"covseg: {one_line(error)}")
        if os.environ.get("COVSEG_DEBUG"):
            raise
        return exit_code(error)


def _verbs_of(words: Sequence[str]) -> Sequence[str]:
    """The verb that stands first, for the others' files need not be read; all where none does."""
    if words[:1] == ["--version"]:
        return ()
    first = words[0].replace("-", "_") if words else ""
    return [first] if first in VERBS else VERBS


if __name__ == "__main__":
    sys.exit(main())
