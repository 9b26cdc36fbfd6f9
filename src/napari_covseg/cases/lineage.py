"""Where models came from, which one is live, what was trained, and the log of events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from napari_covseg.cases.author import check_author
from napari_covseg.cases.base import MODELS, StoreBase
from napari_covseg.cases.clock import now
from napari_covseg.cases.records import Event, ModelRecord, NewModel, Promotion, TrainingRun
from napari_covseg.cases.rows import event_record, log
from napari_covseg.cases.schema import EventRow, ModelRow, RunRow
from napari_covseg.domain.errors import InputError, UsageError

_RECORDED = "model recorded"
MODEL_PROMOTED, _ROLLED_BACK = "model promoted", "model rolled back"
RUN_STARTED = "training started"


class Lineage(StoreBase):
    """The part of `CaseStore` that keeps models, trainings and events."""

    def model_folder(self, sha256: str) -> Path:
        """Where the files of a model of this store lie; made by who writes them."""
        return self.folder / MODELS / sha256[:16]

    def record_model(self, model: NewModel, *, author: str) -> ModelRecord:
        """Write down a model that ``author`` trained; it does not go live by this (`promote`).

        Raises
        ------
        InputError
            If a model with this hash is there already.
        ResourceError
            If the store may not be written to.
        """
        author = check_author(author)
        with self._db.write() as session:
            if session.get(ModelRow, model.sha256) is not None:
                raise InputError(
                    f"{model.name}: a model with the same weights is in this store already"
                )
            row = ModelRow(
                sha256=model.sha256,
                name=model.name,
                parent=model.parent,
                trained_on=sorted([case, labels] for case, labels in model.trained_on.items()),
                settings=dict(model.settings),
                seeds=dict(model.seeds),
                code_version=model.code_version,
                metrics=dict(model.metrics),
                created=now(session),
            )
            session.add(row)
            log(session, author, _RECORDED, model=model.sha256)
            return _model(row)

    def models(self) -> list[ModelRecord]:
        """Every model of the store, in the order in which they came, whatever the clock said."""
        recorded = select(EventRow.model, EventRow.id).where(EventRow.kind == _RECORDED)
        with self._db.read() as session:
            numbers = {row.model: row.id for row in session.execute(recorded)}
            rows = session.scalars(select(ModelRow).order_by(ModelRow.created))
            return [_model(row) for row in sorted(rows, key=lambda r: numbers.get(r.sha256, 0))]

    def model(self, sha256: str) -> ModelRecord:
        """One model, by its hash or the start of it.

        Raises
        ------
        InputError
            If there is none, or several start like that.
        """
        found = [one for one in self.models() if one.sha256.startswith(sha256.lower())]
        if len(found) != 1 or not sha256:
            count = "no model" if not found else f"{len(found)} models"
            raise InputError(f"{sha256[:16]}: {count} of this store have a hash that starts so")
        return found[0]

    def promote(self, sha256: str, *, by: str, why: str, forced: bool = False) -> Promotion:
        """Make a model of the store the live one.

        Parameters
        ----------
        sha256
            The model.
        by, why
            Who decided, and the reason: the gate's sentence, or a person's.
        forced
            The gate had refused, a person decided otherwise.

        Raises
        ------
        InputError
            If there is no such model, or it is live already.
        UsageError
            If no reason is given.
        """
        by, why = check_author(by), _reason(why)
        with self._db.write() as session:
            if session.get(ModelRow, sha256) is None:
                raise InputError(f"{sha256[:16]}: no such model in this store")
            if _live(session) == sha256:
                raise InputError(f"{sha256[:16]}: this model is live already")
            detail = {"why": why, "forced": forced}
            log(session, by, MODEL_PROMOTED, model=sha256, detail=detail)
            return _promotions(session)[-1]

    def rollback(self, *, by: str, why: str) -> Promotion:
        """Bring back the model that was live before; in the end, the one the package ships.

        Raises
        ------
        InputError
            If no model of the store is live.
        UsageError
            If no reason is given.
        """
        by, why = check_author(by), _reason(why)
        with self._db.write() as session:
            stack = _stack(session)
            if not stack:
                raise InputError("no model of this store is live: there is nothing to roll back")
            back = stack[-2] if len(stack) > 1 else None
            log(session, by, _ROLLED_BACK, model=back, detail={"why": why, "from": stack[-1]})
            return _promotions(session)[-1]

    def live_model(self) -> ModelRecord | None:
        """The live model; None stands for the one that the package ships."""
        with self._db.read() as session:
            live = _live(session)
            row = session.get(ModelRow, live) if live else None
            return _model(row) if row else None

    def promotions(self) -> list[Promotion]:
        """Every change of the live model, the oldest first."""
        with self._db.read() as session:
            return _promotions(session)

    def start_run(self, *, by: str, settings: Mapping[str, Any]) -> int:
        """Write down that a training begins; returns its number.

        Raises
        ------
        ResourceError
            If the store may not be written to.
        """
        by = check_author(by)
        with self._db.write() as session:
            row = RunRow(started=now(session), by=by, settings=dict(settings), outcome="")
            session.add(row)
            session.flush()
            log(session, by, RUN_STARTED, detail={"run": row.id})
            return row.id

    def finish_run(self, number: int, *, outcome: str, model: str | None = None) -> None:
        """Write down how a training ended, and the hash of its model if there is one.

        Raises
        ------
        InputError
            If there is no such run, or it has ended already.
        """
        with self._db.write() as session:
            row = session.get(RunRow, number)
            if row is None or row.finished is not None:
                raise InputError(f"training {number}: there is none of this number under way")
            row.finished, row.outcome, row.model = now(session), outcome, model
            detail = {"run": number, "outcome": outcome}
            log(session, row.by, "training ended", model=model, detail=detail)

    def runs(self) -> list[TrainingRun]:
        """Every training, the oldest first."""
        with self._db.read() as session:
            return [
                TrainingRun(
                    row.id, row.started, row.by, row.settings, row.finished, row.outcome, row.model
                )
                for row in session.scalars(select(RunRow).order_by(RunRow.id))
            ]

    def record_event(
        self,
        kind: str,
        *,
        actor: str,
        detail: Mapping[str, Any],
        case: str | None = None,
        model: str | None = None,
    ) -> None:
        """Add an event of another kind, such as what the gate decided. ``detail`` is plain JSON.

        Raises
        ------
        ResourceError
            If the store may not be written to.
        """
        with self._db.write() as session:
            log(session, check_author(actor), kind, case=case, model=model, detail=detail)

    def events(self, *, kind: str | None = None, case: str | None = None) -> list[Event]:
        """What happened, the oldest first; of one kind, or about one case."""
        query = select(EventRow).order_by(EventRow.id)
        if kind is not None:
            query = query.where(EventRow.kind == kind)
        if case is not None:
            query = query.where(EventRow.case == case)
        with self._db.read() as session:
            return [event_record(row) for row in session.scalars(query)]


def _reason(why: str) -> str:
    told = why.strip()
    if not told:
        raise UsageError("say why: the reason is kept with the model")
    return told


def _promotions(session: Session) -> list[Promotion]:
    rows = session.scalars(
        select(EventRow)
        .where(EventRow.kind.in_((MODEL_PROMOTED, _ROLLED_BACK)))
        .order_by(EventRow.id)
    )
    return [
        Promotion(
            model=row.model,
            by=row.actor,
            when=row.created,
            why=str(row.detail.get("why", "")),
            rollback=row.kind == _ROLLED_BACK,
            forced=bool(row.detail.get("forced", False)),
        )
        for row in rows
    ]


def _stack(session: Session) -> list[str]:
    """Models that were live and not rolled back, the live one last."""
    stack: list[str] = []
    for one in _promotions(session):
        if one.rollback:
            stack.pop()
        elif one.model is not None:
            stack.append(one.model)
    return stack


def _live(session: Session) -> str | None:
    stack = _stack(session)
    return stack[-1] if stack else None


def _model(row: ModelRow) -> ModelRecord:
    return ModelRecord(
        sha256=row.sha256,
        name=row.name,
        parent=row.parent,
        trained_on=tuple((str(case), str(labels)) for case, labels in row.trained_on),
        settings=row.settings,
        seeds=row.seeds,
        code_version=row.code_version,
        metrics=row.metrics,
        created=row.created,
    )
