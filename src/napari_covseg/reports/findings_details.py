"""The report of a case as a document: what comes after page one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain

from napari_covseg.quantify.case import Quantification
from napari_covseg.quantify.figures import RegionFigures
from napari_covseg.reports.classification import classification
from napari_covseg.reports.document import (
    Block,
    Bullets,
    Heading,
    NewPage,
    Paragraph,
    Picture,
    Table,
)
from napari_covseg.reports.findings_agreement import agreement
from napari_covseg.reports.findings_content import MADE_WORDS, FindingsContent, Provenance
from napari_covseg.reports.findings_notes import notes
from napari_covseg.reports.findings_text import measured_sentences, when
from napari_covseg.reports.wording import (
    NONE,
    lobe_name,
    ml,
    one_or_many,
    part_name,
    percent,
    share,
    whole,
)

MOST_LESIONS = 25
"""So many lesions are listed; the CSV has all."""
_PART_HEAD = ("", "Lung ml", "GGO ml", "GGO %", "Cons. ml", "Cons. %", "All ml", "All %", "PHO %")
_OPINION = (
    ("Dense as ground glass (−700 up to −200 HU), % of the lungs", "ggo_percent"),
    ("Dense as consolidation (−200 HU or more), % of the lungs", "consolidation_percent"),
    ("Of the labelled lesions −700 HU or more, %", "lesions_dense_percent"),
    ("Of the lungs −700 HU or more, but not labelled, %", "unlabelled_dense_percent"),
    ("Of the labelled consolidation −200 HU or more, %", "consolidation_solid_percent"),
    ("Of the labelled GGO −200 HU or more, %", "ggo_solid_percent"),
)
_TISSUES = {
    "both": "Both lungs",
    "right": "Right lung",
    "left": "Left lung",
    "lesions": "All lesions",
    "ggo": "GGO",
    "consolidation": "Consolidation",
}


def details(content: FindingsContent, pictures: Mapping[str, Picture]) -> Iterator[Block]:
    """Everything after page one."""
    for name in ("axial", "coronal"):
        if name in pictures:
            yield Heading(pictures[name].title)
            yield pictures[name]
            yield NewPage()
    yield from chain(
        _findings(content),
        _divisions(content.result, pictures),
        _lesions(content),
        _density(content.result, pictures),
        _opinion(content.result),
        classification(content.classification),
        agreement(content),
        (Heading("How the figures are made"), Bullets(tuple(notes(content.result)))),
        _provenance(content.provenance),
    )


def _findings(content: FindingsContent) -> Iterator[Block]:
    yield Heading("Findings")
    if content.reading.findings:
        yield Paragraph(content.reading.findings)
    yield Bullets(tuple(measured_sentences(content.result)))


def _divisions(result: Quantification, pictures: Mapping[str, Picture]) -> Iterator[Block]:
    yield Heading("Parts of the lungs")
    if not result.parts:
        yield Paragraph("No lung, so no part of it.")
        return
    yield _parts_table(result.parts, part_name)
    if result.lobes:
        approximate = result.lobes_from == "approximate"
        yield Heading(
            "Lobes, approximated by planes" if approximate else "Lobes, from the lobe map"
        )
        yield _parts_table(result.lobes, lobe_name)
    if "map" in pictures:
        yield Heading("Severity by lobe and region")
        yield pictures["map"]


def _parts_table(parts: Mapping[str, RegionFigures], name_of: Callable[[str], str]) -> Table:
    rows = tuple((name_of(name), *_cells(part)) for name, part in parts.items())
    return Table(_PART_HEAD, rows)


def _cells(part: RegionFigures) -> tuple[str, ...]:
    return (
        ml(part.lung_ml),
        ml(part.ggo.ml),
        share(part.ggo),
        ml(part.consolidation.ml),
        share(part.consolidation),
        ml(part.lesions.ml),
        share(part.lesions),
        share(part.high_opacity),
    )


def _lesions(content: FindingsContent) -> Iterator[Block]:
    lesions = content.result.lesions
    yield Heading("Lesions")
    if not lesions.count:
        yield Paragraph("No lesion of 0.05 ml or more.")
    else:
        yield Table(
            ("No.", "ml", "Where", "Slice", "x, y, z mm", "Cons. %", "Mean HU", "g", ""),
            tuple(
                (
                    str(one.number),
                    ml(one.ml),
                    f"{one.side.capitalize()} lung" if one.lobe is None else lobe_name(one.lobe),
                    str(one.slice_index + 1),
                    ", ".join(whole(mm) for mm in one.position_mm),
                    percent(one.consolidation_percent),
                    whole(one.mean_hu),
                    ml(one.mass_g),
                    "touches the edge" if one.touches_edge else "",
                )
                for one in lesions.listed[:MOST_LESIONS]
            ),
            texts=frozenset({2, 8}),
        )
    more = lesions.count - MOST_LESIONS
    left_out = [f"{one_or_many(more, 'smaller lesion')} not listed here."] if more > 0 else []
    if lesions.specks:
        left_out.append(f"{one_or_many(lesions.specks, 'speck')} below 0.05 ml.")
    left_out.append(
        "GGO and consolidation that touch are one lesion. Slice: the axial one with most of it, "
        "counted from the lowest; x, y, z: its centre in patient coordinates (to the left, to "
        "posterior, to superior)."
    )
    yield Paragraph(" ".join(left_out), "note")


def _density(result: Quantification, pictures: Mapping[str, Picture]) -> Iterator[Block]:
    yield Heading("Density")
    if result.density is None:
        yield Paragraph("Not given: there is no CT on the grid of the label map.")
        return
    if "histogram" in pictures:
        yield pictures["histogram"]
    yield Table(
        ("", "Mean HU", "Mass g", "Perc15 HU", "LAA-950 %", "Inflated %", "Gr. glass %", "Cons. %"),
        tuple(
            (
                _TISSUES[name],
                whole(one.mean_hu),
                ml(one.mass_g),
                whole(one.perc15_hu),
                percent(one.laa950_percent),
                *(
                    percent(one.bands_percent[band])
                    for band in ("inflated", "ground_glass", "consolidation")
                ),
            )
            for name, one in result.density.items()
        ),
    )


def _opinion(result: Quantification) -> Iterator[Block]:
    yield Heading("Second opinion by HU thresholds")
    opinion = result.second_opinion
    if opinion is None:
        yield Paragraph("Not given: there is no CT on the grid of the label map.")
        return
    rows = [(title, percent(getattr(opinion, key))) for title, key in _OPINION]
    both = result.parts.get("both")
    if both is not None:
        rows.insert(0, ("Labelled as lesion, % of the lungs", percent(both.lesions.percent)))
    yield Table(("", "%"), tuple(rows))
    if opinion.disagreements:
        yield Bullets(opinion.disagreements)
    yield Paragraph(
        "Vessels, airway walls, dependent lung and breathing out are dense too: thresholds cannot "
        "confirm a percentage, but they can contradict it.",
        "note",
    )


def _provenance(provenance: Provenance) -> Iterator[Block]:
    yield Heading("Where this comes from")
    model = " ".join(filter(None, (provenance.model_name, provenance.model_version)))
    shape = provenance.shape_zyx
    spacing = provenance.spacing_zyx_mm
    grid = ""
    if shape is not None and spacing is not None:
        sizes = " × ".join(str(n) for n in shape[::-1])
        grid = f"{sizes} voxels of {' × '.join(f'{mm:.3g}' for mm in spacing[::-1])} mm (x, y, z)"
    settings = ", ".join(f"{name} {value}" for name, value in provenance.settings.items())
    rows = (
        ("Report made by", f"napari-covseg {provenance.software_version}"),
        ("Report made on", when(provenance.created)),
        ("Labels", MADE_WORDS[provenance.made]),
        ("Model", model or "not known"),
        ("Model, SHA-256", provenance.model_sha256 or NONE),
        ("Segmented by", _segmented_by(provenance)),
        ("Settings", settings or NONE),
        ("Lobes", provenance.lobes or NONE),
        ("CT", ", ".join(filter(None, (provenance.input_format, grid))) or NONE),
        ("CT, SHA-256 of voxels and affine", provenance.input_sha256 or NONE),
        ("Labels, SHA-256 of voxels and affine", provenance.labels_sha256 or NONE),
    )
    yield Table(("", ""), rows, texts=frozenset({1}), wide=frozenset({1}))


def _segmented_by(provenance: Provenance) -> str:
    if not provenance.segmented_by_version:
        return "not known"
    on = f" on {provenance.device}" if provenance.device else ""
    return f"napari-covseg {provenance.segmented_by_version}{on}"
