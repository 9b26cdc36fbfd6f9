"""Words and rows of the Classify panel. No Qt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from napari_covseg.plugin.quantify_texts import Row

if TYPE_CHECKING:
    from napari_covseg.plugin.classifying_folder import FileRow
    from napari_covseg.workflows.classify import Classification, SimilarCase

NOTICE = "Not a diagnosis. Research use only: not a medical device."
UNSURE = "Unsure: ask a second reader"
SHIPPED = (
    "The shipped classifier knows axial CT slices only, from pictures cut out of papers. "
    "X-rays need a classifier of your own (<code>covseg classify-train</code>)."
)
NO_SIMILAR = "This model keeps nothing of its training pictures to compare with."
SIMILAR = (
    "The nearest training pictures, by class and distance: 0 the same, about 1 unrelated. The "
    "pictures themselves do not come with the model."
)
SIMILAR_COLUMNS = ("Class", "Distance")
FILE_COLUMNS = ("File", "Class", "%", "Unsure")
FILE_TIPS = (
    "Click a row to open the file and see its heat map",
    "The most probable class",
    "Its probability",
    "Above the model's limit of doubt, or unlike all that it was trained on",
)
MOST_LISTED = 500
_NEAR = 0.85
"""The share of the limit from which doubt is said to be near it."""


def percent(chance: float) -> str:
    """Never 0 or 100: nothing here is that certain."""
    return "<1 %" if chance < 0.01 else ">99 %" if chance > 0.99 else f"{100 * chance:.0f} %"


def headline(result: Classification) -> str:
    """The class with its probability."""
    chance = max(result.probabilities)
    spread = result.spread[result.probabilities.index(chance)]
    return f"<b>{result.label}</b> {percent(chance)} <small>± {100 * spread:.0f} %</small>"


def doubt_words(result: Classification) -> str:
    """How unsure the answer is, measured by the model's own limit."""
    most = math.log(max(2, len(result.classes)))
    doubt, limit = (f"{100 * value / most:.0f} %" for value in (result.entropy, result.threshold))
    share = result.entropy / result.threshold if result.threshold else math.inf
    near = "above" if share > 1 else "just under" if share > _NEAR else "under"
    return f"Doubt {doubt} of the most possible, {near} the limit of this model ({limit})."


def source_words(result: Classification) -> str:
    """What the answer is of, and where the heat map is."""
    if result.shown is None:
        return "Heat map: what spoke for the answer." if result.heat is not None else ""
    text = f"Mean over {len(result.slices)} slices with lung."
    where = f"slice {result.shown + 1}, which speaks most for it"
    return f"{text} Heat map on {where}." if result.heat is not None else f"{text} See {where}."


def similar_rows(similar: Sequence[SimilarCase]) -> list[Row]:
    """Class and distance; never which picture it was."""
    return [
        Row(str(number), str(number), (one.label, f"{one.distance:.2f}"))
        for number, one in enumerate(similar, 1)
    ]


def file_rows(rows: Sequence[FileRow]) -> list[Row]:
    """A row for each file, its place in ``rows`` the key."""
    return [
        Row(
            str(place),
            "",
            (row.name, "not read", "–", "–")
            if row.error
            else (row.name, row.label, f"{100 * row.probability:.0f}", "yes" if row.unsure else ""),
            row.error or "\n".join((row.name, *row.warnings)),
        )
        for place, row in enumerate(rows)
    ]


def folder_words(rows: Sequence[FileRow]) -> str:
    """How many files, how many unsure, how many not read."""
    unsure, failed = sum(row.unsure for row in rows), sum(bool(row.error) for row in rows)
    text = f"{len(rows)} file{'' if len(rows) == 1 else 's'}, the most doubtful first"
    text += f"; {unsure} unsure: ask a second reader" if unsure else ""
    text += f"; {failed} could not be read" if failed else ""
    listed = f" The first {MOST_LISTED} are listed; the CSV has all."
    return f"{text}.{listed if len(rows) > MOST_LISTED else ''}"


def about_model(card: Mapping[str, Any]) -> str:
    """What a classifier was trained and measured on, as its card says."""
    training = card.get("training", {})
    counts = training.get("pictures", {})
    words = [f"{card.get('name', 'model')} {card.get('version', '')}"]
    if counts:
        parts = ", ".join(f"{count} {name}" for name, count in counts.items())
        words.append(f"Trained on {sum(counts.values())} pictures ({parts}).")
    found = [
        one
        for one in card.get("figures", ())
        if one.get("classifier") == training.get("classifier")
    ]
    if found:
        figures = found[0].get("of_ensemble", {})
        shown = [
            f"{title} {figures[key]:.2f}"
            for key, title in (("auc", "AUC"), ("accuracy", "accuracy"))
            if key in figures
        ]
        words.append(f"On {found[0].get('pictures')} pictures held out: {', '.join(shown)}.")
    words.append("Its limit of doubt was set on pictures held out.")
    if card.get("licence"):
        words.append(f"Licence: {card['licence']}.")
    return "\n".join(words)
