"""Models of a case store: bring one in, say all about it, compare two, change which is live."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_covseg.cases.gate import GateDecision, GateRule, judge
from napari_covseg.cases.held_out import MAY_HAVE_SEEN, UNLABELLED_CASES, divide
from napari_covseg.cases.records import ModelRecord, NewModel, Promotion
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import InputError
from napari_covseg.domain.progress import Steps
from napari_covseg.workflows.store_models import DECIDED, publish

SHIPPED = "shipped"
"""What stands for the model of the package among those of a store."""


def find_model(store: CaseStore, name: str) -> ModelRecord | None:
    """A model by the start of its hash; ``live`` and ``shipped`` stand for those (None: shipped).

    Raises
    ------
    InputError
        If there is none, or several.
    """
    if name == SHIPPED:
        return None
    return store.live_model() if name == "live" else store.model(name)


def add_model(store: CaseStore, source: str, *, author: str) -> ModelRecord:
    """Bring a model into the store; it does not go live by this.

    Cases of the store that its card says it was trained on, by their labels' hashes or else by
    their names, are remembered: it is not measured on their patients.

    Raises
    ------
    ModelError
        If it cannot be read.
    InputError
        If it is in the store already.
    ResourceError
        If the store may not be written to or the disk is full.
    """
    from napari_covseg.models.zoo import load

    model = load(source)
    card = Path(source)
    if card.is_dir():
        (card,) = (c for c in card.glob("*.json") if c.with_suffix(".safetensors").is_file())
    if not card.is_file():
        raise InputError(f"{source}: is with the package already; add a model in a folder")
    training: Mapping[str, Any] = model.card.get("training", {})
    publish(card, store.model_folder(model.sha256))
    return store.record_model(
        NewModel(
            model.sha256,
            model.name,
            parent=training.get("start_sha256"),
            settings={"preset": training.get("settings"), MAY_HAVE_SEEN: _seen(store, training)},
            code_version=str(training.get("code_version", "")),
        ),
        author=author,
    )


def last_decision(store: CaseStore, model: ModelRecord) -> GateDecision | None:
    """What the gate said of a model, last."""
    events = [one for one in store.events(kind=DECIDED) if one.model == model.sha256]
    return GateDecision.from_dict(events[-1].detail["decision"]) if events else None


def about_model(store: CaseStore, model: ModelRecord) -> dict[str, Any]:
    """All that is known of a model, as plain values."""
    decision = last_decision(store, model)
    live = store.live_model()
    return {
        "sha256": model.sha256,
        "name": model.name,
        "live": live is not None and live.sha256 == model.sha256,
        "folder": str(store.model_folder(model.sha256)),
        "parent": model.parent,
        "created": model.created.isoformat(),
        "trained_on": dict(model.trained_on),
        "settings": dict(model.settings),
        "seeds": dict(model.seeds),
        "code_version": model.code_version,
        "metrics": dict(model.metrics),
        "decision": decision.to_dict() if decision else None,
        "promotions": [
            promotion_dict(one) for one in store.promotions() if one.model == model.sha256
        ],
    }


def promotion_dict(one: Promotion) -> dict[str, Any]:
    """A change of the live model as plain values."""
    return {
        "model": one.model,
        "by": one.by,
        "when": one.when.isoformat(),
        "why": one.why,
        "rollback": one.rollback,
        "forced": one.forced,
    }


def promote_model(store: CaseStore, model: ModelRecord, *, by: str, why: str) -> Promotion:
    """Make a model live because a person says so; whether the gate agreed is kept with it.

    Raises
    ------
    InputError
        If it is live already, or its files are gone.
    UsageError
        If no reason is given.
    """
    if not any(store.model_folder(model.sha256).glob("*.safetensors")):
        raise InputError(f"{model.name}: its files are gone from the store; bring them back")
    decision = last_decision(store, model)
    forced = decision is None or not decision.promote
    return store.promote(model.sha256, by=by, why=why, forced=forced)


def compare_models(
    store: CaseStore,
    old: ModelRecord | None,
    new: ModelRecord | None,
    *,
    author: str,
    device: str = "auto",
    rule: GateRule | None = None,
) -> Steps[GateDecision]:
    """What the gate would say if ``new`` was to replace ``old`` (None: the shipped model).

    Each is measured on frozen cases of patients it has not trained on.

    Raises
    ------
    InputError, ModelError, ResourceError
        As `napari_covseg.workflows.gate_figures.measure`; also if no case is accepted.
    """
    from napari_covseg.workflows.gate_figures import figures_of

    division = divide(store, author=author)
    if not division.measured:
        raise InputError(f"{store.folder.name}: no case is accepted yet, nothing can be measured")
    first = yield from figures_of(store, old, division.measured, device)
    second = yield from figures_of(store, new, division.measured, device)
    patients = {one.case: one.patient for one in division.measured}
    return judge(first, second, patients, division.way, rule)


def _seen(store: CaseStore, training: Mapping[str, Any]) -> list[str]:
    """Cases of the store that a card's training had."""
    cases = [case.name for case in store.cases()]
    names = set(training.get(UNLABELLED_CASES, ()))
    hashes = set(training.get("labels_sha256", ()))
    if hashes:
        known = (c for c in cases if any(one.sha256 in hashes for one in store.history(c)))
        return sorted({*known, *(c for c in cases if c in names)})
    names |= set(training.get("training_cases", ())) | set(training.get("validation_cases", ()))
    return [case for case in cases if case in names]
