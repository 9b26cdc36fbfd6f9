"""The report of a case as data: what was measured, what the reader adds, where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from napari_covseg.domain.errors import UsageError
from napari_covseg.domain.identity import Identity
from napari_covseg.quantify.figures import LOBES, TWENTY
from napari_covseg.reports.classification import ClassifierAnswer
from napari_covseg.reports.document import RESEARCH_USE
from napari_covseg.reports.planes import Planes

if TYPE_CHECKING:
    from napari_covseg.quantify.case import Quantification

CO_RADS: Mapping[int, str] = {
    0: "not interpretable: scan technically insufficient for assigning a score",
    1: "very low suspicion of COVID-19: normal or non-infectious",
    2: "low suspicion of COVID-19: typical for other infection",
    3: "equivocal: compatible with COVID-19, but also with other diseases",
    4: "high suspicion of COVID-19",
    5: "very high suspicion of COVID-19: typical findings",
    6: "proven COVID-19: RT-PCR positive for SARS-CoV-2",
}
"""Level of suspicion of pulmonary involvement: Prokop et al., Radiology 2020;296:E97."""
SCORES: Mapping[str, tuple[str, int, int]] = {
    "lung_severity_score": ("lss", 20, 4),
    "lung_high_opacity_score": ("lhos", 20, 4),
    "ct_score_25": ("ct25", 25, 5),
    "total_severity_score": ("tss", 20, 4),
    "ct_severity_score": ("ctss", 40, 2),
}
"""Scores a reader may give: short name, maximum, and the most points of a lobe or region."""
Made = Literal["automatic", "corrected", "unknown"]
MADE_WORDS: Mapping[Made, str] = {
    "automatic": "as the model drew them, not corrected by hand",
    "corrected": "corrected by hand after the model drew them",
    "unknown": "not known: nothing beside the label map says how it was made",
}


def score_parts(key: str) -> tuple[str, ...]:
    """The lobes or regions of a score of `SCORES`, in the order they are read in."""
    return tuple(TWENTY) if key == "ct_severity_score" else tuple(LOBES)


@dataclass(frozen=True, slots=True)
class ReaderScore:
    """A reader's score of `SCORES`; ``parts`` are points in the order of `score_parts`, if given.

    Raises
    ------
    UsageError
        If there is no such score, or it is not within its range.
    """

    key: str
    value: int
    parts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.key not in SCORES:
            known = ", ".join(short for short, _, _ in SCORES.values())
            raise UsageError(f"no score is called {self.key}; expected one of {known}")
        short, most, of_part = SCORES[self.key]
        if not 0 <= self.value <= most:
            raise UsageError(f"{short} {self.value}: expected 0 to {most}")
        if not self.parts:
            return
        many = len(score_parts(self.key))
        if len(self.parts) != many:
            raise UsageError(f"{short}: expected one number, or {many} of its parts")
        if not all(0 <= points <= of_part for points in self.parts):
            raise UsageError(f"{short}: expected 0 to {of_part} points for each part")
        if sum(self.parts) != self.value:
            raise UsageError(f"{short}: the points of its parts do not add up to {self.value}")


@dataclass(frozen=True, slots=True)
class Reading:
    """What the reader adds.

    Parameters
    ----------
    findings, impression
        Free text.
    co_rads
        A category of `CO_RADS`, None if none is given.
    scores
        The reader's own, by eye.
    reader, signed
        Who signed and when (ISO 8601); empty while nobody has.

    Raises
    ------
    UsageError
        If the CO-RADS category does not exist, or a score is given twice.
    """

    findings: str = ""
    impression: str = ""
    co_rads: int | None = None
    scores: tuple[ReaderScore, ...] = ()
    reader: str = ""
    signed: str = ""

    def __post_init__(self) -> None:
        if self.co_rads is not None and self.co_rads not in CO_RADS:
            raise UsageError(f"CO-RADS {self.co_rads}: expected 0 to {max(CO_RADS)}")
        if len({score.key for score in self.scores}) < len(self.scores):
            raise UsageError("a reader's score is given twice")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where figures come from; empty where it is not known.

    ``made`` is how the label map came about. ``input_sha256`` is the hash of the CT that was
    measured, ``labels_sha256`` that of the labels. ``settings`` are those of the segmentation.
    """

    software_version: str
    created: str
    made: Made = "unknown"
    model_name: str = ""
    model_version: str = ""
    model_sha256: str = ""
    segmented_by_version: str = ""
    settings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    device: str = ""
    input_format: str = ""
    input_sha256: str = ""
    labels_sha256: str = ""
    lobes: str = ""
    shape_zyx: tuple[int, int, int] | None = None
    spacing_zyx_mm: tuple[float, float, float] | None = None


@dataclass(frozen=True, eq=False)
class FindingsContent:
    """All that the report of a case says.

    ``warnings`` are to be seen on page one, the reader's first; those of the second opinion by
    thresholds are in ``result.second_opinion``. ``classification`` is there only if asked for.
    """

    case: str
    result: Quantification
    provenance: Provenance
    planes: Planes
    warnings: tuple[str, ...] = ()
    reading: Reading = field(default_factory=Reading)
    identity: Identity | None = None
    classification: ClassifierAnswer | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values; no NaN. Pictures are left out."""
        provenance = {**asdict(self.provenance), "settings": dict(self.provenance.settings)}
        reading = asdict(self.reading)
        reading["scores"] = {
            score.key: {
                "value": score.value,
                "parts": dict(zip(score_parts(score.key), score.parts, strict=False)),
            }
            for score in self.reading.scores
        }
        found = {
            "case": self.case,
            "notice": RESEARCH_USE,
            "warnings": list(self.warnings),
            "reading": reading,
            "measurements": self.result.to_dict(),
            "provenance": provenance,
        }
        if self.classification is not None:
            found["classification"] = self.classification.to_json()
        if self.identity is not None:
            found["patient"] = asdict(self.identity)
        return found
