"""A store's models as the panel shows them, and what may be done with them. Without Qt."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.domain.progress import Progress, Steps

if TYPE_CHECKING:
    from napari_covseg.cases.gate import GateDecision, GateRule
    from napari_covseg.cases.records import Event, ModelRecord, Promotion
    from napari_covseg.cases.store import CaseStore

SHIPPED = "shipped"
"""Stands for the model of the package, as on the command line."""
ROLLED_BACK = "rolled back in napari"
_GATE = {None: "not judged", True: "passed", False: "refused"}


@dataclass(frozen=True)
class ModelLine:
    """A model of the list; ``sha256`` is None for the one that comes with the package.

    ``dice`` is its mean Dice on held-out patients when the gate last measured it, NaN if it never
    did; ``promoted`` the last time it was made live or brought back.
    """

    sha256: str | None
    name: str
    live: bool
    parent: str
    made: datetime | None
    dice: float
    gate: bool | None
    cases: int
    promoted: Promotion | None

    @property
    def key(self) -> str:
        """What names it on the command line."""
        return SHIPPED if self.sha256 is None else self.sha256

    @property
    def title(self) -> str:
        """Its name with the start of its hash."""
        if self.sha256 is None:
            return "the model of the package"
        return f"{self.name} ({self.sha256[:8]})"

    @property
    def gate_text(self) -> str:
        """What the gate said, in a word or two."""
        return _GATE[self.gate]


@dataclass(frozen=True)
class Verdict:
    """What the gate said of ``new`` against ``old``; ``asked`` if only to compare them."""

    old: ModelLine
    new: ModelLine
    decision: GateDecision
    asked: bool = False

    @property
    def title(self) -> str:
        """The verdict in a few words, as the command line says them."""
        if self.asked:
            said = "passes the gate" if self.decision.promote else "refused by the gate"
            return f"{self.new.title} against {self.old.title}: {said}"
        if self.new.live:
            return f"{self.new.title} is live"
        if self.decision.promote:
            return f"{self.new.title} passes the gate, and is not live"
        return f"{self.new.title} refused by the gate, {self.old_text}"

    def among(self, models: Iterable[ModelLine]) -> Verdict:
        """The same of the two models as they stand now."""
        lines = {one.sha256: one for one in models}
        old, new = (lines.get(one.sha256, one) for one in (self.old, self.new))
        return replace(self, old=old, new=new)

    @property
    def old_text(self) -> str:
        """What stays when the new one is refused."""
        return f"{self.old.title} stays live" if self.old.live else "kept, not live"


@dataclass(frozen=True)
class LogLine:
    """A decision about a model: when (UTC), who, and what."""

    when: datetime
    by: str
    text: str


def model_lines(store: CaseStore) -> tuple[ModelLine, ...]:
    """Every model, the newest first, that of the package last."""
    from napari_covseg.workflows.models import last_decision

    live, promotions = store.live_model(), store.promotions()
    records = store.models()
    names = {one.sha256: one.name for one in records}
    found = []
    for one in reversed(records):
        decision = last_decision(store, one)
        found.append(
            ModelLine(
                one.sha256,
                one.name,
                live is not None and live.sha256 == one.sha256,
                _parent_name(one.parent, names),
                one.created,
                _dice(store, one.sha256),
                None if decision is None else decision.promote,
                len(one.trained_on),
                _last_of(promotions, one.sha256),
            )
        )
    dice = _dice(store, None)
    back = _last_of(promotions, None)
    found.append(ModelLine(None, "shipped", live is None, "", None, dice, None, 0, back))
    return tuple(found)


def live_source_steps(store: Path) -> Steps[str | None]:
    """The folder of a store's live model; None if that is the package's. Runs in a thread.

    Raises
    ------
    InputError
        If the folder is gone or no case store of this version.
    """
    from napari_covseg.cases.store import CaseStore
    from napari_covseg.workflows.store_models import model_source

    yield Progress(0, 1, "reading the case store")
    opened = CaseStore.open(store)
    live = opened.live_model()
    return None if live is None else model_source(opened, live.sha256)


def last_verdict(store: CaseStore, models: Iterable[ModelLine]) -> Verdict | None:
    """What the gate said last."""
    from napari_covseg.cases.gate import GateDecision

    lines = {one.sha256: one for one in models}
    events = [one for one in _decided(store) if one.model in lines]
    if not events or events[-1].detail["old"] not in lines:
        return None
    last = events[-1]
    decision = GateDecision.from_dict(last.detail["decision"])
    return Verdict(lines[last.detail["old"]], lines[last.model], decision)


def log_lines(store: CaseStore) -> tuple[LogLine, ...]:
    """Every decision about the models, the newest first."""
    names = {one.sha256: f"{one.name} ({one.sha256[:8]})" for one in store.models()}

    def name(sha256: str | None) -> str:
        return "the model of the package" if sha256 is None else names.get(sha256, sha256[:8])

    lines = []
    for one in _decided(store):
        said = one.detail["decision"]
        verdict = "passes the gate" if said["promote"] else "refused by the gate"
        lines.append(LogLine(one.when, one.actor, f"{name(one.model)} {verdict}"))
    for promotion in store.promotions():
        text = f"{name(promotion.model)} {promotion_text(promotion)}"
        lines.append(LogLine(promotion.when, promotion.by, text))
    return tuple(sorted(lines, key=lambda line: line.when, reverse=True))


def promotion_text(one: Promotion) -> str:
    """How a model became live, and why, in the words of the command line."""
    how = "brought back" if one.rollback else "promoted"
    against = ", against the gate or without it" if one.forced else ""
    return f"{how}{against}: {one.why}"


def details_steps(store: Path, key: str) -> Steps[str]:
    """All that is known of a model, as text to read. Runs in a thread.

    Raises
    ------
    InputError
        If it is not there any more.
    """
    from napari_covseg.cases.store import CaseStore
    from napari_covseg.workflows.models import about_model, find_model

    yield Progress(0, 1, "reading the model's record")
    opened = CaseStore.open(store)
    record = find_model(opened, key)
    if record is None:
        return "\n".join(_about_shipped())
    return "\n".join(_about(opened, record, about_model(opened, record)))


def compare_steps(
    store: Path, old: str, new: str, author: str, device: str, rule: GateRule
) -> Steps[GateDecision]:
    """What the gate would say of two models of a store. Runs in a thread.

    Raises
    ------
    InputError, ModelError, ResourceError
        As `napari_covseg.workflows.models.compare_models`.
    """
    from napari_covseg.cases.store import CaseStore
    from napari_covseg.workflows.models import compare_models, find_model

    opened = CaseStore.open(store)
    first, second = (find_model(opened, key) for key in (old, new))
    return (
        yield from compare_models(opened, first, second, author=author, device=device, rule=rule)
    )


def promote_steps(store: Path, key: str, author: str, why: str) -> Steps[str]:
    """Make a model live because a person says so; returns what was done. Runs in a thread.

    Raises
    ------
    InputError
        If it is live already, or its files are gone.
    UsageError
        If no reason is given.
    """
    from napari_covseg.cases.store import CaseStore
    from napari_covseg.workflows.models import promote_model

    yield Progress(0, 1, "promoting")
    opened = CaseStore.open(store)
    record = opened.model(key)
    done = promote_model(opened, record, by=author, why=why)
    against = ", against the gate or without it" if done.forced else ""
    return f"{record.name} ({record.sha256[:8]}) is live{against}."


def rollback_steps(store: Path, author: str) -> Steps[tuple[str, str]]:
    """Bring back the model before the live one. Runs in a thread.

    Returns what was done, and the hash of the model that was taken off.

    Raises
    ------
    InputError
        If no model of the store is live.
    """
    from napari_covseg.cases.store import CaseStore

    yield Progress(0, 1, "rolling back")
    opened = CaseStore.open(store)
    before = opened.live_model()
    opened.rollback(by=author, why=ROLLED_BACK)
    now = opened.live_model()
    name = f"{now.name} ({now.sha256[:8]})" if now else "the model of the package"
    assert before is not None
    text = f"{name} is live again; {before.name} ({before.sha256[:8]}) is kept, not live."
    return text, before.sha256


def _decided(store: CaseStore) -> list[Event]:
    from napari_covseg.workflows.store_models import DECIDED

    return store.events(kind=DECIDED)


def _last_of(promotions: Iterable[Promotion], sha256: str | None) -> Promotion | None:
    found = [one for one in promotions if one.model == sha256]
    return found[-1] if found else None


def _parent_name(parent: str | None, names: Mapping[str, str]) -> str:
    from napari_covseg.models.zoo import shipped_sha256

    if parent is None:
        return ""
    return SHIPPED if parent == shipped_sha256() else names.get(parent, parent[:8])


def _dice(store: CaseStore, sha256: str | None) -> float:
    """Overall Dice when a model was last measured, as the new one or as the old one."""
    for event in reversed(_decided(store)):
        rows = event.detail["decision"]["rows"]
        for owner, figure in ((event.model, "new"), (event.detail["old"], "old")):
            if owner == sha256 and rows and rows[0][figure] is not None:
                return float(rows[0][figure])
    return math.nan


def _about(store: CaseStore, record: ModelRecord, about: dict[str, Any]) -> list[str]:
    """What ``covseg models show`` prints, and the settings."""
    live = ", live" if about["live"] else ""
    lines = [
        f"{record.name}{live}",
        f"SHA-256 {record.sha256}",
        f"Made {about['created'][:16].replace('T', ' ')} UTC with version {record.code_version}",
        f"From {record.parent or 'no other model'}",
        f"Files in {about['folder']}",
        "",
        f"Trained on {len(record.trained_on)} cases of this store:",
        *(f"  {case}: labels {labels}" for case, labels in record.trained_on),
        "",
    ]
    for one in store.promotions():
        if one.model == record.sha256:
            when = f"{one.when:%Y-%m-%d %H:%M} UTC"
            lines.append(f"{when}, {one.by}: {promotion_text(one)}")
    decision = about["decision"]
    if decision is None:
        lines.append("The gate has not judged it.")
    else:
        said = "Passes the gate" if decision["promote"] else "Refused by the gate"
        lines += [f"{said}: {decision['reason']}", f"({decision['certainty']})"]
    lines += ["", "Seeds", *_indented(record.seeds), "", "Settings", *_indented(record.settings)]
    return lines


def _about_shipped() -> list[str]:
    from napari_covseg.models.zoo import DEFAULT, load

    model = load(DEFAULT)
    return [
        f"{model.name} {model.version}, with the package",
        f"SHA-256 {model.sha256}",
        "",
        *_indented(model.card.get("training", {})),
    ]


def _indented(content: Any) -> list[str]:
    return [f"  {line}" for line in json.dumps(content, indent=2).splitlines()[1:-1]]
