"""The case store: a folder that is an nnU-Net v2 raw dataset, and remembers how it came to be.

    store/
      imagesTr/case_0001_0000.nii.gz    every case's CT
      labelsTr/case_0001.nii.gz         accepted labels only; slices not reviewed are ``ignore``
      dataset.json, cases.csv           for nnU-Net, ``covseg train`` and other tools
      covseg.sqlite                     cases, patients by pseudonym, versions, reviews, models, ...
      versions/SHA256.nii.gz            every label map that ever was, never changed
      models/                           files of the models trained from this store
      uncertainty/                      where models are unsure of cases; may be deleted

Several people may work on one folder at once, also on a network share. Every call opens the index,
does its work in one transaction and closes it, so a `CaseStore` may be used from several threads.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from napari_covseg.cases import derived
from napari_covseg.cases.author import check_author
from napari_covseg.cases.base import MODELS, VERSIONS
from napari_covseg.cases.claims import Claims
from napari_covseg.cases.clock import now
from napari_covseg.cases.database import Database
from napari_covseg.cases.encoding import geometry_to_json
from napari_covseg.cases.files import coming, settle, sha256_of, sweep
from napari_covseg.cases.index_errors import Undecided
from napari_covseg.cases.lineage import Lineage
from napari_covseg.cases.order import Queue
from napari_covseg.cases.place import FILE, checked_place, holds_store
from napari_covseg.cases.records import CaseRecord, DuplicateCase, Problem, State
from napari_covseg.cases.reviews import Reviews
from napari_covseg.cases.rows import case_records, find_case, log
from napari_covseg.cases.schema import CaseRow, PatientRow
from napari_covseg.cases.verify import problems_of
from napari_covseg.cases.versions import Versions
from napari_covseg.domain.errors import CovsegError, InputError, ResourceError, UsageError
from napari_covseg.domain.volume import CTVolume
from napari_covseg.io.read import read_volume
from napari_covseg.io.write import write_volume

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


class CaseStore(Versions, Reviews, Claims, Queue, Lineage):
    """A case store that is open. Made by `create` or `open`, not by its constructor."""

    @classmethod
    def create(
        cls, folder: str | Path, *, author: str, index: str | None = None, schema: str | None = None
    ) -> CaseStore:
        """Make a new, empty store.

        Parameters
        ----------
        folder
            A new or empty one.
        author
            Who makes it.
        index
            Address of a PostgreSQL database (``postgresql://server/database``, no password) that is
            to hold the index; None: the folder itself.
        schema
            Of that database, one for each store; None: ``covseg``.

        Raises
        ------
        UsageError
            If something is in the folder already, there is no author, or the address cannot be
            used or holds an index already.
        ResourceError
            If the folder cannot be made or written to.
        """
        folder, author = Path(folder).absolute(), check_author(author)
        place = None if index is None else checked_place(index, schema)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                kind = "holds a case store already" if holds_store(folder) else "is not empty"
                raise UsageError(f"{folder.name}: {kind}; expected a new or empty folder")
            for inner in (derived.IMAGES, derived.LABELS, VERSIONS, MODELS):
                (folder / inner).mkdir()
        except OSError as error:
            raise ResourceError(
                f"{folder.name}: the store cannot be made here ({error.strerror})"
            ) from None
        try:
            Database.create(folder, place)
        except CovsegError:
            _undo(folder)
            raise
        store = cls(folder)
        with store._db.write() as session:
            log(session, author, "store created")
        store._refresh()
        return store

    @classmethod
    def open(cls, folder: str | Path) -> CaseStore:
        """Open a store; what a killed program left half done is completed first.

        Also a store that may only be read opens.

        Raises
        ------
        InputError
            If there is no store, it is damaged, or a newer version of the program made it.
        """
        folder = Path(folder).absolute()
        if not holds_store(folder):
            raise InputError(
                f"{folder.name}: no case store here ({FILE} is missing); covseg dataset init makes "
                "one"
            )
        store = cls(folder)
        store._db.bring_up_to_date()
        # What cannot be completed now (no permission, a damaged file) keeps nobody from looking;
        # `verify` tells of it.
        with suppress(CovsegError):
            store._recover()
        with suppress(CovsegError):
            if store._is_stale():
                store._refresh()
        for inner in (VERSIONS, MODELS, derived.LABELS, derived.IMAGES):
            sweep(folder / inner)
        return store

    def add_case(
        self,
        volume: CTVolume,
        *,
        author: str,
        patient: str | None = None,
        name: str | None = None,
    ) -> CaseRecord:
        """Add a CT; it gets a pseudonym and is written without any header of its source.

        Parameters
        ----------
        volume
            The CT.
        author
            Who adds it.
        patient
            Whatever identifies the patient (a DICOM PatientID, a code): only a keyed hash of it is
            kept, so that scans of one patient share a pseudonym. None: a patient of its own.
        name
            A name instead of ``case_0001`` and so on, if it says nothing about the patient.

        Raises
        ------
        DuplicateCase
            If the same image is in the store already.
        UsageError
            If the name is taken or not made of letters, digits, ``_`` and ``-``.
        ResourceError, InputError
            If the disk is full or the store may not be written to; nothing is left behind.
        """
        author = check_author(author)
        if name is not None and not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} is no case name: expected up to 63 letters, digits, _ and -"
            )
        with coming(self.folder / derived.IMAGES) as path:
            write_volume(volume, path)
            record = self._add(path, volume, author, patient, name)
        self._refresh()
        return record

    def _add(
        self, path: Path, volume: CTVolume, author: str, patient: str | None, name: str | None
    ) -> CaseRecord:
        """The row of a written image, and its place."""
        sha256, record = sha256_of(path), None
        try:
            with self._db.write() as session:
                same = session.scalar(select(CaseRow).where(CaseRow.image_sha256 == sha256))
                if same is not None:
                    raise DuplicateCase(same.name)
                row = CaseRow(
                    name=self._free_name(session, name),
                    patient=_patient(session, self._salt(session), patient),
                    image_sha256=sha256,
                    geometry=geometry_to_json(volume.geometry, volume.to_native),
                    state=State.NEW.value,
                    comment="",
                    added=now(session),
                    accepted_slices="",
                    stale=True,
                )
                session.add(row)
                log(session, author, "case added", case=row.name)
                session.flush()
                record = case_records(session, [row])[0]
                # Last, so that a database that refuses leaves no image.
                settle(path, self.image_path(record.name))
        except Undecided:
            # The row may be there, and then needs its image; `verify` tells of one that is not.
            raise
        except CovsegError:
            if record is not None:
                with suppress(OSError):
                    self.image_path(record.name).unlink(missing_ok=True)
            raise
        return record

    def cases(
        self, *, states: Collection[State] | None = None, patient: str | None = None
    ) -> list[CaseRecord]:
        """The cases in the order they came, all or those in some states or of one patient."""
        query = select(CaseRow).order_by(CaseRow.id)
        if states is not None:
            query = query.where(CaseRow.state.in_([state.value for state in states]))
        with self._db.read() as session:
            found = case_records(session, session.scalars(query))
        return [one for one in found if patient is None or one.patient == patient]

    def case(self, name: str) -> CaseRecord:
        """One case.

        Raises
        ------
        InputError
            If there is no such case.
        """
        with self._db.read() as session:
            return case_records(session, [find_case(session, name)])[0]

    def image_path(self, case: str) -> Path:
        """The file of a case's CT, NIfTI in HU."""
        return derived.image_path(self.folder, case)

    def image(self, case: str) -> CTVolume:
        """A case's CT.

        Raises
        ------
        InputError
            If there is no such case, or its file is gone or damaged.
        """
        self.case(case)
        return read_volume(self.image_path(case))

    def labels_path(self, case: str) -> Path:
        """Where the accepted labels of a case lie once there are any."""
        return derived.labels_path(self.folder, case)

    def verify(self) -> list[Problem]:
        """Look at every file: is it there, and is it what was saved? Changes nothing.

        Raises
        ------
        InputError
            If the index itself is damaged.
        """
        with self._db.read() as session:
            return problems_of(session, self.folder, self._files)

    def _is_stale(self) -> bool:
        with self._db.read() as session:
            stale = session.scalar(select(CaseRow.id).where(CaseRow.stale).limit(1))
        return stale is not None or not (self.folder / "dataset.json").is_file()

    def _free_name(self, session: Session, wanted: str | None) -> str:
        names = {name.casefold() for name in session.scalars(select(CaseRow.name))}
        if wanted is not None:
            if wanted.casefold() in names or self.image_path(wanted).exists():
                raise UsageError(f"{wanted}: a case of this name is in the store already")
            return wanted
        number = len(names) + 1
        while (name := f"case_{number:04d}") in names or self.image_path(name).exists():
            number += 1
        return name


def _undo(folder: Path) -> None:
    """A store whose index could not be made leaves an empty folder, to try again in."""
    if not holds_store(folder):
        for inner in (derived.IMAGES, derived.LABELS, VERSIONS, MODELS):
            with suppress(OSError):
                (folder / inner).rmdir()


def _patient(session: Session, salt: bytes, told: str | None) -> PatientRow:
    """The patient with this identity, or a new one; nobody's identity is kept."""
    identity = told.strip() if told else ""
    secret = identity or secrets.token_hex(16)
    key = hmac.new(salt, secret.encode(errors="replace"), "sha256").hexdigest()
    row = session.scalar(select(PatientRow).where(PatientRow.key == key))
    if row is None:
        count = len(list(session.scalars(select(PatientRow.id))))
        row = PatientRow(pseudonym=f"patient_{count + 1:04d}", key=key)
        session.add(row)
        session.flush()
    return row
