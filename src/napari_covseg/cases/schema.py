"""The tables of the index, SQLAlchemy 2, in SQLite and PostgreSQL.

Only the triggers and the type of short texts know where they lie: SQLite does not count letters,
so PostgreSQL shall not either.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    DDL,
    JSON,
    DateTime,
    ForeignKey,
    String,
    Text,
    UniqueConstraint,
    event,
    select,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship
from sqlalchemy.types import TypeDecorator, TypeEngine

from napari_covseg.domain.errors import InputError

SCHEMA_VERSION = 1
MOVED = "moved"
"""Stands in the place of the version of an index that lies elsewhere now."""
COMING = "coming "
"""Stands before the version of an index that no folder names yet."""


def _short(letters: int) -> TypeEngine[str]:
    return String(letters).with_variant(Text(), "postgresql")


class UtcTime(TypeDecorator[datetime]):
    """A time that is UTC in the database, which keeps no zone, and says so outside."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To naive UTC."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """To aware UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


class JsonText(TypeDecorator[Any]):
    """JSON as text, which is what SQLite keeps; PostgreSQL's own type knows no NaN."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:
        """To text."""
        return json.dumps(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """From text."""
        return json.loads(value)


_JSON = JSON().with_variant(JsonText(), "postgresql")


class Base(DeclarativeBase):
    """All tables."""

    type_annotation_map = {datetime: UtcTime, dict[str, Any]: _JSON, list[Any]: _JSON}  # noqa: RUF012


class MetaRow(Base):
    """Facts about the store itself: ``schema`` (version), ``salt``, on a server ``store``."""

    __tablename__ = "meta"
    key: Mapped[str] = mapped_column(_short(32), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class PatientRow(Base):
    """A patient by pseudonym; ``key`` is a keyed hash of who they are."""

    __tablename__ = "patients"
    id: Mapped[int] = mapped_column(primary_key=True)
    pseudonym: Mapped[str] = mapped_column(_short(32), unique=True)
    key: Mapped[str] = mapped_column(_short(64), unique=True)


class CaseRow(Base):
    """A case; ``stale`` means that ``labelsTr`` does not yet say what ``accepted_id`` does."""

    __tablename__ = "cases"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(_short(64), unique=True)
    patient_id: Mapped[int] = mapped_column(ForeignKey("patients.id"))
    image_sha256: Mapped[str] = mapped_column(_short(64), unique=True)
    geometry: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(_short(16))
    comment: Mapped[str] = mapped_column(Text, default="")
    difficulty: Mapped[str | None] = mapped_column(_short(16))
    added: Mapped[datetime]
    served: Mapped[datetime | None]
    accepted_id: Mapped[str | None] = mapped_column(_short(32))
    accepted_slices: Mapped[str] = mapped_column(Text, default="")
    labels_sha256: Mapped[str | None] = mapped_column(_short(64))
    stale: Mapped[bool] = mapped_column(default=False)
    patient: Mapped[PatientRow] = relationship(lazy="joined")


class VersionRow(Base):
    """A label version; only ``set_aside`` ever changes."""

    __tablename__ = "versions"
    __table_args__ = (UniqueConstraint("case_id", "number"),)
    id: Mapped[str] = mapped_column(_short(32), primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"), index=True)
    number: Mapped[int]
    sha256: Mapped[str] = mapped_column(_short(64), index=True)
    author: Mapped[str] = mapped_column(_short(200))
    created: Mapped[datetime]
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("versions.id"))
    merged_id: Mapped[str | None] = mapped_column(ForeignKey("versions.id"))
    kind: Mapped[str] = mapped_column(_short(16))
    model: Mapped[str | None] = mapped_column(_short(64))
    reviewed: Mapped[str] = mapped_column(Text, default="")
    edited_voxels: Mapped[int]
    minutes: Mapped[float] = mapped_column(default=0.0)
    comment: Mapped[str] = mapped_column(Text, default="")
    set_aside: Mapped[bool] = mapped_column(default=False)
    case: Mapped[CaseRow] = relationship(lazy="joined")


class ReviewRow(Base):
    """A reader's decision."""

    __tablename__ = "reviews"
    id: Mapped[int] = mapped_column(primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"), index=True)
    version_id: Mapped[str | None] = mapped_column(ForeignKey("versions.id"))
    reader: Mapped[str] = mapped_column(_short(200))
    decision: Mapped[str] = mapped_column(_short(16))
    comment: Mapped[str] = mapped_column(Text, default="")
    difficulty: Mapped[str | None] = mapped_column(_short(16))
    reviewed: Mapped[str] = mapped_column(Text, default="")
    created: Mapped[datetime]


class ClaimRow(Base):
    """Who has a case in work, and until when if they are not heard of again."""

    __tablename__ = "claims"
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"), primary_key=True)
    author: Mapped[str] = mapped_column(_short(200))
    since: Mapped[datetime]
    until: Mapped[datetime]


class ScoreRow(Base):
    """The expected benefit of a case under a model."""

    __tablename__ = "scores"
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"), primary_key=True)
    model: Mapped[str] = mapped_column(_short(64), primary_key=True)
    value: Mapped[float]
    slice: Mapped[int | None]
    features: Mapped[list[Any]]
    detail: Mapped[dict[str, Any]]


class ModelRow(Base):
    """A model and its lineage; ``trained_on`` lists (case, label SHA-256)."""

    __tablename__ = "models"
    sha256: Mapped[str] = mapped_column(_short(64), primary_key=True)
    name: Mapped[str] = mapped_column(_short(200))
    parent: Mapped[str | None] = mapped_column(_short(64))
    trained_on: Mapped[list[Any]]
    settings: Mapped[dict[str, Any]]
    seeds: Mapped[dict[str, Any]]
    code_version: Mapped[str] = mapped_column(_short(64))
    metrics: Mapped[dict[str, Any]]
    created: Mapped[datetime]


class RunRow(Base):
    """A training."""

    __tablename__ = "training_runs"
    id: Mapped[int] = mapped_column(primary_key=True)
    started: Mapped[datetime]
    by: Mapped[str] = mapped_column(_short(200))
    settings: Mapped[dict[str, Any]]
    finished: Mapped[datetime | None]
    outcome: Mapped[str] = mapped_column(Text, default="")
    model: Mapped[str | None] = mapped_column(_short(64))


class EventRow(Base):
    """What happened, append only. Names, not keys, so that an event outlives what it tells of."""

    __tablename__ = "events"
    id: Mapped[int] = mapped_column(primary_key=True)
    created: Mapped[datetime]
    actor: Mapped[str] = mapped_column(_short(200))
    kind: Mapped[str] = mapped_column(_short(32), index=True)
    case: Mapped[str | None] = mapped_column(_short(64), index=True)
    version: Mapped[str | None] = mapped_column(_short(32))
    model: Mapped[str | None] = mapped_column(_short(64))
    detail: Mapped[dict[str, Any]]


_CONTENT = "id, case_id, number, sha256, author, created, parent_id, merged_id, kind, model"


def _refusals(table: str, action: str, what: str) -> Iterator[tuple[str, str]]:
    """``(dialect, statement)`` that make a table refuse what may not be done to it."""
    name = f"{table}_{action.split(' ')[0].lower()}"
    yield (
        "sqlite",
        f"CREATE TRIGGER {name} BEFORE {action} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{what} are never changed'); END",
    )
    yield (
        "postgresql",
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
        f"'BEGIN RAISE EXCEPTION ''{what} are never changed'' USING ERRCODE = ''23000''; END'",
    )
    yield (
        "postgresql",
        f"CREATE TRIGGER {name} BEFORE {action} ON {table} EXECUTE FUNCTION {name}()",
    )


for _table, _action, _what in (
    ("events", "UPDATE", "events"),
    ("events", "DELETE", "events"),
    ("versions", "DELETE", "label versions"),
    ("versions", f"UPDATE OF {_CONTENT}", "label versions"),
):
    for _dialect, _statement in _refusals(_table, _action, _what):
        _made = DDL(_statement).execute_if(dialect=_dialect)  # type: ignore[no-untyped-call]
        event.listen(Base.metadata, "after_create", _made)


def schema_told(session: Session) -> str | None:
    """What an index says its version is."""
    return session.scalar(select(MetaRow.value).where(MetaRow.key == "schema"))


def check_version(told: str | None, name: str, index: str) -> int:
    """The version of an index that this program may use as it is, or bring up to date.

    Raises
    ------
    InputError
        If a newer version of the program made it, or it does not say.
    """
    number = (told or "").removeprefix(COMING)
    if not number.isdecimal():
        raise InputError(f"{name}: {index} is damaged: it does not say its version")
    if int(number) > SCHEMA_VERSION:
        raise InputError(
            f"{name}: this case store was made by a newer napari-covseg (store version {number}, "
            f"this program knows {SCHEMA_VERSION}); update the program"
        )
    return int(number)
