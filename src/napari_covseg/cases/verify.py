"""Whether the files of a store are what its index says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from napari_covseg.cases import derived
from napari_covseg.cases.base import MODELS
from napari_covseg.cases.files import ENDING, LabelFiles, sha256_of
from napari_covseg.cases.records import Problem
from napari_covseg.cases.schema import CaseRow, ModelRow, VersionRow
from napari_covseg.domain.errors import InputError

_SHOWN = 12


def problems_of(session: Session, folder: Path, files: LabelFiles) -> list[Problem]:
    """Every file that is missing, changed or left over; versions first."""
    cases = list(session.scalars(select(CaseRow).order_by(CaseRow.id)))
    return [
        *_versions(session, files),
        *_images(folder, cases),
        *_accepted(folder, cases),
        *_models(session, folder),
        *_leftovers(session, folder, files, cases),
    ]


def _versions(session: Session, files: LabelFiles) -> Iterator[Problem]:
    query = select(VersionRow).order_by(VersionRow.case_id, VersionRow.number)
    users: dict[str, list[str]] = {}
    for row in session.scalars(query):
        users.setdefault(row.sha256, []).append(f"{row.case.name} version {row.number}")
    for sha256, told in users.items():
        name = f"versions/{sha256[:_SHOWN]}..."
        found = _hash(files.path(sha256))
        if found is None:
            yield Problem(name, f"missing: {', '.join(told)}; bring it back from a copy")
        elif found != sha256:
            yield Problem(
                name, f"changed after it was saved: {', '.join(told)}; bring it back from a copy"
            )


def _images(folder: Path, cases: list[CaseRow]) -> Iterator[Problem]:
    for row in cases:
        path = derived.image_path(folder, row.name)
        found = _hash(path)
        name = f"{derived.IMAGES}/{path.name}"
        if found is None:
            yield Problem(name, "missing; bring it back from a copy")
        elif found != row.image_sha256:
            yield Problem(name, "changed after it was added; bring it back from a copy")


def _accepted(folder: Path, cases: list[CaseRow]) -> Iterator[Problem]:
    for row in cases:
        path = derived.labels_path(folder, row.name)
        name = f"{derived.LABELS}/{path.name}"
        if row.stale:
            yield Problem(name, "not up to date; it is written when the store is next opened")
        elif row.accepted_id is not None and _hash(path) != row.labels_sha256:
            yield Problem(
                name, "missing or changed after it was written; accept the version once more"
            )


def _models(session: Session, folder: Path) -> Iterator[Problem]:
    """Are the weights of each model those that went into the index?"""
    for sha256 in session.scalars(select(ModelRow.sha256).order_by(ModelRow.sha256)):
        home = folder / MODELS / sha256[:16]
        name = f"{MODELS}/{home.name}"
        weights = sorted(home.glob("*.safetensors"))
        if len(weights) != 1 or not weights[0].with_suffix(".json").is_file():
            yield Problem(name, "the model's files are missing; bring them back from a copy")
        elif _hash(weights[0]) != sha256:
            yield Problem(name, "the weights were changed; bring them back from a copy")


def _leftovers(
    session: Session, folder: Path, files: LabelFiles, cases: list[CaseRow]
) -> Iterator[Problem]:
    known = set(session.scalars(select(VersionRow.sha256)))
    for sha256 in sorted(files.present() - known):
        yield Problem(
            f"versions/{sha256[:_SHOWN]}...",
            "left by an interrupted save, no version uses it; it may be deleted",
            harmless=True,
        )
    for identity, _ in files.notes():
        yield Problem(
            f"versions/pending-{identity[:_SHOWN]}...",
            "a save is under way, or was cut off and is completed when the store is next opened",
            harmless=True,
        )
    trained = {sha256[:16] for sha256 in session.scalars(select(ModelRow.sha256))}
    for home in sorted((folder / MODELS).glob("[0-9a-f]*")):
        if home.name not in trained:
            yield Problem(
                f"{MODELS}/{home.name}",
                "left by an interrupted training, holds no model of the store; it may be deleted",
                harmless=True,
            )
    names = {row.name for row in cases}
    labelled = {row.name for row in cases if row.accepted_id or row.stale}
    for inner, suffix, expected in (
        (derived.IMAGES, f"_0000{ENDING}", names),
        (derived.LABELS, ENDING, labelled),
    ):
        for path in sorted((folder / inner).glob(f"*{suffix}")):
            name = path.name.removesuffix(suffix)
            if name not in expected and not path.name.startswith("."):
                yield Problem(
                    f"{inner}/{path.name}",
                    "belongs to no case of the store; move it away, or add it as a case",
                    harmless=inner == derived.IMAGES,
                )


def _hash(path: Path) -> str | None:
    try:
        return sha256_of(path) if path.is_file() else None
    except InputError:
        return None
