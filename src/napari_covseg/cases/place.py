"""Where the index of a store lies: in its folder (SQLite), or on a PostgreSQL server.

A store on a server says so in ``covseg-index.json``: the server's address without any password,
the schema that holds its tables, and which store they must be of. Who may enter is asked as every
PostgreSQL program asks: ``PGUSER``, ``PGPASSWORD``, ``~/.pgpass``, certificates.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from napari_covseg.cases.files import sync_folder
from napari_covseg.domain.errors import InputError, ResourceError, UsageError
from napari_covseg.io.atomic import write_json

FILE = "covseg.sqlite"
INDEX_FILE = "covseg-index.json"
DEFAULT_SCHEMA = "covseg"
SQLITE = "sqlite"
"""Says in words that the index lies in the folder."""

_FORMAT = 1
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_SHARED = frozenset(
    {
        *("host", "port", "application_name", "connect_timeout", "channel_binding"),
        *("sslmode", "sslrootcert", "target_session_attrs", "gssencmode", "krbsrvname"),
        *("require_auth", "sslnegotiation"),
    }
)
"""What may follow ``?`` in an address: nothing that is one person's, nothing that is secret."""


@dataclass(frozen=True, slots=True)
class ServerPlace:
    """A schema of a PostgreSQL database.

    Parameters
    ----------
    url
        ``postgresql://HOST/DATABASE``, without a password.
    schema
        Of the database, one for each store.
    store
        Which store the tables must be of; empty until it has been made.
    """

    url: str
    schema: str = DEFAULT_SCHEMA
    store: str = field(default="", compare=False)

    @property
    def told(self) -> str:
        """The server and database in errors; addresses here hold no password."""
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2] or "this computer"
        return f"PostgreSQL on {host}{parts.path.rstrip('/')}"


def checked_place(url: str, schema: str | None = None) -> ServerPlace:
    """An address that a person gave, refused if it holds what must not be kept.

    Raises
    ------
    UsageError
        If it is no address of a PostgreSQL database, or holds a password. Says nothing of it.
    """
    name = DEFAULT_SCHEMA if schema is None else schema
    if not _SCHEMA.fullmatch(name) or name.startswith("pg_"):
        raise UsageError(
            f"--schema {name!r}: expected small letters, digits and _, beginning with a letter"
        )
    try:
        parts = urlsplit(url.strip())
        # A slash or question mark in a password ends what is taken for the server's name.
        secret = parts.password is not None or "@" in parts.path + parts.query
    except ValueError:
        parts, secret = urlsplit(""), False
    if parts.scheme not in ("postgresql", "postgres") or len(parts.path) < 2 or parts.fragment:
        raise UsageError(
            "expected an address such as postgresql://server/database, or sqlite for an index in "
            "the store's folder"
        )
    more = [key for key, _ in parse_qsl(parts.query, keep_blank_values=True)]
    if secret or any("password" in key for key in more):
        raise UsageError(
            "leave the password out of the address, everyone who opens the folder can read it: set "
            "PGPASSWORD, or write it into ~/.pgpass"
        )
    unknown = [key for key in more if key not in _SHARED]
    if unknown:
        raise UsageError(
            f"{unknown[0]!r} cannot stand in the address of an index; expected "
            f"{', '.join(sorted(_SHARED))}"
        )
    # Not `geturl`, which drops the slashes where no server is named.
    query = f"?{parts.query}" if parts.query else ""
    return ServerPlace(f"postgresql://{parts.netloc}{parts.path}{query}", name)


def place_of(folder: Path) -> ServerPlace | None:
    """Where the index of a store lies; None: in the folder.

    Raises
    ------
    InputError
        If ``covseg-index.json`` cannot be read or was changed to something else.
    """
    file = folder / INDEX_FILE
    try:
        text = file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{folder.name}: {INDEX_FILE} cannot be read ({type(error).__name__})"
        ) from None
    try:
        content = json.loads(text)
        newer = isinstance(content.get("format"), int) and content["format"] > _FORMAT
        place = None if newer else _from_json(content)
    except (ValueError, KeyError, TypeError, AttributeError, UsageError):
        raise InputError(
            f"{folder.name}: {INDEX_FILE} does not say where the index is; restore it from a copy"
        ) from None
    if place is None:
        raise InputError(
            f"{folder.name}: {INDEX_FILE} was written by a newer napari-covseg; update the program"
        )
    return place


def keep_place(folder: Path, place: ServerPlace) -> None:
    """From now on the index lies there, also after a power cut.

    Raises
    ------
    ResourceError, InputError
        If the folder cannot be written to.
    """
    content = {
        "format": _FORMAT,
        "postgresql": place.url,
        "schema": place.schema,
        "store": place.store,
    }
    write_json(folder / INDEX_FILE, content)
    sync_folder(folder)


def forget_place(folder: Path) -> None:
    """From now on the index lies in the folder, also after a power cut.

    Raises
    ------
    ResourceError
        If the folder may not be written to.
    """
    try:
        (folder / INDEX_FILE).unlink(missing_ok=True)
        sync_folder(folder)
    except OSError as error:
        raise ResourceError(f"{INDEX_FILE}: cannot be removed ({error.strerror})") from None


def holds_store(folder: Path) -> bool:
    """Whether a folder is a case store."""
    return (folder / FILE).is_file() or (folder / INDEX_FILE).is_file()


def written_by_a_save(folder: Path) -> tuple[Path, ...]:
    """What must be writable for work to be kept, as far as files go."""
    if (folder / INDEX_FILE).is_file():
        return (folder, folder / "versions")
    return (folder, folder / FILE)


def _from_json(content: Mapping[str, Any]) -> ServerPlace:
    checked = checked_place(content["postgresql"], content["schema"])
    return ServerPlace(checked.url, checked.schema, str(content["store"]))
