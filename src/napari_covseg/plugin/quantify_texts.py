"""Figures as a reader sees them: rows of the tables, and the text that is copied. No Qt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_covseg.quantify.case import Quantification
    from napari_covseg.quantify.density import Density
    from napari_covseg.quantify.figures import Amount, RegionFigures
    from napari_covseg.quantify.lesions import Lesion
    from napari_covseg.quantify.severity import Score
    from napari_covseg.quantify.volumes import SideMeasurements

NONE = "–"
_SCORES = (
    (
        "lung_severity_score",
        "LSS, lung severity",
        "Lung severity score: 0 to 4 points a lobe, by opacity",
    ),
    (
        "lung_high_opacity_score",
        "LHOS, high opacity",
        "Lung high opacity score: 0 to 4 a lobe, by high opacity",
    ),
    ("ct_score_25", "25-point lobe score", "0 to 5 points a lobe, by opacity"),
    (
        "total_severity_score",
        "TSS, total severity",
        "Total severity score: 0 to 4 points a lobe, by opacity",
    ),
    ("ct_severity_score", "CT severity, 20 regions", "0 to 2 points for each of 20 regions"),
)
PARTS = (
    ("both", "Both lungs"),
    ("right", "Right"),
    ("left", "Left"),
    ("upper_third", "Upper third"),
    ("middle_third", "Middle third"),
    ("lower_third", "Lower third"),
    ("ventral", "Ventral"),
    ("dorsal", "Dorsal"),
    ("central", "Central"),
    ("peripheral", "Peripheral"),
)
LOBES = (
    ("right_upper", "Right upper"),
    ("right_middle", "Right middle"),
    ("right_lower", "Right lower"),
    ("left_upper", "Left upper"),
    ("left_lower", "Left lower"),
)
PART_COLUMNS = (
    "Lung\nml", "GGO\nml", "GGO\n%", "Cons.\nml", "Cons.\n%", "Total\nml", "Total\n%",
)  # fmt: skip
SCORE_COLUMNS = ("Score", "Value", "Of", "Likely range")
LESION_COLUMNS = ("Where", "ml", "Mean HU", "Cons. %", "Slice")
DENSITY_COLUMNS = ("Mean\nHU", "Mass\ng", "Perc15\nHU", "LAA-950\n%")
DENSITY_ROWS = (
    ("both", "Both lungs"),
    ("right", "Right"),
    ("left", "Left"),
    ("lesions", "Lesions"),
    ("ggo", "GGO"),
    ("consolidation", "Cons."),
)
BAND_COLUMNS = ("Emph.\n%", "Inflated\n%", "G. glass\n%", "Cons.\n%")
BAND_TITLES = {
    "emphysema": "Emphysema",
    "inflated": "Inflated",
    "ground_glass": "Ground glass",
    "consolidation": "Consolidation",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: its key, its title, its cells, and what it means."""

    key: str
    title: str
    cells: tuple[str, ...]
    tip: str = ""


def ml_text(volume_ml: float | None) -> str:
    """No decimals above 10 ml, one below; a dash where it is not known."""
    if volume_ml is None:
        return NONE
    return f"{volume_ml:.0f}" if volume_ml >= 9.95 else f"{volume_ml:.1f}"


def number_text(value: float | None, decimals: int = 0) -> str:
    """A figure, or a dash."""
    if value is None:
        return NONE
    text = f"{value:.{decimals}f}"
    return text.replace("-0", "0") if float(text) == 0 else text.replace("-", "−")


def score_rows(result: Quantification) -> list[Row]:
    """PO and PHO in percent, then the scores in points; ≈ marks what rests on approximations."""
    from napari_covseg.quantify.doubt import NARROW

    both = result.parts["both"]
    rows = [
        _percent_row(
            "po", "PO, opacity", both.lesions, "Percentage of opacity: lesions in both lungs"
        ),
        _percent_row(
            "pho",
            "PHO, high opacity",
            both.high_opacity,
            "Percentage of high opacity: lesion of -200 HU or more",
        ),
    ]
    for key, title, tip in _SCORES:
        score = result.scores[key]
        value = NONE if score.value is None else f"{'≈ ' if score.approximate else ''}{score.value}"
        given = score.value_range
        interval = NONE if given is None else f"{given[0]} to {given[1]}"
        tip = f"{tip}. {score.note[:1].upper()}{score.note[1:]}." if score.note else f"{tip}."
        tip = f"{tip} {NARROW[key]}" if given is not None and key in NARROW else tip
        rows.append(Row(key, title, (value, str(score.maximum), interval), tip))
    return rows


def _percent_row(key: str, title: str, amount: Amount | None, tip: str) -> Row:
    value = None if amount is None else amount.percent
    given = None if amount is None else amount.percent_range
    interval = NONE if given is None else f"{given[0]:.1f} to {given[1]:.1f} %"
    text = NONE if value is None else f"{value:.1f} %"
    return Row(key, title, (text, "lungs", interval), f"{tip}.")


def part_rows(result: Quantification) -> list[Row]:
    """The lungs and their parts, as far as they are given."""
    found = [(key, title, result.parts.get(key)) for key, title in PARTS]
    return [_figures_row(key, title, one) for key, title, one in found if one is not None]


def lobe_rows(result: Quantification) -> list[Row]:
    """The five lobes, as far as they are given."""
    found = [(key, title, result.lobes.get(key)) for key, title in LOBES]
    return [_figures_row(key, title, one) for key, title, one in found if one is not None]


def _figures_row(key: str, title: str, one: RegionFigures) -> Row:
    cells = (
        ml_text(one.lung_ml),
        ml_text(one.ggo.ml),
        number_text(one.ggo.percent, 1),
        ml_text(one.consolidation.ml),
        number_text(one.consolidation.percent, 1),
        ml_text(one.lesions.ml),
        number_text(one.lesions.percent, 1),
    )
    given = one.lesions.percent_range
    tip = "" if given is None else f"Total likely between {given[0]:.1f} and {given[1]:.1f} %."
    return Row(key, title, cells, tip)


def live_cells(side: SideMeasurements, ml_known: bool) -> tuple[str, ...]:
    """Cells of a part from volumes that follow the painting, in the order of `PART_COLUMNS`.

    Without ml where the size of a voxel was assumed.
    """

    def ml(volume_ml: float) -> str:
        return ml_text(volume_ml if ml_known else None)

    return (
        ml(side.lung_ml),
        ml(side.ggo_ml),
        number_text(side.ggo_percent, 1),
        ml(side.consolidation_ml),
        number_text(side.consolidation_percent, 1),
        ml(side.lesions_ml),
        number_text(side.lesions_percent, 1),
    )


def lesion_rows(result: Quantification) -> list[Row]:
    """The lesions, the largest first; the key is the lesion's number."""
    return [_lesion_row(lesion, result.lobes_from) for lesion in result.lesions.listed]


def _lesion_row(lesion: Lesion, lobes_from: str) -> Row:
    where = lesion.side.capitalize()
    if lesion.lobe:
        level = lesion.lobe.split("_", 1)[1]
        where = f"{where}, {level}{' ≈' if lobes_from == 'approximate' else ''}"
    kind = (
        "Consolidation"
        if lesion.consolidation_percent >= 99.5
        else "Ground glass"
        if lesion.consolidation_percent < 0.5
        else "Ground glass and consolidation"
    )
    edge = " It touches the edge of the image." if lesion.touches_edge else ""
    mass = "" if lesion.mass_g is None else f", {lesion.mass_g:.1f} g"
    cells = (
        where,
        ml_text(lesion.ml),
        number_text(lesion.mean_hu),
        number_text(lesion.consolidation_percent),
        str(lesion.slice_index + 1),
    )
    return Row(
        str(lesion.number), str(lesion.number), cells, f"{kind}{mass}.{edge} Click: go to it."
    )


def density_rows(result: Quantification) -> list[Row]:
    """Mean, mass, Perc15 and LAA-950 of lungs and kinds of tissue; empty without a CT."""
    found = [(key, title, (result.density or {}).get(key)) for key, title in DENSITY_ROWS]
    return [_density_row(key, title, one) for key, title, one in found if one is not None]


def _density_row(key: str, title: str, one: Density) -> Row:
    return Row(
        key,
        title,
        (
            number_text(one.mean_hu),
            ml_text(one.mass_g),
            number_text(one.perc15_hu),
            number_text(one.laa950_percent, 1),
        ),
    )


def band_rows(result: Quantification) -> list[Row]:
    """The share of each band of density in both lungs, right and left."""
    return [
        Row(key, title, tuple(number_text(one.bands_percent[name], 1) for name in BAND_TITLES))
        for key, title in DENSITY_ROWS[:3]
        if (one := (result.density or {}).get(key)) is not None
    ]


def opinion_text(result: Quantification) -> str:
    """What thresholds alone find, beside what is labelled."""
    opinion = result.second_opinion
    if opinion is None or opinion.lesions_percent is None:
        return ""
    labelled = result.parts["both"].lesions.percent
    verdict = "It contradicts the labels: see the warnings." if opinion.disagreements else (
        "It does not contradict the labels."
    )  # fmt: skip
    return (
        f"Second opinion by thresholds alone: {number_text(opinion.ggo_percent, 1)} % of the lungs "
        f"have the density of ground glass, {number_text(opinion.consolidation_percent, 1)} % of "
        f"consolidation (vessels included); labelled are {number_text(labelled, 1)} %. {verdict}"
    )


def lobes_text(result: Quantification) -> str:
    """Where the lobes come from."""
    if result.lobes_from == "map":
        source = f" ({result.lobes_source})" if result.lobes_source else ""
        return f"Lobes: from the lobe map{source}."
    if result.lobes_from == "approximate":
        return "Lobes: approximate (≈): planes in place of fissures, unless you choose others."
    return "Lobes: not given, see the warnings."


def lesions_text(result: Quantification) -> str:
    """How many there are."""
    count, specks = result.lesions.count, result.lesions.specks
    if not count and not specks:
        return "No lesion is labelled."
    text = f"{count} lesion{'' if count == 1 else 's'}"
    return f"{text}, and {specks} smaller than 0.05 ml." if specks else f"{text}."


def copied_text(result: Quantification) -> str:
    """Tables with tabs between the cells, for a spreadsheet or a report."""
    from napari_covseg.plugin.range_texts import RANGE_COLUMNS, range_rows

    blocks = [
        _block(SCORE_COLUMNS, score_rows(result)),
        _block(("Part", *PART_COLUMNS), part_rows(result)),
        _block((f"Lobe ({result.lobes_from})", *PART_COLUMNS), lobe_rows(result)),
        _block(("Likely range", *RANGE_COLUMNS), range_rows(result)),
        _block(("Lesion", *LESION_COLUMNS), lesion_rows(result)),
        _block(("Density", *DENSITY_COLUMNS), density_rows(result)),
        _block(("Bands, % of the lung", *BAND_TITLES.values()), band_rows(result)),
    ]
    notes = [f"Note: {warning}" for warning in result.warnings]
    return "\n\n".join([block for block in blocks if block] + notes) + "\n"


def _block(header: Iterable[str], rows: list[Row]) -> str:
    if not rows:
        return ""
    lines = ["\t".join(text.replace("\n", " ") for text in header)]
    lines += ["\t".join((row.title, *row.cells)) for row in rows]
    return "\n".join(lines)


def score_parts(score: Score) -> dict[str, int]:
    """A score's points by lobe or region, those that are given."""
    return {name: points for name, points in score.parts.items() if points is not None}
