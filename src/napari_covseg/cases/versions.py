"""Label versions: saved, listed, read, restored. Nothing is ever overwritten."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from napari_covseg.cases.base import StoreBase, check_author
from napari_covseg.cases.branches import open_branches
from napari_covseg.cases.clock import now
from napari_covseg.cases.encoding import geometry_from_json, ranges_from
from napari_covseg.cases.index_errors import ConnectionLost, Undecided
from napari_covseg.cases.records import Kind, LabelVersion, SavedVersion
from napari_covseg.cases.rows import (
    find_case,
    find_version,
    log,
    newest_version,
    version_record,
)
from napari_covseg.cases.saving import insert, make_note
from napari_covseg.cases.schema import CaseRow, VersionRow
from napari_covseg.domain.errors import CovsegError, InputError, UsageError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.volume import LabelMap

_MOST_AFFINE_MM = 0.05


class Versions(StoreBase):
    """The part of `CaseStore` that keeps label versions."""

    def save_version(
        self,
        case: str,
        labels: LabelMap | NDArray[np.uint8],
        *,
        author: str,
        kind: Kind,
        parent: str | None = None,
        merged: str | None = None,
        reviewed: Iterable[int] | None = None,
        minutes: float = 0.0,
        model: str | None = None,
        comment: str = "",
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
        author
            Who drew it, or who ran the model.
        kind
            How it came to be. Corrections, consensus and imports make the case ``corrected``,
            drafts ``in work``, predictions ``predicted`` if it was new.
        parent
            Id of the version it started from (`LabelVersion.id`); None: from nothing.
        merged
            Id of the second version that a consensus joins.
        reviewed
            Every slice (canonical z) that a person has checked; None: those of the parent.
        minutes
            Time spent since the parent.
        model
            SHA-256 of the model of a prediction; otherwise that of the parent is taken on.
        comment
            What the author wants to say.

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
        author = check_author(author)
        with self._db.read() as session:
            row, moment = find_case(session, case), now(session)
            grid = geometry_from_json(row.geometry)
            before = _parent(session, row, parent)
            _parent(session, row, merged)
        fitting = _fitting(case, labels, *grid)
        slices = _slices(reviewed, before, fitting)
        note = make_note(
            *(case, author, kind, parent, merged, minutes, model, before, comment, moment)
        )
        note |= {"reviewed": ranges_from(slices)}
        note["edited_voxels"], same = self._count_edits(fitting.labels, before)
        if same and before is not None and slices == before.reviewed and merged is None:
            if kind is Kind.DRAFT:
                return SavedVersion(before, self.branches(before.id))
            if kind is Kind.CORRECTION and before.kind is not Kind.DRAFT:
                raise InputError(
                    f"{case}: nothing was changed and no slice was newly reviewed since version "
                    f"{before.number}; there is nothing to save"
                )
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
        note = make_note(
            *(old.case, author, Kind.RESTORED, newest.id, None, 0.0, None, old),
            *(comment or f"version {old.number} restored", moment),
        )
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


def _parent(session: Session, case: CaseRow, identity: str | None) -> LabelVersion | None:
    if identity is None:
        return None
    row = find_version(session, identity)
    if row.case_id != case.id:
        raise UsageError(f"{case.name}: version {identity[:8]} is of another case")
    return version_record(row)


def _fitting(
    case: str, labels: LabelMap | NDArray[np.uint8], geometry: Any, to_native: Any
) -> LabelMap:
    """The labels on the image's own grid; anything else is refused."""
    array = labels.labels if isinstance(labels, LabelMap) else labels
    if array.shape != geometry.shape:
        here, there = (" x ".join(map(str, shape[::-1])) for shape in (array.shape, geometry.shape))
        raise InputError(
            f"{case}: the label map has {here} voxels (x, y, z), its image {there}; labels must "
            "lie on their image's grid"
        )
    if isinstance(labels, LabelMap) and not labels.geometry.same_as(geometry, _MOST_AFFINE_MM):
        apart = float(np.abs(labels.geometry.corners_mm() - geometry.corners_mm()).max())
        raise InputError(
            f"{case}: the label map lies up to {apart:.1f} mm beside its image; labels must lie on "
            "their image's grid"
        )
    if array.dtype != np.uint8 or (array.size and int(array.max()) > max(Label)):
        raise InputError(f"{case}: the label map holds other values than labels 0 to {max(Label)}")
    return LabelMap(np.ascontiguousarray(array), geometry, case, to_native)


def _slices(
    reviewed: Iterable[int] | None, before: LabelVersion | None, labels: LabelMap
) -> frozenset[int]:
    if reviewed is None:
        return before.reviewed if before else frozenset()
    slices = frozenset(int(one) for one in reviewed)
    count = labels.geometry.shape[0]
    wrong = sorted(one for one in slices if not 0 <= one < count)
    if wrong:
        raise UsageError(f"{labels.case}: there is no slice {wrong[0]}; it has 0 to {count - 1}")
    return slices
