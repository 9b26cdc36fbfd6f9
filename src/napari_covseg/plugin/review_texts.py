"""What the Review widget says about versions, changes and differences. No Qt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_covseg.cases.records import Kind, LabelVersion, Review
from napari_covseg.domain.labels import LESION_LABELS, Label
from napari_covseg.editing.consensus import Difference, Region, Rule
from napari_covseg.plugin.review_opening import Basis, Opened

_SHORT = {
    Label.GGO: "GGO",
    Label.CONSOLIDATION: "Consol.",
    Label.INFECTION: "Class open",
    Label.LEFT_LUNG: "Left lung",
    Label.RIGHT_LUNG: "Right lung",
    Label.LUNG: "Lung",
    Label.IGNORE: "Ignored",
    Label.BACKGROUND: "No lung",
}
_LONGEST = 12
_CLASSES = {
    "lung": "Lungs",
    "infection": "All lesions",
    "ggo": "GGO",
    "consolidation": "Consolidation",
}
_DID = {
    Kind.PREDICTION: "predicted",
    Kind.IMPORT: "imported",
    Kind.DRAFT: "drafted",
    Kind.CORRECTION: "corrected",
    Kind.CONSENSUS: "joined",
    Kind.RESTORED: "restored",
}


def title_of(version: LabelVersion) -> str:
    """``case_0003, version 3 by AB``."""
    return f"{version.case}, version {version.number} by {version.author}"


def facts_of(opened: Opened) -> str:
    """When and how it came to be, minutes, changed voxels, overlap with the prediction."""
    version, basis = opened.version, opened.basis
    when = f"{version.created:%d %b %Y, %H:%M} UTC"
    minutes = f", {opened.minutes:.0f} min" if opened.minutes >= 0.5 else ""
    lines = [f"{_DID[version.kind].capitalize()} {when}{minutes}."]
    if basis is None:
        lines.append("Drawn from nothing: there is no earlier version to compare it with.")
    else:
        start = started_from(basis)
        lines.append(f"{basis.edited:,} voxels changed since {start}.".replace(",", " "))
        scores = [
            f"{_CLASSES[name][:1].lower() + _CLASSES[name][1:] if name != 'ggo' else 'GGO'} "
            f"{'–' if dice is None else f'{dice:.2f}'}"
            for name, dice in basis.dice.items()
        ]
        if scores:
            lines.append(f"Overlap with it (Dice): {', '.join(scores)}.")
    if version.comment:
        lines.append(f"“{version.comment}”")
    return "\n".join(lines)


def started_from(basis: Basis) -> str:
    """What a version was made from, in words."""
    if basis.version.kind is Kind.PREDICTION:
        return "the prediction"
    return f"version {basis.version.number} by {basis.version.author}"


def said_of(reviews: Sequence[Review]) -> str:
    """The last three things that readers said."""
    told = [one for one in reviews if one.comment or one.decision != "comment"]
    return "\n".join(
        f"{one.reader}, {one.created:%d %b}: {one.decision}"
        + (f" – “{one.comment}”" if one.comment else "")
        for one in told[-3:]
    )


def version_text(version: LabelVersion) -> str:
    """``3 AB corrected``."""
    return f"{version.number}  {version.author}, {_DID[version.kind]}"


def change_of(region: Region) -> str:
    """What a correction did in a region: the earlier version is the first."""
    before, after = called(region.first), called(region.second)
    if region.kind is Difference.SMALL:
        return "Small changes together"
    if region.kind is Difference.LUNGS:
        return "Lungs"
    if region.kind is Difference.OTHER_CLASS:
        return f"{before} → {after}"
    if region.kind is Difference.OUTLINE:
        drawn, how = (after, "drawn larger") if region.larger is Rule.SECOND else (before, "cut")
        return f"{drawn} {how}"
    return f"{after} added" if region.kind is Difference.ONLY_SECOND else f"{before} removed"


def called(labels: Sequence[Label]) -> str:
    """Labels in short; where one of them is a lesion, lesions only."""
    lesions = [label for label in labels if label in LESION_LABELS]
    return " + ".join(_SHORT[label] for label in lesions or labels)


def both_say(region: Region) -> tuple[str, str]:
    """What each of two readers says of a region, for narrow columns."""
    if region.kind is Difference.SMALL:
        return "Small ones", ""
    if region.kind is Difference.LUNGS:
        return "Lungs", ""
    nothing = "smaller" if region.kind is Difference.OUTLINE else "–"
    first, second = (
        called(labels) if any(label in LESION_LABELS for label in labels) else nothing
        for labels in (region.first, region.second)
    )
    return first, second


def where_of(region: Region, lungs: NDArray[np.uint8]) -> str:
    """The slice as a person counts, with the side it lies on: ``42 R``.

    ``lungs`` are the lungs under lesions, ``(z, y, x)``.
    """
    sides = {Label.LEFT_LUNG: " L", Label.RIGHT_LUNG: " R"}
    alone = region.kind not in (Difference.SMALL, Difference.LUNGS)
    side = sides.get(Label(int(lungs[region.centre])), "") if alone else ""
    return f"{region.slice_index + 1}{side}"


def ml_of(region: Region) -> str:
    """Its volume in ml, with one decimal below 10."""
    if region.ml < 0.05:
        return "<0.1"
    return f"{region.ml:.1f}" if region.ml < 9.95 else f"{region.ml:.0f}"


def readers_of(first: LabelVersion, second: LabelVersion) -> tuple[str, str]:
    """What to call two readers; by their versions too if they are one person."""
    one, other = shortened(first.author), shortened(second.author)
    if one != other:
        return one, other
    return f"{one} ({first.number})", f"{other} ({second.number})"


def shortened(name: str) -> str:
    """A name that fits into a narrow column."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1].rstrip()}…"


def entries_of(region: Region, names: tuple[str, str]) -> tuple[tuple[str, Rule], ...]:
    """What may become of a region: the words and the rule of each."""
    of_each = ((names[0], Rule.FIRST), (names[1], Rule.SECOND))
    if region.kind is Difference.OTHER_CLASS:
        return (*of_each, ("Leave open", Rule.UNION))
    return (*of_each, ("Union", Rule.UNION), ("Intersection", Rule.INTERSECTION))


def entry_of(region: Region, rule: Rule) -> int:
    """The place of a rule among `entries_of`."""
    rules = [each for _, each in entries_of(region, ("", ""))]
    return rules.index(rule if rule in rules else Rule.UNION)


def class_title(name: str) -> str:
    """The title of a class in a table of figures."""
    return _CLASSES[name]
