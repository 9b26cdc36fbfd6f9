"""Likely ranges as a reader sees them: a row for each part and lobe of the lungs. No Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_covseg.plugin.quantify_texts import LOBES, NONE, PARTS, Row

if TYPE_CHECKING:
    from napari_covseg.quantify.case import Quantification
    from napari_covseg.quantify.figures import Amount, RegionFigures

RANGE_COLUMNS = ("GGO\n%", "Cons.\n%", "Total\n%")


def range_rows(result: Quantification) -> list[Row]:
    """The likely range of each percentage; none where nothing says how sure the model was."""
    found = [(key, title, result.parts.get(key)) for key, title in PARTS]
    found += [(f"lobe_{key}", title, result.lobes.get(key)) for key, title in LOBES]
    rows = [_row(key, title, one) for key, title, one in found if one is not None]
    return [row for row in rows if any(cell != NONE for cell in row.cells)]


def ranges_text(result: Quantification) -> str:
    """What a likely range is, and what it is not in doubt of any more."""
    from napari_covseg.quantify.doubt import CLAIM

    if not range_rows(result):
        return ""
    return (
        f"Likely ranges: {CLAIM[0].lower()}{CLAIM[1:]} What you change, and slices that you "
        "review, are in doubt no more."
    )


def _row(key: str, title: str, one: RegionFigures) -> Row:
    return Row(key, title, tuple(_range(a) for a in (one.ggo, one.consolidation, one.lesions)))


def _range(amount: Amount) -> str:
    given = amount.percent_range
    return NONE if given is None else f"{given[0]:.1f} to {given[1]:.1f}"
