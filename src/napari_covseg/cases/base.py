"""What all parts of the case store share: its folder, its index and its label files."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from napari_covseg.cases import derived
from napari_covseg.cases.database import Database
from napari_covseg.cases.encoding import numbers_from
from napari_covseg.cases.files import LabelFiles
from napari_covseg.cases.rows import find_version
from napari_covseg.cases.schema import CaseRow, MetaRow
from napari_covseg.domain.errors import CovsegError

VERSIONS = "versions"
MODELS = "models"


class StoreBase:
    """The folder of a store and what lies in it.

    Parameters
    ----------
    folder
        The store's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._db = Database(folder)
        self._files = LabelFiles(folder / VERSIONS)

    def _refresh(self) -> None:
        """Bring ``labelsTr``, ``dataset.json`` and ``cases.csv`` up to what the index says.

        Under the lock of the index, so that two programs do not write them in turn.
        """
        problem: CovsegError | None = None
        with self._db.write() as session:
            stale = list(session.scalars(select(CaseRow).where(CaseRow.stale)))
            for row in stale:
                try:
                    self._refresh_labels(session, row)
                    row.stale = False
                except CovsegError as error:
                    problem = error
            if stale or not (self.folder / "dataset.json").is_file():
                self._write_about(session)
        if problem is not None:
            raise problem

    def _publish(self, case: str) -> None:
        """`_refresh` after a decision that is in the index already."""
        try:
            self._refresh()
        except CovsegError as error:
            raise type(error)(
                f"{case}: the decision is kept, but labelsTr is not yet up to date ({error}); that "
                "is made up for when the store is next opened"
            ) from None

    def _refresh_labels(self, session: Session, row: CaseRow) -> None:
        if row.accepted_id is None:
            derived.remove_accepted(self.folder, row.name)
            row.labels_sha256 = None
            return
        version = find_version(session, row.accepted_id)
        labels = self._files.read(version.sha256, f"{row.name} version {version.number}")
        partial = derived.with_ignore(labels, numbers_from(row.accepted_slices))
        row.labels_sha256 = derived.write_accepted(self.folder, row.name, partial)

    def _write_about(self, session: Session) -> None:
        rows = list(session.scalars(select(CaseRow)))
        derived.write_patients(self.folder, {row.name: row.patient.pseudonym for row in rows})
        derived.write_about(self.folder, [row.name for row in rows if row.accepted_id])

    def _salt(self, session: Session) -> bytes:
        salt = session.scalar(select(MetaRow.value).where(MetaRow.key == "salt"))
        return bytes.fromhex(salt or "")
