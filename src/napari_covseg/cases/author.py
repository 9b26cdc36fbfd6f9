"""Who works here: asked once, remembered for this user of this computer."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from napari_covseg.domain.errors import UsageError
from napari_covseg.io.atomic import write_json

VARIABLE = "COVSEG_AUTHOR"


def check_author(author: str) -> str:
    """Who signs; whitespace at the ends is dropped.

    Raises
    ------
    UsageError
        If it is empty or longer than 200 characters.
    """
    told = " ".join(author.split())
    if not told or len(told) > 200:
        raise UsageError("say who you are (a name or initials): every version keeps its author")
    return told


def author_file() -> Path:
    """Where the name is kept, in the user's folder for settings."""
    from platformdirs import user_config_path

    return user_config_path("napari-covseg", appauthor=False) / "author.json"


def known_author() -> str | None:
    """The author: from the environment (``COVSEG_AUTHOR``), else as remembered; None if unknown."""
    named = os.environ.get(VARIABLE, "").strip()
    if named:
        return check_author(named)
    with suppress(OSError, ValueError, AttributeError):
        kept = json.loads(author_file().read_text(encoding="utf-8")).get("author")
        if isinstance(kept, str) and kept.strip():
            return check_author(kept)
    return None


def remember_author(author: str) -> str:
    """Keep the author's name for the next time; returns it as it will be signed.

    Raises
    ------
    UsageError
        If it is empty or too long.
    ResourceError
        If it cannot be written.
    """
    author = check_author(author)
    file = author_file()
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, {"author": author})
    return author
