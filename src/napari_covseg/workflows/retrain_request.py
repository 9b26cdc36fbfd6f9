"""What to retrain, and what came of it, as plain values that another process can read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from napari_covseg.cases.gate import GateDecision, GateRule
from napari_covseg.domain.errors import UsageError

LIVE, SHIPPED = "live", "shipped"


@dataclass(frozen=True)
class RetrainRequest:
    """What to retrain.

    Parameters
    ----------
    store
        Folder of the case store.
    author
        Who retrains.
    start
        ``live`` (the store's live model) or ``shipped``; if it trained on a patient who measures,
        the nearest one that it descends from and that did not.
    settings
        ``FIELD=VALUE`` of `Preset`, instead of what suits the device.
    replay
        An nnU-Net dataset, or a folder of several, whose cases are trained on too, so that what
        they teach is not forgotten.
    replay_share
        How often a batch is drawn from there.
    distillation
        Weight in the loss of saying on cases without labels what the model to start from says, so
        that less is forgotten; 0: none. Nothing where the store has no such cases.
    distillation_share
        How often a batch is drawn from those.
    share
        How much of the new weights to take, the rest are the old ones; None: chosen on the
        validation patients.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    seed
        Of every random choice.
    rule
        The gate's margins.
    promote
        Whether a model that passes the gate goes live.
    resume
        Go on with the retraining that was interrupted; everything else is taken from it.
    discard
        Give up the one that was interrupted.

    Raises
    ------
    UsageError
        If a value cannot be used.
    """

    store: Path
    author: str
    start: str = LIVE
    settings: tuple[str, ...] = ()
    replay: Path | None = None
    replay_share: float = 0.5
    distillation: float = 1.0
    distillation_share: float = 0.25
    share: float | None = None
    device: str = "auto"
    seed: int = 0
    rule: GateRule = field(default_factory=GateRule)
    promote: bool = True
    resume: bool = False
    discard: bool = False

    def __post_init__(self) -> None:
        if self.start not in (LIVE, SHIPPED):
            raise UsageError(f"start={self.start}: use {LIVE} or {SHIPPED}")
        if not 0 < self.replay_share < 1:
            raise UsageError(f"replay share {self.replay_share}: expected between 0 and 1")
        if not 0 <= self.distillation < math.inf:
            raise UsageError(f"distillation {self.distillation}: expected a weight of 0 or more")
        if not 0 < self.distillation_share < 1:
            raise UsageError(
                f"distillation share {self.distillation_share}: expected between 0 and 1"
            )
        if self.share is not None and not 0 < self.share <= 1:
            raise UsageError(f"share {self.share}: expected above 0, at most 1")
        if self.resume and self.discard:
            raise UsageError("resume and discard contradict each other")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        content = {**vars(self), "rule": asdict(self.rule), "store": str(self.store)}
        content["replay"] = None if self.replay is None else str(self.replay)
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> RetrainRequest:
        """What `to_dict` wrote."""
        values = {**content, "store": Path(content["store"])}
        values["replay"] = None if content["replay"] is None else Path(content["replay"])
        values["settings"] = tuple(content["settings"])
        values["rule"] = GateRule(**content["rule"])
        return cls(**values)


@dataclass(frozen=True)
class RetrainResult:
    """What came of a retraining.

    Parameters
    ----------
    run
        Its number in the store.
    model, name, folder
        The new model: SHA-256, name, and where it lies.
    old
        SHA-256 of the live model it was held against; None is the one that the package ships.
    decision
        What the gate said.
    promoted
        Whether it is live now.
    share
        How much of the new weights it has.
    training_cases, seconds, warnings
        Cases of the store that trained it, time it took, and what the user should know.
    unlabelled_cases
        Cases without labels on which it learned to say what the model before it says.
    """

    run: int
    model: str
    name: str
    folder: Path
    old: str | None
    decision: GateDecision
    promoted: bool
    share: float
    training_cases: int
    seconds: float
    warnings: tuple[str, ...] = ()
    unlabelled_cases: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**vars(self), "folder": str(self.folder), "decision": self.decision.to_dict()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> RetrainResult:
        """What `to_dict` wrote."""
        values = {**content, "folder": Path(content["folder"])}
        values["decision"] = GateDecision.from_dict(content["decision"])
        values["warnings"] = tuple(content["warnings"])
        return cls(**values)
