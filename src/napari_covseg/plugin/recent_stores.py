"""Which case stores were opened last. No Qt but the settings file."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from napari_covseg.plugin import preferences

_KEY = "stores/recent"
_MOST = 6


def recent_stores() -> list[Path]:
    """The stores opened last, the latest first, whether they are there or not."""
    with suppress(ValueError):
        kept = json.loads(preferences.load_text(_KEY, "[]"))
        if isinstance(kept, list):
            return [Path(one) for one in kept if isinstance(one, str)][:_MOST]
    return []


def remember_store(folder: Path) -> None:
    """Keep in mind that a store was opened."""
    others = [one for one in recent_stores() if one != folder]
    kept = [str(one) for one in (folder, *others)][:_MOST]
    preferences.save_text(_KEY, json.dumps(kept))
