"""Readers' decisions: accept, send back, flag, comment; how hard a case was."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from napari_covseg.cases.author import check_author
from napari_covseg.cases.base import StoreBase
from napari_covseg.cases.branches import open_branches
from napari_covseg.cases.claims import release_row
from napari_covseg.cases.clock import now
from napari_covseg.cases.encoding import ranges_from
from napari_covseg.cases.records import (
    Decision,
    Difficulty,
    Kind,
    OpenBranches,
    Review,
    State,
)
from napari_covseg.cases.rows import (
    find_case,
    find_version,
    log,
    newest_version,
    review_record,
    version_record,
)
from napari_covseg.cases.schema import CaseRow, ReviewRow, VersionRow
from napari_covseg.domain.errors import InputError
from napari_covseg.domain.labels import Label


class Reviews(StoreBase):
    """The part of `CaseStore` that keeps readers' decisions."""

    def accept(
        self,
        version: str,
        *,
        reader: str,
        whole: bool = False,
        instead_of: Collection[str] = (),
        comment: str = "",
        difficulty: Difficulty | None = None,
    ) -> Review:
        """Accept a version: it becomes the case's labels in ``labelsTr``.

        Slices that nobody reviewed are written as `Label.IGNORE`, so that they teach nothing.

        Parameters
        ----------
        version
            Id of the version.
        reader
            Who accepts: the annotator, or a second reader.
        whole
            The reader has checked every slice, also those not marked as reviewed.
        instead_of
            Ids of other readers' versions (`CaseStore.branches`) that are set aside by this.
        comment, difficulty
            What the reader says; a difficulty stays with the case.

        Raises
        ------
        OpenBranches
            If other readers' versions stand beside it that are not in ``instead_of``.
        InputError
            If no slice was reviewed, the label map is empty, or its file is gone or was changed.
        ResourceError
            If the store may not be written to or the disk is full.
        """
        reader = check_author(reader)
        slices = self._acceptable(version, whole)
        with self._db.write() as session:
            row = find_version(session, version)
            _settle(session, row, instead_of)
            case = row.case
            case.accepted_id = row.id
            case.accepted_slices = ranges_from(slices)
            case.state = State.ACCEPTED.value
            case.stale = True
            release_row(session, case, row.author)
            release_row(session, case, reader)
            review = _decide(
                session, case, row, reader, Decision.ACCEPT, comment, difficulty, slices
            )
        self._publish(review.case)
        return review

    def send_back(self, case: str, *, reader: str, comment: str) -> Review:
        """Return a case to its annotator; its labels leave ``labelsTr`` if they were accepted.

        Raises
        ------
        InputError
            If there is no such case, or it has no version yet.
        ResourceError
            If the store may not be written to.
        """
        reader = check_author(reader)
        with self._db.write() as session:
            row = find_case(session, case)
            version = newest_version(session, row.id)
            if version is None:
                raise InputError(f"{case}: there is no label version yet to send back")
            row.state = State.IN_WORK.value
            row.stale = row.stale or row.accepted_id is not None
            row.accepted_id, row.accepted_slices = None, ""
            review = _decide(session, row, version, reader, Decision.SEND_BACK, comment)
        self._publish(case)
        return review

    def flag(self, case: str, *, reader: str, comment: str) -> Review:
        """Mark a case that needs someone else's eye; the queue leaves it out until `unflag`.

        Raises
        ------
        InputError, ResourceError
            As `send_back`.
        """
        return self._mark(case, reader, Decision.FLAG, comment)

    def unflag(self, case: str, *, reader: str, comment: str = "") -> Review:
        """Take a flag away; the case stands again where its versions say.

        Raises
        ------
        InputError, ResourceError
            As `send_back`.
        """
        return self._mark(case, reader, Decision.UNFLAG, comment)

    def comment(
        self, case: str, *, reader: str, comment: str, difficulty: Difficulty | None = None
    ) -> Review:
        """Say something about a case, or how hard it is, and change nothing else.

        Raises
        ------
        InputError, ResourceError
            As `send_back`.
        """
        return self._mark(case, reader, Decision.COMMENT, comment, difficulty)

    def reviews(self, case: str) -> list[Review]:
        """Every decision about a case, the oldest first.

        Raises
        ------
        InputError
            If there is no such case.
        """
        with self._db.read() as session:
            row = find_case(session, case)
            found = session.scalars(
                select(ReviewRow).where(ReviewRow.case_id == row.id).order_by(ReviewRow.id)
            )
            return [review_record(one, case) for one in found]

    def acceptances(self) -> dict[str, Review]:
        """By case, the last decision that accepted the labels which are accepted now.

        In the order of these decisions.
        """
        query = (
            select(ReviewRow, CaseRow.name)
            .join(CaseRow, CaseRow.id == ReviewRow.case_id)
            .where(ReviewRow.decision == Decision.ACCEPT.value)
            .where(ReviewRow.version_id == CaseRow.accepted_id)
            .order_by(ReviewRow.id)
        )
        found: dict[str, Review] = {}
        with self._db.read() as session:
            for row, name in session.execute(query):
                found.pop(name, None)
                found[name] = review_record(row, name)
        return found

    def _mark(
        self,
        case: str,
        reader: str,
        decision: Decision,
        comment: str,
        difficulty: Difficulty | None = None,
    ) -> Review:
        reader = check_author(reader)
        with self._db.write() as session:
            row = find_case(session, case)
            version = newest_version(session, row.id)
            if decision is Decision.FLAG:
                row.state = State.FLAGGED.value
            elif decision is Decision.UNFLAG and row.state == State.FLAGGED:
                row.state = _state_of(row, version).value
            return _decide(session, row, version, reader, decision, comment, difficulty)

    def _acceptable(self, identity: str, whole: bool) -> frozenset[int]:
        """The slices that count; a version that would teach nothing is refused."""
        with self._db.read() as session:
            version = version_record(find_version(session, identity))
        told = f"{version.case} version {version.number}"
        labels = self._files.read(version.sha256, told).labels
        slices = frozenset(range(len(labels))) if whole else version.reviewed
        if not slices:
            raise InputError(
                f"{told}: no slice is marked as reviewed, so nothing would be accepted; mark the "
                "slices you checked, or accept the whole scan"
            )
        # Slice by slice, and not by `isin`: seconds for a whole scan otherwise.
        empty = (Label.BACKGROUND, Label.IGNORE)
        if not any(np.all([labels[z] != one for one in empty], axis=0).any() for z in slices):
            raise InputError(
                f"{told}: the label map is empty: no lung or lesion is drawn in what was reviewed"
            )
        return slices


def _settle(session: Session, row: VersionRow, instead_of: Collection[str]) -> None:
    beside = open_branches(session, row)
    unsettled = [one for one in beside if one.id not in instead_of]
    if unsettled:
        listed = ", ".join(f"{one.number} of {one.author}" for one in unsettled)
        raise OpenBranches(
            f"{row.case.name}: beside version {row.number} stands version {listed}; compare them, "
            "then join them or set the other aside"
        )
    for one in beside:
        one.set_aside = True
    row.set_aside = False


def _state_of(case: CaseRow, newest: VersionRow | None) -> State:
    """Where a case stands by its versions alone."""
    if newest is None:
        return State.NEW
    if case.accepted_id == newest.id:
        return State.ACCEPTED
    if newest.kind == Kind.PREDICTION:
        return State.ACCEPTED if case.accepted_id else State.PREDICTED
    finished = newest.kind in (Kind.CORRECTION, Kind.CONSENSUS, Kind.IMPORT)
    return State.CORRECTED if finished else State.IN_WORK


def _decide(
    session: Session,
    case: CaseRow,
    version: VersionRow | None,
    reader: str,
    decision: Decision,
    comment: str,
    difficulty: Difficulty | None = None,
    reviewed: frozenset[int] = frozenset(),
) -> Review:
    """Keep a decision, on the case too, and in the log."""
    comment = comment.strip()
    if comment or decision in (Decision.UNFLAG, Decision.ACCEPT):
        case.comment = comment
    if difficulty is not None:
        case.difficulty = difficulty.value
    row = ReviewRow(
        case_id=case.id,
        version_id=version.id if version else None,
        reader=reader,
        decision=decision.value,
        comment=comment,
        difficulty=difficulty.value if difficulty else None,
        reviewed=ranges_from(reviewed),
        created=now(session),
    )
    session.add(row)
    identity = version.id if version else None
    log(session, reader, decision.value, case=case.name, version=identity)
    session.flush()
    return review_record(row, case.name)
