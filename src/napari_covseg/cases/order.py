"""The queue of a store: scores kept by model, and which case comes next for whom."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from contextlib import suppress

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from napari_covseg.cases.author import check_author
from napari_covseg.cases.base import StoreBase
from napari_covseg.cases.claims import CLAIM_MINUTES, claim_row
from napari_covseg.cases.clock import now
from napari_covseg.cases.queue import Candidate, Order, ordered
from napari_covseg.cases.records import CaseRecord, CaseTaken, Score, State
from napari_covseg.cases.rows import case_records, find_case, in_force
from napari_covseg.cases.schema import CaseRow, ClaimRow, ScoreRow, VersionRow
from napari_covseg.domain.errors import InputError

TO_ANNOTATE = (State.NEW, State.PREDICTED, State.IN_WORK)
TO_REVIEW = (State.CORRECTED,)
_RECENT = 5
_NUMBERS = select(CaseRow.name, CaseRow.id)


class Queue(StoreBase):
    """The part of `CaseStore` that decides what comes next."""

    def record_scores(self, scores: Iterable[Score]) -> None:
        """Keep scores, each in the place of an earlier one of its case and model.

        Raises
        ------
        InputError
            If there is no such case, or a value is not a finite number.
        ResourceError
            If the store may not be written to.
        """
        scores = list(scores)
        with self._db.write() as session:
            numbers = dict(session.execute(_NUMBERS).tuples().all())
            before = select(ScoreRow).where(ScoreRow.model.in_({one.model for one in scores}))
            known = {(row.case_id, row.model): row for row in session.scalars(before)}
            for score in scores:
                if not all(map(math.isfinite, (score.value, *score.features))):
                    raise InputError(f"{score.case}: its score is not a number; compute it again")
                number = numbers.get(score.case) or find_case(session, score.case).id
                row = known.get((number, score.model))
                if row is None:
                    row = known[number, score.model] = ScoreRow(case_id=number, model=score.model)
                    session.add(row)
                row.value, row.slice = score.value, score.slice
                row.features, row.detail = list(score.features), dict(score.detail)

    def scores(self, model: str) -> dict[str, Score]:
        """The scores under a model (its SHA-256), by case; cases without one are not in it."""
        with self._db.read() as session:
            return _scores(session, model)

    def forget_scores(self, model: str) -> None:
        """Drop the scores of a model that is no longer used; they can be computed again.

        Raises
        ------
        ResourceError
            If the store may not be written to.
        """
        with self._db.write() as session:
            session.execute(delete(ScoreRow).where(ScoreRow.model == model))

    def queue(
        self,
        author: str,
        *,
        order: Order = Order.SCORE,
        model: str | None = None,
        states: Collection[State] = TO_ANNOTATE,
        second_reader: bool = False,
        seed: int = 0,
    ) -> list[CaseRecord]:
        """The cases that wait for this author, the next one first; nothing changes.

        Parameters
        ----------
        author
            Cases that others have in work are left out.
        order
            By expected benefit, at random, or first come first served.
        model
            SHA-256 of the model whose scores count; without one `Order.SCORE` is first come.
        states
            Which cases; `TO_REVIEW` for a second reader.
        second_reader
            Leave out cases whose newest version is the author's own.
        seed
            Of the random order.
        """
        author = check_author(author)
        with self._db.read() as session:
            return self._ordered(session, author, order, model, states, second_reader, seed)

    def next_case(
        self,
        author: str,
        *,
        order: Order = Order.SCORE,
        model: str | None = None,
        states: Collection[State] = TO_ANNOTATE,
        second_reader: bool = False,
        seed: int = 0,
        minutes: float = CLAIM_MINUTES,
    ) -> CaseRecord | None:
        """The first case of `queue`, claimed for ``minutes`` in one step; None if none waits.

        Two annotators who ask at the same time get different cases. A case served in the last half
        hour goes to the end of the queue (`queue.HOLD_BACK`), so asking again skips it.

        Raises
        ------
        ResourceError
            If the store may not be written to.
        """
        author = check_author(author)
        with self._db.write() as session:
            waiting = self._ordered(session, author, order, model, states, second_reader, seed)
            for case in waiting:
                row = find_case(session, case.name)
                with suppress(CaseTaken):
                    claim_row(session, row, author, minutes)
                    row.served = now(session)
                    session.flush()
                    return case_records(session, [row])[0]
        return None

    def _ordered(
        self,
        session: Session,
        author: str,
        order: Order,
        model: str | None,
        states: Collection[State],
        second_reader: bool,
        seed: int,
    ) -> list[CaseRecord]:
        rows = list(session.scalars(select(CaseRow).order_by(CaseRow.id)))
        taken = set(
            session.scalars(
                select(ClaimRow.case_id).where(in_force(session), ClaimRow.author != author)
            )
        )
        scores = _scores(session, model) if model else {}
        candidates = {row.name: _candidate(row, scores.get(row.name)) for row in rows}
        wanted = {state.value for state in states}
        waiting = [row for row in rows if row.state in wanted and row.id not in taken]
        records = {one.name: one for one in case_records(session, waiting)}
        if second_reader:
            own = set(
                session.scalars(
                    select(VersionRow.id).where(
                        VersionRow.id.in_([one.newest for one in records.values() if one.newest]),
                        VersionRow.author == author,
                    )
                )
            )
            records = {name: one for name, one in records.items() if one.newest not in own}
        served = [one for one in candidates.values() if one.served is not None]
        served.sort(key=lambda one: one.served.timestamp() if one.served else 0.0, reverse=True)
        line = ordered(
            [candidates[name] for name in records], order, now(session), served[:_RECENT], seed
        )
        return [records[one.name] for one in line]


def _candidate(row: CaseRow, score: Score | None) -> Candidate:
    return Candidate(
        name=row.name,
        patient=row.patient.pseudonym,
        number=row.id,
        score=score.value if score else None,
        features=score.features if score else (),
        served=row.served,
    )


def _scores(session: Session, model: str) -> dict[str, Score]:
    rows = session.execute(
        select(ScoreRow, CaseRow.name).join(CaseRow).where(ScoreRow.model == model)
    )
    return {
        name: Score(name, model, row.value, row.slice, tuple(row.features), row.detail)
        for row, name in rows
    }
