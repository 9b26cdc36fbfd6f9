"""The findings of a case as plain text, to be pasted into any reporting system."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from napari_covseg.domain.lobes import Lobe
from napari_covseg.quantify.case import Quantification
from napari_covseg.quantify.figures import RegionFigures
from napari_covseg.reports.classification import classification_lines
from napari_covseg.reports.document import RESEARCH_USE
from napari_covseg.reports.findings_content import CO_RADS, FindingsContent, Provenance
from napari_covseg.reports.wording import ml, one_or_many, points, share

_WIDTH = 100
_HELD = "\N{NO-BREAK SPACE}"
_SHORT = {
    lobe.name.lower(): "".join(word[0] for word in f"{lobe.name}_LOBE".split("_")) for lobe in Lobe
}
_FORE = 1.5
"""A part is named as where the lesions lie if it has so many times the share of the others."""


def findings_text(content: FindingsContent) -> str:
    """Technique, findings and impression in short sentences; lines of at most 100 characters."""
    reading = content.reading
    blocks = [
        ("TECHNIQUE", technique(content.provenance)),
        ("FINDINGS", "\n".join(measured_sentences(content.result))),
    ]
    if reading.findings:
        blocks.append(("READER'S FINDINGS", reading.findings))
    scores = list(_score_lines(content))
    if scores:
        blocks.append(("SEVERITY SCORES", "\n".join(scores)))
    if content.classification is not None:
        said = "\n".join(classification_lines(content.classification))
        blocks.append(("CLASSIFIER (RESEARCH, NOT A DIAGNOSIS)", said))
    limits = [*content.warnings, *_disagreements(content.result)]
    if limits:
        blocks.append(("LIMITATIONS", "\n".join(f"- {line}" for line in limits)))
    if reading.impression or reading.co_rads is not None:
        blocks.append(("IMPRESSION", "\n".join(_impression(content))))
    if reading.signed:
        blocks.append(("SIGNED", f"{reading.reader}, {when(reading.signed)}"))
    text = "\n\n".join(f"{title}:\n{_wrapped(body)}" for title, body in blocks)
    return f"{text}\n\n{RESEARCH_USE}\n"


def technique(provenance: Provenance) -> str:
    """How the figures came about, in a sentence or two."""
    by = f"napari-covseg {provenance.software_version}"
    if provenance.model_name:
        by += f" (model {provenance.model_name} {provenance.model_version}".rstrip() + ")"
    made = {
        "automatic": "Lungs and lesions were outlined automatically and not corrected by hand.",
        "corrected": "Lungs and lesions were outlined automatically and corrected by hand.",
        "unknown": "How the outlines of lungs and lesions were made is not recorded.",
    }[provenance.made]
    return f"CT of the chest, measured with {by}. {made}"


def measured_sentences(result: Quantification) -> list[str]:
    """What was measured, a sentence each."""
    return list(_sentences(result))


def when(iso: str) -> str:
    """An ISO 8601 time without its T and seconds."""
    day, _, time = iso.partition("T")
    zone = " UTC" if time.endswith(("+00:00", "Z")) else ""
    return f"{day} {time[:5]}{zone}" if time else day


def _sentences(result: Quantification) -> Iterator[str]:
    both = result.parts.get("both")
    if both is None or both.lesions.percent is None:
        yield "No lung was found in the label map; nothing can be measured."
        return
    yield _volumes(result)
    if both.lesions.percent == 0:
        yield "No ground-glass opacity and no consolidation in the label map."
        return
    yield (
        f"Opacities in {share(both.lesions)} % of the lungs{_ml(both.lesions.ml)}: "
        f"ground-glass opacity {share(both.ggo)} %{_ml(both.ggo.ml)}, consolidation "
        f"{share(both.consolidation)} %{_ml(both.consolidation.ml)}."
    )
    sides = [
        f"{side} lung {share(result.parts[side].lesions)} %"
        for side in ("right", "left")
        if side in result.parts
    ]
    yield f"By side: {', '.join(sides)}."
    yield from _distribution(result)
    if result.lobes:
        lobes = [f"{_SHORT[name]} {share(one.lesions)} %" for name, one in result.lobes.items()]
        approximate = " (approximate)" if result.lobes_from == "approximate" else ""
        yield f"By lobe{approximate}: {', '.join(lobes)}."
    yield from _lesions(result)


def _volumes(result: Quantification) -> str:
    parts = [
        f"{side} {ml(result.parts[side].lung_ml)} ml"
        for side in ("right", "left")
        if side in result.parts and result.parts[side].lung_ml is not None
    ]
    whole = result.parts["both"].lung_ml
    if whole is None:
        return "Lung volume not known: the size of a voxel is not stated."
    return f"Lung volume {ml(whole)} ml ({', '.join(parts)})."


def _distribution(result: Quantification) -> Iterator[str]:
    thirds = {name: result.parts.get(f"{name}_third") for name in ("upper", "middle", "lower")}
    groups = (
        ("Craniocaudal", thirds),
        ("Ventrodorsal", {name: result.parts.get(name) for name in ("ventral", "dorsal")}),
        ("Axial", {name: result.parts.get(name) for name in ("peripheral", "central")}),
    )
    for title, group in groups:
        given = {name: one for name, one in group.items() if one is not None}
        if len(given) < len(group):
            continue
        unit = " third" if title == "Craniocaudal" else ""
        listed = ", ".join(f"{name}{unit} {share(one.lesions)} %" for name, one in given.items())
        yield f"{title} distribution: {listed}{_predominant(given)}."


def _predominant(group: dict[str, RegionFigures]) -> str:
    shares = {name: one.lesions.percent or 0.0 for name, one in group.items()}
    most = max(shares, key=lambda name: shares[name])
    others = [value for name, value in shares.items() if name != most]
    return f"; {most} predominance" if shares[most] >= _FORE * max(others) else ""


def _lesions(result: Quantification) -> Iterator[str]:
    largest = result.lesions.largest
    if largest is None:
        return
    where = f"{largest.side} lung"
    if largest.lobe is not None:
        where = f"{largest.lobe.replace('_', ' ')} lobe"
    size = "" if largest.ml is None else f" {ml(largest.ml)} ml,"
    count = one_or_many(result.lesions.count, "lesion")
    yield f"{count} of 0.05 ml or more; the largest{size} in the {where}."


def _score_lines(content: FindingsContent) -> Iterator[str]:
    readers = {score.key: score.value for score in content.reading.scores}
    for key, score in content.result.scores.items():
        if score.value is None and key not in readers:
            continue
        ends = "" if score.value_range is None else " ({} to {})".format(*score.value_range)
        approximate = ", approximate lobes" if score.approximate and score.value is not None else ""
        reader = f"; reader {readers[key]}" if key in readers else ""
        value = "not given" if score.value is None else points(score).replace(" ", "")
        yield f"{score.title}: {value}{ends}{approximate}{reader}."


def _impression(content: FindingsContent) -> Iterator[str]:
    reading = content.reading
    if reading.impression:
        yield reading.impression
    if reading.co_rads is not None:
        yield f"CO-RADS {reading.co_rads}: {CO_RADS[reading.co_rads]}."


def _disagreements(result: Quantification) -> tuple[str, ...]:
    return result.second_opinion.disagreements if result.second_opinion is not None else ()


def _ml(value: float | None) -> str:
    return "" if value is None else f", {ml(value)} ml"


def _wrapped(text: str) -> str:
    """Lines of `_WIDTH`, never broken between a number and its unit."""
    held = re.sub(r"(?<=\d) (?=ml\b|%|HU\b)", _HELD, text)
    lines = (
        textwrap.fill(line, _WIDTH, subsequent_indent="  " if line.startswith("- ") else "")
        for line in held.splitlines()
    )
    return "\n".join(lines).replace(_HELD, " ")
