"""The change between two scans as a document: page one, and every lesion after it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from napari_covseg.domain.change import ChangeLabel
from napari_covseg.quantify import change as rules
from napari_covseg.quantify import lesion_changes
from napari_covseg.quantify import registration_quality as fit
from napari_covseg.quantify.change_figures import STATES, AmountChange, RegionChange
from napari_covseg.reports.document import (
    RESEARCH_USE,
    Block,
    Document,
    Heading,
    NewPage,
    Notice,
    Paragraph,
    Picture,
    Table,
    Tile,
    Tiles,
)
from napari_covseg.reports.wording import NONE, lobe_name, ml, part_name, percent

if TYPE_CHECKING:
    from napari_covseg.quantify.change import Change
    from napari_covseg.quantify.lesion_changes import LesionChange
    from napari_covseg.quantify.volumes import SideMeasurements

TITLE = "Chest CT: change of lung opacities"
POOR = (
    "Poor fit of the lungs: what appeared, resolved, stayed or turned is not to be relied on, in "
    "figures and in pictures. Only “Each scan by itself” is."
)
REGIONS = (
    *("both", "right", "left", "upper_third", "middle_third", "lower_third"),
    *("ventral", "dorsal", "central", "peripheral"),
)
_NOTE = (
    "Left: the prior scan laid over the current lungs. Middle: the current scan with its lesions. "
    "Right: what became of them. The slices with most change. The patient's right is on the left. "
    "Lung window: width 1500, level -600 HU."
)


def change_document(change: Change, picture: bytes | None, version: str, made: str) -> Document:
    """The page; ``picture`` is a JPEG of `change_picture`, ``made`` a date or how it came about."""
    return Document(
        title=TITLE,
        beside=(
            f"Current {change.case}",
            f"Prior {change.prior_case}{_days(change.interval_days)}",
        ),
        foot=f"{change.case} · napari-covseg {version} · {made}",
        blocks=(*_page_one(change, picture), NewPage(), *_details(change)),
    )


def signed(value: float | None, unit: str = "") -> str:
    """A difference with its sign; one decimal below 10."""
    if value is None:
        return NONE
    text = f"{value:+.1f}" if abs(value) < 9.95 else f"{value:+.0f}"
    return "0" if text in ("+0.0", "-0.0") else text.replace("-", "−") + unit


def fit_text(change: Change) -> str:
    """How well the lungs fit, in words."""
    found = change.registration
    away = "" if found.surface_mm is None else f", surfaces {found.surface_mm:.1f} mm apart"
    return (
        f"Registration {found.verdict} ({found.method}; lung Dice {found.lung_dice:.2f}, before it "
        f"{found.lung_dice_before:.2f}{away})."
    )


def became(one: LesionChange) -> str:
    """What became of a lesion, in a word or two."""
    kind = one.kind.replace("_", " ")
    if one.kind == "matched":
        return one.trend
    return f"{kind}, {one.trend}" if one.trend else kind


def _days(days: int | None) -> str:
    if days is None:
        return ""
    return f", {abs(days)} day{'' if abs(days) == 1 else 's'} {'before' if days >= 0 else 'after'}"


def _page_one(change: Change, picture: bytes | None) -> Iterator[Block]:
    yield Paragraph(RESEARCH_USE, "strong")
    poor = change.registration.verdict == "poor"
    if poor:
        yield Paragraph(POOR, "strong")
    if change.warnings:
        many = len(change.warnings)
        yield Notice("1 warning" if many == 1 else f"{many} warnings", change.warnings)
    yield Tiles(tuple(_tiles(change)))
    yield Heading("Each scan by itself")
    yield _scans(change)
    title = "The same lung in both scans"
    yield Heading(f"{title}: not to be relied on" if poor else title)
    rows = [(part_name(name), change.parts[name]) for name in REGIONS if name in change.parts]
    yield _regions(rows)
    yield Paragraph(
        f"Lesions of the prior are carried into the current lungs. {fit_text(change)}", "note"
    )
    if picture is not None:
        yield Picture(picture, "jpeg", "Prior, current and change", _NOTE, fits=True)


def _tiles(change: Change) -> Iterator[Tile]:
    now, before = change.current.both, change.prior.both
    points = None
    if now.lesions_percent is not None and before.lesions_percent is not None:
        points = now.lesions_percent - before.lesions_percent
    yield Tile(
        "Opacity now",
        f"{percent(now.lesions_percent)} %",
        f"before {percent(before.lesions_percent)} %, {signed(points)} points",
    )
    both = change.parts["both"]
    poor = change.registration.verdict == "poor"
    for name in STATES:
        state = both.states[name]
        title = ChangeLabel[name.upper()].title
        more = "the lungs do not fit" if poor else f"{percent(state.percent)} % of the lung"
        yield Tile(title, f"{ml(state.ml)} ml", more)


def _scans(change: Change) -> Table:
    head = ("", "Lung ml", "GGO ml", "%", "Consolidation ml", "%", "All lesions ml", "%")
    rows = []
    for (title, now), (_, before) in zip(change.current.rows, change.prior.rows, strict=True):
        rows += [_scan_row(f"{title}, now", now), _scan_row("before", before)]
    return Table(head, tuple(rows), main=frozenset((4, 5)))


def _scan_row(title: str, side: SideMeasurements) -> tuple[str, ...]:
    return (
        title,
        ml(side.lung_ml),
        ml(side.ggo_ml),
        percent(side.ggo_percent),
        ml(side.consolidation_ml),
        percent(side.consolidation_percent),
        ml(side.lesions_ml),
        percent(side.lesions_percent),
    )


def _regions(rows: list[tuple[str, RegionChange]]) -> Table:
    head = ("ml", "Before", "Now", "Change", "%", *(_short(name) for name in STATES))
    return Table(head, tuple(_region_row(title, one) for title, one in rows), main=frozenset((0,)))


def _short(name: str) -> str:
    return ChangeLabel[name.upper()].title.replace("onsolidation", "onsol.")


def _region_row(title: str, one: RegionChange) -> tuple[str, ...]:
    return (
        title,
        *_amount(one.lesions),
        *(ml(one.states[name].ml) for name in STATES),
    )


def _amount(one: AmountChange) -> tuple[str, ...]:
    return (ml(one.prior_ml), ml(one.current_ml), signed(one.change_ml), signed(one.change_percent))


def _details(change: Change) -> Iterator[Block]:
    if change.lobes:
        approximate = change.lobes_from == "approximate"
        yield Heading("Lobes, approximated by planes" if approximate else "Lobes, from a lobe map")
        yield _regions([(lobe_name(name), one) for name, one in change.lobes.items()])
        yield Paragraph(_lobes_note(change), "note")
    yield Heading("Lesions")
    if change.lesions.listed:
        yield _lesions(change.lesions.listed)
    else:
        yield Paragraph("No lesion in either scan.")
    yield Heading("GGO and consolidation")
    yield _classes(change)
    yield Paragraph(_choices(), "note")


def _lobes_note(change: Change) -> str:
    if change.lobes_from == "approximate":
        return (
            "Planes that give the lobes the shares of healthy lungs stand for the fissures: their "
            "volumes are not measured, and what lies near a fissure may count in the wrong lobe."
        )
    source = f": {change.lobes_source}" if change.lobes_source else ""
    return f"Lobes of the current scan{source}; what they leave open takes the nearest lobe."


def _lesions(listed: tuple[LesionChange, ...]) -> Table:
    head = ("Became", "Side", "Slice", "Before ml", "Now ml", "Change ml", "%", "Consol. %, before")
    rows = tuple(
        (
            became(one),
            one.side,
            str(one.slice_index + 1),
            ml(one.prior_ml),
            ml(one.current_ml),
            signed(one.change_ml),
            signed(one.change_percent),
            f"{percent(one.consolidation_percent)}, {percent(one.prior_consolidation_percent)}",
        )
        for one in listed
    )
    return Table(head, rows, texts=frozenset((1,)))


def _classes(change: Change) -> Table:
    head = ("ml", *(f"{kind} {what}" for kind in ("GGO", "Consol.") for what in _WHAT))
    rows = tuple(
        (part_name(name), *_amount(one.ggo), *_amount(one.consolidation))
        for name, one in change.parts.items()
        if name in REGIONS
    )
    return Table(head, rows, main=frozenset((0,)))


_WHAT = ("before", "now", "change", "%")


def _choices() -> str:
    return (
        "Volumes of a lesion are measured in each scan's own grid; all volumes of regions lie in "
        "the current lungs, so that breath does not count as change. Lesions are matched by an "
        f"overlap of {100 * lesion_changes.OVERLAP_SHARE:.0f} % of the smaller one, or by centres "
        f"within {lesion_changes.NEAR_MM:.0f} mm; grown and shrunk mean "
        f"{lesion_changes.GROWN_PERCENT:.0f} % or more. A fit is good from a lung Dice of "
        f"{fit.GOOD_DICE} and {fit.GOOD_MM} mm between surfaces on, fair from "
        f"{fit.FAIR_DICE} and {fit.FAIR_MM:.0f} mm. Lung volumes that differ by "
        f"more than {rules.BREATH_PERCENT:.0f} % are warned of."
    )
