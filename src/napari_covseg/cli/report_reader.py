"""Options of ``covseg report`` for what its reader adds: text, CO-RADS, scores, a signature."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from napari_covseg.domain.errors import UsageError

if TYPE_CHECKING:
    from napari_covseg.reports.findings_content import ReaderScore, Reading

OF_ONE_CASE = ("findings", "impression", "co_rads", "score", "reader")
"""Options that cannot hold for several cases at once."""
_SCORES = "lss, lhos, ct25, tss, ctss"


def add_reader(parser: argparse.ArgumentParser) -> None:
    """The options of what a reader adds."""
    text = "TEXT|@FILE"
    parser.add_argument("--findings", metavar=text, help="the reader's findings")
    parser.add_argument("--impression", metavar=text, help="the reader's impression")
    parser.add_argument(
        "--co-rads", type=int, metavar="N", help="the reader's CO-RADS category, 0 to 6"
    )
    parser.add_argument(
        "--score",
        action="append",
        metavar="NAME=N",
        help=f"the reader's own score ({_SCORES}), beside the measured one; points of the lobes "
        "as RU+RM+RL+LU+LL, such as ct25=1+0+3+1+2; may be given again",
    )
    parser.add_argument(
        "--scores",
        metavar="FILE.csv",
        help=f"the reader's scores of many cases: a column case and some of {_SCORES}; also write "
        "DIR/agreement.json: kappa, ICC and limits of agreement with the measured ones",
    )
    parser.add_argument("--reader", metavar="NAME", help="who read the case and signs the report")


def reading_from(args: argparse.Namespace) -> Reading:
    """What the options say; a report with a reader is signed now."""
    from napari_covseg.reports.findings_content import Reading

    reader = (args.reader or "").strip()
    return Reading(
        findings=_text(args.findings),
        impression=_text(args.impression),
        co_rads=args.co_rads,
        scores=tuple(_score(text) for text in args.score or ()),
        reader=reader,
        signed=datetime.now(UTC).isoformat(timespec="seconds") if reader else "",
    )


def _text(given: str | None) -> str:
    """The text itself, or what the file holds that ``@`` names."""
    if not given or not given.startswith("@"):
        return (given or "").strip()
    from napari_covseg.domain.errors import InputError
    from napari_covseg.io.sniff import readable

    path = Path(given[1:])
    with readable(path):
        try:
            return path.read_text(encoding="utf-8-sig").strip()
        except UnicodeDecodeError:
            raise InputError(f"{path.name}: expected text in UTF-8") from None


def _score(text: str) -> ReaderScore:
    from napari_covseg.reports.findings_content import SCORES
    from napari_covseg.workflows.report_agreement import reader_score

    name, _, numbers = text.partition("=")
    keys = {short: key for key, (short, _, _) in SCORES.items()}
    try:
        return reader_score(keys.get(name.strip().lower(), name.strip()), numbers)
    except UsageError as error:
        raise UsageError(f"--score {error}; expected NAME=N, such as ct25=9") from None
