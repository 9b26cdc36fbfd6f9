"""Claims: who has a case in work, so that two annotators do not take the same one."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from napari_covseg.cases.author import check_author
from napari_covseg.cases.base import StoreBase
from napari_covseg.cases.clock import now
from napari_covseg.cases.records import CaseTaken
from napari_covseg.cases.rows import find_case, live_claim
from napari_covseg.cases.schema import CaseRow, ClaimRow

CLAIM_MINUTES = 120.0
"""A claim not renewed for so long has run out; a saved draft renews it, and napari does."""


class Claims(StoreBase):
    """The part of `CaseStore` that keeps claims."""

    def claim(self, case: str, author: str, *, minutes: float = CLAIM_MINUTES) -> None:
        """Take a case into work, or renew the claim on it.

        A claim ends when the case is saved as corrected or accepted, by `release`, or after
        ``minutes``, by the server's clock where there is one. It keeps nobody from saving.

        Raises
        ------
        CaseTaken
            If another author has it.
        InputError
            If there is no such case.
        ResourceError
            If the store may not be written to.
        """
        author = check_author(author)
        with self._db.write() as session:
            claim_row(session, find_case(session, case), author, minutes)

    def release(self, case: str, author: str) -> None:
        """Give a case back; nothing happens if the author has no claim on it.

        Raises
        ------
        InputError, ResourceError
            As `claim`.
        """
        author = check_author(author)
        with self._db.write() as session:
            release_row(session, find_case(session, case), author)


def claim_row(session: Session, case: CaseRow, author: str, minutes: float) -> None:
    """Set or renew the claim; see `Claims.claim`."""
    live = live_claim(session, case.id)
    if live is not None and live.author != author:
        raise CaseTaken(
            f"{case.name}: {live.author} has it in work since {live.since:%H:%M} UTC, and until "
            f"{live.until:%H:%M} if they are not heard of; take another case"
        )
    moment = now(session)
    until = moment + timedelta(minutes=minutes)
    if live is None:
        session.merge(ClaimRow(case_id=case.id, author=author, since=moment, until=until))
    else:
        # A draft, which asks for less, does not shorten what was asked for by name.
        live.until = max(live.until, until)
    session.flush()


def release_row(session: Session, case: CaseRow, author: str) -> None:
    """Drop the claim of this author, if there is one."""
    session.execute(delete(ClaimRow).where(ClaimRow.case_id == case.id, ClaimRow.author == author))
