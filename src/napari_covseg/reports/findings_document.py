"""The report of a case as a document: page one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from napari_covseg.quantify.case import Quantification
from napari_covseg.quantify.doubt import CLAIM, NARROW
from napari_covseg.quantify.figures import RegionFigures
from napari_covseg.reports.document import (
    RESEARCH_USE,
    Block,
    Columns,
    Document,
    NewPage,
    Notice,
    Paragraph,
    Picture,
    Table,
    Tile,
    Tiles,
)
from napari_covseg.reports.findings_content import CO_RADS, MADE_WORDS, FindingsContent
from napari_covseg.reports.findings_details import details
from napari_covseg.reports.findings_text import when
from napari_covseg.reports.wording import (
    NONE,
    between,
    ml,
    one_or_many,
    percent,
    points,
    points_between,
    share,
)

TITLE = "Chest CT: lung opacities"
_KEY_NOTE = (
    "Above: the axial slice with the largest area of lesion, as it is and outlined. Below: the "
    "coronal slice, likewise, and how much of the lung along the line of sight from front to back "
    "is lesion. The patient's right is on the left. Lung window: width 1500, level -600 HU."
)
_KEY_NOTE_CLEAR = (
    "No lesion is labelled: the slices with most lung. The patient's right is on the left. Lung "
    "window: width 1500, level -600 HU."
)
_NO_CT = "No CT on the grid of the label map: the labels alone are shown."


def findings_document(content: FindingsContent, pictures: Mapping[str, Picture]) -> Document:
    """Page one, then the details; ``pictures`` by name as `findings_figures` makes them."""
    return Document(
        title=TITLE,
        beside=tuple(_beside(content)),
        foot=f"{content.case} · napari-covseg {content.provenance.software_version} · "
        f"{when(content.provenance.created)}",
        blocks=(*page_one(content, pictures), NewPage(), *details(content, pictures)),
    )


def page_one(content: FindingsContent, pictures: Mapping[str, Picture]) -> Iterator[Block]:
    """What is to be seen first."""
    yield Paragraph(RESEARCH_USE, "strong")
    if content.warnings:
        title = one_or_many(len(content.warnings), "warning")
        yield Notice(title[0].upper() + title[1:], content.warnings)
    yield from _opinion(content.result)
    yield from _reader(content)
    yield Tiles(tuple(_tiles(content.result)))
    yield Columns(((_volumes(content.result),), (_scores(content),)), (0.58, 0.42))
    yield from _notes(content)
    if "key" in pictures:
        yield pictures["key"]


def key_note(content: FindingsContent) -> str:
    """What the key pictures show."""
    note = _KEY_NOTE if content.planes.has_lesions else _KEY_NOTE_CLEAR
    return note if content.planes.key_axial.hu is not None else f"{_NO_CT} {note}"


def _beside(content: FindingsContent) -> Iterator[str]:
    identity = content.identity
    if identity is not None:
        known = (
            ("", identity.name),
            ("ID ", identity.patient_id),
            ("born ", identity.birth_date),
        )
        yield " · ".join(f"{what}{value}" for what, value in known if value)
        yield f"Study of {identity.study_date}" if identity.study_date else ""
    yield f"Case {content.case}"
    yield f"Labels {MADE_WORDS[content.provenance.made]}"


def _opinion(result: Quantification) -> Iterator[Block]:
    if result.second_opinion is not None and result.second_opinion.disagreements:
        title = "Second opinion by HU thresholds: does not fit"
        yield Notice(title, result.second_opinion.disagreements)


def _reader(content: FindingsContent) -> Iterator[Block]:
    reading = content.reading
    lines = [reading.impression] if reading.impression else []
    if reading.co_rads is not None:
        lines.append(f"CO-RADS {reading.co_rads}: {CO_RADS[reading.co_rads]}")
    if reading.signed:
        lines.append(f"Signed by {reading.reader}, {when(reading.signed)}")
    elif lines:
        lines.append("Not signed")
    if lines:
        yield Notice("Impression", tuple(lines), "person")


def _tiles(result: Quantification) -> Iterator[Tile]:
    both = result.parts.get("both")
    if both is None:
        return
    for title, amount in (
        ("All opacities", both.lesions),
        ("Ground glass", both.ggo),
        ("Consolidation", both.consolidation),
    ):
        value = percent(amount.percent)
        unit = " %" if value != NONE else ""
        more = between(amount.percent_range)
        volume = (
            f"{ml(amount.ml)} ml" if amount.ml is not None and value != NONE else "of the lungs"
        )
        yield Tile(title, f"{value}{unit}", f"{more} %" if more else volume)
    score = result.scores["ct_score_25"]
    where = "approximate lobes" if score.approximate else "lobes from a map"
    yield Tile(
        "25-point score",
        points(score),
        points_between(score) or (where if score.value is not None else "not given"),
    )
    count = result.lesions.count
    largest = result.lesions.largest
    more = "of 0.05 ml or more"
    if largest is not None and largest.ml is not None:
        more = f"largest {ml(largest.ml)} ml"
    yield Tile("Lesions", str(count), more)


def _volumes(result: Quantification) -> Table:
    names = {"right": "Right lung", "left": "Left lung", "both": "Both"}
    rows = [
        (title, *_volume_cells(result.parts[name]))
        for name, title in names.items()
        if name in result.parts
    ]
    return Table(
        ("", "Lung ml", "GGO ml", "GGO %", "Cons. ml", "Cons. %", "All ml", "All %"),
        tuple(rows),
        main=frozenset({len(rows) - 1}),
    )


def _volume_cells(part: RegionFigures) -> tuple[str, ...]:
    return (
        ml(part.lung_ml),
        ml(part.ggo.ml),
        percent(part.ggo.percent),
        ml(part.consolidation.ml),
        percent(part.consolidation.percent),
        ml(part.lesions.ml),
        percent(part.lesions.percent),
    )


def _scores(content: FindingsContent) -> Table:
    readers = {score.key: str(score.value) for score in content.reading.scores}
    ranges = any(score.value_range for score in content.result.scores.values())
    head = ["Severity score", "Points"]
    head += ["Likely range"] if ranges else []
    head += ["Reader"] if readers else []
    rows = []
    for key, score in content.result.scores.items():
        row = [score.title, points(score)]
        row += [points_between(score) or NONE] if ranges else []
        row += [readers.get(key, NONE)] if readers else []
        rows.append(tuple(row))
    both = content.result.parts.get("both")
    if both is not None:
        high = share(both.high_opacity)
        extra = [NONE] * (len(head) - 2)
        rows.append(("PHO: lesion of −200 HU or more, %", high, *extra))
    return Table(tuple(head), tuple(rows), wide=frozenset({0}))


def _notes(content: FindingsContent) -> Iterator[Block]:
    notes = [
        "Lung volumes include the lesions; % is of the lung of the same row. Cons.: consolidation. "
        "All: every opacity, of unknown class too."
    ]
    if content.result.lobes_from == "approximate":
        notes.append(
            "Scores rest on lobes approximated by planes: their error is not known, so they do not "
            "compare with published limits."
        )
    elif content.result.lobes:
        notes.append(
            "Lobes are those of the lobe map; the 20 regions of the CT severity score are "
            "approximate."
        )
    missing = {score.note for score in content.result.scores.values() if score.note}
    notes += [f"No score: {note}." for note in sorted(missing)]
    opinion = content.result.second_opinion
    if opinion is not None and not opinion.disagreements:
        notes.append("A second opinion by HU thresholds does not contradict the labels.")
    elif opinion is None:
        notes.append("No second opinion by HU thresholds: it needs the CT.")
    if any(part.lesions.percent_range for part in content.result.parts.values()):
        notes.append(f"In parentheses and under Likely range: where figures likely lie. {CLAIM}")
        notes += [line for key, line in NARROW.items() if content.result.scores[key].value_range]
    else:
        notes.append("No likely ranges: what the model was in doubt of is not known.")
    yield Paragraph(" ".join(notes), "note")
