"""What the Review widget says of itself: its button, its list, what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_covseg.cases.records import Decision
from napari_covseg.plugin.review_deciding import Decided
from napari_covseg.plugin.review_opening import Opened
from napari_covseg.plugin.review_texts import shortened
from napari_covseg.plugin.review_waiting import Listed, Shown

if TYPE_CHECKING:
    from napari_covseg.plugin.widgets.second_reader_joint import Both

OPEN_STORE = "Open dataset…"
_NO_STORE = (
    "Open a dataset (a case store) to review what others corrected. The Dataset panel makes one."
)
_EMPTY = {
    Shown.WAITING: "Nothing waits for you: every case is accepted, in work, or your own.",
    Shown.FLAGGED: "No case is flagged.",
    Shown.ACCEPTED: "No case is accepted yet.",
    Shown.ALL: "No case has labels that a person drew or corrected yet.",
}


def empty_text(has_store: bool, shown: Shown, has_rows: bool) -> str:
    """What to do where there is nothing to show; empty where there is."""
    if not has_store:
        return _NO_STORE
    return "" if has_rows else _EMPTY[shown]


def row_of(listed: Listed) -> list[str]:
    """A case's cells."""
    version = listed.version
    return [
        listed.record.name,
        " / ".join(map(shortened, listed.readers.split(" / "))),
        f"{version.edited_voxels:,}".replace(",", " "),
        f"{version.minutes:.0f}" if version.minutes >= 0.5 else "",
        f"{version.created:%d %b}",
    ]


def primary_text(
    busy: bool,
    *,
    queue: list[Listed] | None = None,
    opened: Opened | None = None,
    own: bool = False,
    joint: Both | None = None,
) -> str:
    """What the primary button will do."""
    if busy:
        return "Working…"
    if joint is not None:
        return f"Join and accept {joint.readings.first.case}"
    if opened is not None:
        return _accept_text(opened, own)
    if not queue:
        return "Review next"
    first = queue[0]
    by = " and ".join(map(shortened, first.readers.split(" / ")))
    return f"Review next: {first.record.name} by {by}"


def _accept_text(opened: Opened, own: bool) -> str:
    case, version = opened.version.case, opened.version
    if opened.beside:
        pair = sorted((version, opened.beside[-1]), key=lambda one: one.number)
        return f"Compare {shortened(pair[0].author)} and {shortened(pair[1].author)}"
    count = len(version.reviewed)
    depth = opened.loaded.record.geometry.shape[0]
    slices = "all slices" if count == depth else f"{count} of {depth} slices"
    if own:
        return f"Save my correction and accept {case}"
    return f"Accept {case} ({slices})"


def deed(decided: Decided) -> str:
    """What was done."""
    verdict, version = decided.verdict, decided.version
    case, number = version.case, version.number
    own = f" Your correction is version {number}." if verdict.own is not None else ""
    done = {
        Decision.ACCEPT: f"{case}: version {number} by {version.author} was accepted.",
        Decision.SEND_BACK: f"{case} was sent back.",
        Decision.FLAG: f"{case} was flagged.",
        Decision.UNFLAG: f"{case}: the flag was taken away.",
        Decision.COMMENT: f"{case}: your comment was kept.",
    }
    return done[verdict.decision] + own
