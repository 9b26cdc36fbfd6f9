"""What the case store hands out: plain frozen records, independent of the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.geometry import Geometry, Reorientation


class State(StrEnum):
    """Where a case stands."""

    NEW = "new"
    PREDICTED = "predicted"
    IN_WORK = "in work"
    CORRECTED = "corrected"
    ACCEPTED = "accepted"
    FLAGGED = "flagged"


class Kind(StrEnum):
    """How a label version came to be."""

    PREDICTION = "prediction"
    IMPORT = "import"
    DRAFT = "draft"
    CORRECTION = "correction"
    CONSENSUS = "consensus"
    RESTORED = "restored"


class Decision(StrEnum):
    """What a reader said about a case."""

    ACCEPT = "accept"
    SEND_BACK = "send back"
    FLAG = "flag"
    UNFLAG = "unflag"
    COMMENT = "comment"


class Difficulty(StrEnum):
    """How hard a case is to annotate, as a person judged it."""

    EASY = "easy"
    MEDIUM = "medium"
    HARD = "hard"


class DuplicateCase(InputError):
    """The image is in the store already; ``case`` says where."""

    def __init__(self, case: str) -> None:
        super().__init__(f"this image is in the store already, as {case}")
        self.case = case


class CaseTaken(InputError):
    """Another annotator has the case in work."""


class OpenBranches(InputError):
    """Other readers' versions of the case stand beside the one to accept."""


@dataclass(frozen=True, eq=False)
class CaseRecord:
    """A case as it stands now.

    Parameters
    ----------
    name, patient
        Pseudonyms: ``case_0001``, ``patient_0001``.
    geometry, to_native
        Of the image, canonical, and the way back to the file's axis order.
    state, comment, difficulty
        As the readers left them; ``difficulty`` is None until someone judged.
    accepted
        Id of the version that stands in ``labelsTr``, if any; `accepted_slices` of it count.
    newest
        Id of the version saved last, of any kind.
    claimed_by, claimed_until
        Who has it in work now, empty if nobody, and until when (UTC) if they are not heard of.
    versions
        How many there are, drafts included.
    """

    name: str
    patient: str
    geometry: Geometry
    to_native: Reorientation
    state: State
    comment: str
    difficulty: Difficulty | None
    added: datetime
    accepted: str | None
    accepted_slices: frozenset[int]
    newest: str | None
    claimed_by: str
    versions: int
    claimed_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class LabelVersion:
    """One label map of a case; what it says never changes.

    Parameters
    ----------
    id
        Unique in the world, so that stores can be joined.
    case, number
        The case, and the version's number in it, from 1.
    sha256
        Of the file in ``versions/`` that holds it.
    author, created, minutes, comment
        Who, when (UTC), how long since the parent, and what they said.
    parent, merged
        Ids of the version it was drawn from, and of the second one of a consensus.
    kind
        How it came to be.
    model
        SHA-256 of the model that predicted it; a correction has that of its prediction.
    reviewed
        Slices (canonical z, from 0) that a person has checked, in this version or before.
    edited_voxels
        How many differ from the parent; without one (or if its file was damaged when this was
        saved), how many are not background.
    set_aside
        Whether another reader's version was accepted in its stead.
    """

    id: str
    case: str
    number: int
    sha256: str
    author: str
    created: datetime
    parent: str | None
    merged: str | None
    kind: Kind
    model: str | None
    reviewed: frozenset[int]
    edited_voxels: int
    minutes: float
    comment: str
    set_aside: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """What is said of labels that become a version (`CaseStore.save_version`).

    Parameters
    ----------
    author
        Who drew them, or who ran the model.
    kind
        How they came to be. Corrections, consensus and imports make the case ``corrected``,
        drafts ``in work``, predictions ``predicted`` if it was new.
    parent
        Id of the version they started from (`LabelVersion.id`); None: from nothing.
    merged
        Id of the second version that a consensus joins.
    reviewed
        Every slice (canonical z) that a person has checked; None: those of the parent.
    minutes
        Time spent since the parent.
    model
        SHA-256 of the model of a prediction; otherwise that of the parent is taken on.
    comment
        What the author wants to say.
    """

    author: str
    kind: Kind
    parent: str | None = None
    merged: str | None = None
    reviewed: Iterable[int] | None = None
    minutes: float = 0.0
    model: str | None = None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class SavedVersion:
    """What became of a save.

    ``branches`` are versions of other hands that neither led to this one nor were settled: nothing
    is lost, but someone must choose (`CaseStore.accept`) or join them (kind ``consensus``).
    ``claimed_by`` is who else has the case in work now, because the author's own claim ran out or
    there was none: what they save will stand beside this version.
    """

    version: LabelVersion
    branches: tuple[LabelVersion, ...] = ()
    claimed_by: str = ""


@dataclass(frozen=True, slots=True)
class Review:
    """What a reader decided about a case, and about which version of it."""

    case: str
    version: str | None
    reader: str
    decision: Decision
    comment: str
    difficulty: Difficulty | None
    reviewed: frozenset[int]
    created: datetime


@dataclass(frozen=True, slots=True)
class Score:
    """How much correcting a case should help the model ``model``, as others computed it.

    Parameters
    ----------
    case, model
        The case's name and the model's SHA-256.
    value
        The expected benefit; larger is more. Any scale.
    slice
        Canonical z of the slice to begin with, if known.
    features
        Where the case lies among others (any fixed length), so that alike cases can be kept
        apart; empty if unknown.
    detail
        Anything else to show, such as the uncertainty of each region.
    """

    case: str
    model: str
    value: float
    slice: int | None = None
    features: tuple[float, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewModel:
    """A trained model that is to be written down (`CaseStore.record_model`).

    Parameters
    ----------
    sha256, name
        Of its weights; what people call it.
    code_version
        Of the program that trained it.
    parent
        SHA-256 of the model it started from, None for none.
    trained_on
        The label version (SHA-256) of each case it was trained on, by the case's name.
    settings, seeds, metrics
        Plain JSON: what is needed to train it again, and how good it was.
    """

    sha256: str
    name: str
    code_version: str
    parent: str | None = None
    trained_on: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    seeds: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """Where a model came from and how good it was.

    ``trained_on`` holds (case, label SHA-256) pairs. ``settings``, ``seeds`` and ``metrics`` are
    plain JSON. ``parent`` is the SHA-256 of the model it started from, if any.
    """

    sha256: str
    name: str
    parent: str | None
    trained_on: tuple[tuple[str, str], ...]
    settings: Mapping[str, Any]
    seeds: Mapping[str, Any]
    code_version: str
    metrics: Mapping[str, Any]
    created: datetime


@dataclass(frozen=True, slots=True)
class Promotion:
    """A model went live (or, with ``rollback``, an earlier one came back).

    ``model`` is None for the model that the package ships. ``forced`` tells that the gate had
    refused and a person decided otherwise.
    """

    model: str | None
    by: str
    when: datetime
    why: str
    rollback: bool
    forced: bool


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened; events are only ever added."""

    number: int
    when: datetime
    actor: str
    kind: str
    case: str | None
    version: str | None
    model: str | None
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """A training from this store; ``outcome`` is empty while it runs."""

    number: int
    started: datetime
    by: str
    settings: Mapping[str, Any]
    finished: datetime | None
    outcome: str
    model: str | None


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that `CaseStore.verify` found: which file, and what to do."""

    file: str
    message: str
    harmless: bool = False
    """Left over from an interrupted save: no version is affected."""
