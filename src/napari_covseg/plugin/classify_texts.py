"""Words and rows of the Classify panel. No Qt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from napari_covseg.plugin.quantify_texts import Row
from napari_covseg.reports.classification import doubt_words, measured_words
from napari_covseg.reports.wording import chance_percent, one_or_many

if TYPE_CHECKING:
    from napari_covseg.plugin.classifying_folder import FileRow
    from napari_covseg.workflows.classify import Classification, SimilarCase

NOTICE = "Not a diagnosis. Research use only: not a medical device."
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
FILE_COLUMNS = ("File", "Class", "%", "Doubt")
FILE_TIPS = (
    "Click a row to open the file and see its heat map; click here to sort by name",
    "The most probable class; click to sort",
    "Its probability; click to sort",
    "Above the model's limit of doubt, or unlike all that it was trained on; click to sort",
)
MOST_LISTED = 500


def headline(result: Classification) -> str:
    """The class with its probability."""
    chance = max(result.probabilities)
    spread = result.spread[result.probabilities.index(chance)]
    label = f"<b>{escape(result.label)}</b>"
    return f"{label} {chance_percent(chance)} <small>± {100 * spread:.0f} %</small>"


def doubt_text(result: Classification) -> str:
    """How unsure the answer is, measured by the model's own limit."""
    return doubt_words(result.entropy, result.threshold, len(result.classes))


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
        Row(str(place), "", _cells(row), row.error or "\n".join((row.name, *row.warnings)))
        for place, row in enumerate(rows)
    ]


def _cells(row: FileRow) -> tuple[str, ...]:
    if row.error:
        return (row.name, "not read", "–", "–")
    doubt = "unsure" if row.unsure else ""
    return (row.name, row.label, f"{100 * row.probability:.0f}", doubt)


def folder_words(rows: Sequence[FileRow], by_doubt: bool = True, coming: bool = False) -> str:
    """How many files, how many unsure, how many not read."""
    unsure, failed = sum(row.unsure for row in rows), sum(bool(row.error) for row in rows)
    text = one_or_many(len(rows), "file") + (" so far" if coming else "")
    text += ", the most doubtful first" if by_doubt else ""
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
    measured = measured_words(card)
    words += [measured] if measured else []
    words.append("Its limit of doubt was set on pictures held out.")
    if card.get("licence"):
        words.append(f"Licence: {card['licence']}.")
    return "\n".join(words)
