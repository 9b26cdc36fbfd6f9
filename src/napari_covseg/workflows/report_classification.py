"""A classifier's answer for a report: of a run, or of the files that ``covseg classify`` wrote."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.domain.errors import InputError
from napari_covseg.reports.classification import ClassifierAnswer, measured_words

if TYPE_CHECKING:
    from napari_covseg.domain.volume import CTVolume
    from napari_covseg.workflows.classify import Classification


def answer_of(result: Classification, card: Mapping[str, Any]) -> ClassifierAnswer:
    """What a classifier said of a CT just now, its heat map drawn."""
    model = result.provenance.get("model", {})
    return ClassifierAnswer(
        classes=result.classes,
        probabilities=result.probabilities,
        spread=result.spread,
        entropy=result.entropy,
        unsure_above=result.threshold if math.isfinite(result.threshold) else None,
        unsure=result.unsure,
        slices=len(result.slices),
        shown=result.shown,
        warnings=result.warnings,
        model=_name(model),
        model_sha256=str(model.get("sha256", "")),
        measured=measured_words(card),
        heat=_drawn(result),
    )


def read_answer(given: Path, name: str, volume: CTVolume) -> ClassifierAnswer:
    """What ``covseg classify`` wrote of a CT.

    Parameters
    ----------
    given
        ``<case>.json``, or the folder that holds one of each case.
    name
        What the case is called in this report.
    volume
        The CT: an answer for another one is refused.

    Raises
    ------
    InputError
        If there is no such file, it is no answer of ``covseg classify``, or it is of another CT.
    """
    file = given / f"{name}.json" if given.is_dir() else given
    if given.is_dir() and not file.is_file():
        raise InputError(
            f"{given.name}: no {file.name} of covseg classify in this folder; classify the CT first"
        )
    found = _loaded(file)
    try:
        answer, slices = _parsed(found)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(
            f"{file.name}: not what covseg classify says of a CT; expected its <case>.json"
        ) from None
    if found.get("case") not in (name, volume.case):
        raise InputError(f"{file.name}: this is of another case than {name}; classify this CT")
    if not slices or max(slices) >= len(volume.hu):
        raise InputError(
            f"{file.name}: this is not of this CT, which has {len(volume.hu)} slices; classify it"
        )
    return _with_files(answer, found, file)


def _loaded(file: Path) -> Mapping[str, Any]:
    from napari_covseg.io.sniff import readable

    with readable(file):
        try:
            found = json.loads(file.read_bytes())
        except (ValueError, RecursionError):
            found = None
    if not isinstance(found, dict):
        raise InputError(f"{file.name}: not a result of covseg classify; expected its <case>.json")
    return found


def _parsed(found: Mapping[str, Any]) -> tuple[ClassifierAnswer, list[int]]:
    """The answer, and the slices it is the mean of."""
    chances, spread = found["probabilities"], found["spread"]
    values = tuple(float(value) for value in chances.values())
    spreads = tuple(float(spread[name]) for name in chances)
    limit, shown = found["unsure_above"], found["slice_shown"]
    numbers = (*values, *spreads, float(found["entropy"]), 0.0 if limit is None else float(limit))
    if not values or not all(math.isfinite(one) and one >= 0 for one in numbers):
        raise ValueError("no probabilities")
    if abs(sum(values) - 1) > 0.01:
        raise ValueError("these are no probabilities")
    slices = [int(one["index"]) for one in found["slices"]]
    model = found.get("provenance", {}).get("model", {})
    answer = ClassifierAnswer(
        classes=tuple(map(str, chances)),
        probabilities=values,
        spread=spreads,
        entropy=float(found["entropy"]),
        unsure_above=None if limit is None else float(limit),
        unsure=bool(found["unsure"]),
        slices=len(slices),
        shown=None if shown is None else int(shown),
        warnings=tuple(map(str, found["warnings"])),
        model=_name(model),
        model_sha256=str(model.get("sha256", "")),
    )
    return answer, slices


def _with_files(answer: ClassifierAnswer, found: Mapping[str, Any], file: Path) -> ClassifierAnswer:
    """With the heat map beside the file, and what the card says if the classifier ships."""
    from dataclasses import replace

    named = found.get("heat_map_file")
    # A name only: a JSON from elsewhere says nothing about other folders.
    heat = _picture(file.parent / Path(named).name) if isinstance(named, str) else b""
    return replace(answer, heat=heat, measured=_shipped_figures(answer.model_sha256))


def _picture(path: Path) -> bytes:
    """The heat map's pixels as PNG; none where there is no such picture (any more)."""
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG",)) as picture:
            buffer = io.BytesIO()
            picture.convert("RGB").save(buffer, "PNG")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return b""
    return buffer.getvalue()


def _shipped_figures(sha256: str) -> str:
    """What the card of a shipped classifier with this hash says; empty if there is none."""
    from napari_covseg.models.image_classifier import FOLDER

    for path in sorted(FOLDER.glob("*.json")):
        card = json.loads(path.read_text(encoding="utf-8"))
        if sha256 and card.get("sha256") == sha256:
            return measured_words(card)
    return ""


def _name(model: Mapping[str, Any]) -> str:
    return f"{model.get('name', '')} {model.get('version', '')}".strip()


def _drawn(result: Classification) -> bytes:
    if result.heat is None:
        return b""
    from PIL import Image

    from napari_covseg.reports.classification_figures import heat_picture

    buffer = io.BytesIO()
    Image.fromarray(heat_picture(result.grey, result.heat)).save(buffer, "PNG")
    return buffer.getvalue()
