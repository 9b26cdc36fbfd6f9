"""Label versions: saved, listed, read, restored. Nothing is ever overwritten."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from napari_covseg.cases.author import check_author
from napari_covseg.cases.base import StoreBase
from napari_covseg.cases.branches import open_branches
from napari_covseg.cases.clock import now
from napari_covseg.cases.encoding import geometry_from_json, ranges_from
from napari_covseg.cases.fitting import checked_slices, find_parent, on_grid
from napari_covseg.cases.index_errors import ConnectionLost, Undecided
from napari_covseg.cases.records import Kind, LabelVersion, NewVersion, SavedVersion
from napari_covseg.cases.rows import (
    find_case,
    find_version,
    log,
    newest_version,
    version_record,
)
from napari_covseg.cases.saving import insert, make_note
from napari_covseg.cases.schema import VersionRow
from napari_covseg.domain.errors import CovsegError, InputError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.volume import LabelMap


class Versions(StoreBase):
    """The part of `CaseStore` that keeps label versions."""

    def save_version(
        self, case: str, labels: LabelMap | NDArray[np.uint8], new: NewVersion
    ) -> SavedVersion:
        """Keep a label map of a case as a new version.

        It is kept whatever others did meanwhile: if their versions stand beside it, the result
        and the events say so. A draft that changes nothing since its parent is not kept again,
        and the parent is returned.

        Parameters
        ----------
        case
            The case's name.
        labels
            On the grid of the case's image; as an array, uint8 ``(z, y, x)``, canonical.
        new
            What is said of them.

        Raises
        ------
        InputError
            If the labels do not fit the image or hold other values than `Label`, or a correction
            changes nothing and marks nothing; if the case or parent is not there.
        ResourceError
            If the disk is full or the store may not be written to: nothing was saved.
        UsageError
            If there is no author, or what is said contradicts itself.
        """
        new = replace(new, author=check_author(new.author))
        with self._db.read() as session:
            row, moment = find_case(session, case), now(session)
            grid = geometry_from_json(row.geometry)
            before = find_parent(session, row, new.parent)
            find_parent(session, row, new.merged)
        fitting = on_grid(case, labels, *grid)
        slices = checked_slices(new.reviewed, before, fitting)
        note = make_note(case, new, before, moment) | {"reviewed": ranges_from(slices)}
        note["edited_voxels"], same = self._count_edits(fitting.labels, before)
        if same and before is not None and slices == before.reviewed and new.merged is None:
            if new.kind is Kind.DRAFT:
                return SavedVersion(before, self.branches(before.id))
            _check_says_something(case, new.kind, before)
        return self._keep(fitting, note)

    def _keep(self, labels: LabelMap, note: dict[str, Any]) -> SavedVersion:
        """File, note, row: in this order, so that a kill at any moment loses nothing whole."""
        identity = secrets.token_hex(16)
        note["sha256"] = self._files.write(labels)
        return self._commit(identity, note)

    def _commit(self, identity: str, note: dict[str, Any]) -> SavedVersion:
        self._files.note(identity, note)
        try:
            saved = self._insert(identity, note)
        except Undecided as error:
            raise Undecided(
                f"{error}: your labels are in the store's folder, and become a version when the "
                "server answers and the store is opened"
            ) from None
        except CovsegError:
            # The caller is told that nothing was saved, so it must not appear later.
            self._files.forget(identity)
            raise
        self._files.forget(identity)
        return saved

    def _insert(self, identity: str, note: Mapping[str, Any]) -> SavedVersion:
        """`insert`, once more where a server went away in the middle: it does no harm twice."""
        try:
            with self._db.write() as session:
                return insert(session, identity, note)
        except ConnectionLost:
            with self._db.write() as session:
                return insert(session, identity, note)

    def _recover(self) -> None:
        """Complete saves that a kill cut off between the label file and the index."""
        for identity, note in self._files.notes():
            # One that cannot be completed (`verify` tells of it) keeps no other from it.
            with suppress(CovsegError, KeyError, TypeError, ValueError):
                if note["sha256"] in self._files.present():
                    self._complete(identity, note)

    def _complete(self, identity: str, note: Mapping[str, Any]) -> None:
        with self._db.write() as session:
            if session.get(VersionRow, identity) is None:
                insert(session, identity, note)
                told = {"why": "the save had been interrupted"}
                log(session, "", "recovered", version=identity, detail=told)
        self._files.forget(identity)

    def history(self, case: str, *, drafts: bool = True) -> list[LabelVersion]:
        """Every version of a case, the oldest first; without ``drafts`` only what was finished.

        Raises
        ------
        InputError
            If there is no such case.
        """
        with self._db.read() as session:
            row = find_case(session, case)
            rows = session.scalars(
                select(VersionRow).where(VersionRow.case_id == row.id).order_by(VersionRow.number)
            )
            found = [version_record(one) for one in rows]
        return [one for one in found if drafts or one.kind is not Kind.DRAFT]

    def histories(self) -> dict[str, list[LabelVersion]]:
        """Every version of every case that has one, by case, the oldest first."""
        found: dict[str, list[LabelVersion]] = {}
        query = select(VersionRow).order_by(VersionRow.case_id, VersionRow.number)
        with self._db.read() as session:
            for row in session.scalars(query):
                found.setdefault(row.case.name, []).append(version_record(row))
        return found

    def version(self, identity: str) -> LabelVersion:
        """One version, by its id.

        Raises
        ------
        InputError
            If there is no such version.
        """
        with self._db.read() as session:
            return version_record(find_version(session, identity))

    def labels(self, identity: str) -> LabelMap:
        """The label map of a version, canonical, on its image's grid.

        Raises
        ------
        InputError
            If the file is gone or was changed since it was saved (its hash differs).
        """
        version = self.version(identity)
        labels = self._files.read(version.sha256, f"{version.case} version {version.number}")
        return LabelMap(labels.labels, labels.geometry, version.case, labels.to_native)

    def edited_voxels(self, identity: str, since: str | None = None) -> NDArray[np.bool_]:
        """Which voxels of a version differ from its parent, or from the version ``since``.

        Made from the two immutable label maps, so it cannot contradict them. Bool ``(z, y, x)``.

        Raises
        ------
        InputError
            As `labels`.
        """
        version = self.version(identity)
        other = since or version.parent
        return self._edited(self.labels(identity).labels, self.version(other) if other else None)

    def prediction(self, case: str, model: str) -> LabelVersion | None:
        """The newest prediction of a case by a model (its SHA-256), if there is one.

        Raises
        ------
        InputError
            If there is no such case.
        """
        for version in reversed(self.history(case, drafts=False)):
            if version.kind is Kind.PREDICTION and version.model == model:
                return version
        return None

    def base_prediction(self, identity: str) -> LabelVersion | None:
        """The model's prediction that a version goes back to, if any: what effort is counted from.

        Raises
        ------
        InputError
            If there is no such version.
        """
        version = self.version(identity)
        while version.kind is not Kind.PREDICTION:
            if version.parent is None:
                return None
            version = self.version(version.parent)
        return version

    def branches(self, identity: str) -> tuple[LabelVersion, ...]:
        """Versions of other hands that stand beside this one, unsettled (`SavedVersion`).

        Raises
        ------
        InputError
            If there is no such version.
        """
        with self._db.read() as session:
            rows = open_branches(session, find_version(session, identity))
            return tuple(version_record(row) for row in rows)

    def restore(self, identity: str, *, author: str, comment: str = "") -> SavedVersion:
        """Take up an old version again: a new version with its content, upon the newest one.

        Raises
        ------
        InputError
            If there is no such version, its file is gone or was changed, or it is the newest.
        ResourceError
            If the store may not be written to.
        """
        author = check_author(author)
        old = self.version(identity)
        labels = self.labels(identity)
        with self._db.read() as session:
            moment = now(session)
            row = newest_version(session, find_case(session, old.case).id)
            newest = version_record(row) if row else old
        if newest.id == old.id:
            raise InputError(f"{old.case}: version {old.number} is the newest; nothing to restore")
        new = NewVersion(
            author=author,
            kind=Kind.RESTORED,
            parent=newest.id,
            comment=comment or f"version {old.number} restored",
        )
        note = make_note(old.case, new, old, moment)
        note |= {"reviewed": ranges_from(old.reviewed), "sha256": old.sha256}
        note["edited_voxels"], _ = self._count_edits(labels.labels, newest)
        return self._commit(secrets.token_hex(16), note)

    def _count_edits(
        self, labels: NDArray[np.uint8], before: LabelVersion | None
    ) -> tuple[int, bool]:
        """How many voxels were edited, and whether the labels are certainly the parent's."""
        try:
            count = int(np.count_nonzero(self._edited(labels, before)))
        except InputError:
            # A parent whose file is damaged must not cost the work that was built on it.
            return int(np.count_nonzero(labels)), False
        return count, count == 0

    def _edited(self, labels: NDArray[np.uint8], before: LabelVersion | None) -> NDArray[np.bool_]:
        if before is None:
            return np.asarray(labels != Label.BACKGROUND)
        return np.asarray(labels != self.labels(before.id).labels)


def _check_says_something(case: str, kind: Kind, before: LabelVersion) -> None:
    """A correction that changes and marks nothing is a mistake, unless it ends a draft."""
    if kind is Kind.CORRECTION and before.kind is not Kind.DRAFT:
        raise InputError(
            f"{case}: nothing was changed and no slice was newly reviewed since version "
            f"{before.number}; there is nothing to save"
        )
