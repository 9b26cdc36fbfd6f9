"""What can go wrong with an index, beyond what every file can have."""

from __future__ import annotations

from napari_covseg.domain.errors import InputError, ResourceError


class ConnectionLost(ResourceError):
    """The server does not answer, or went away in the middle: nothing was changed."""


class Undecided(ResourceError):
    """The server went away at the end of a change, and does not say whether it was kept."""


class IndexMoved(Exception):
    """The index lies elsewhere since it was looked for. Never leaves `Database`."""


def damaged(folder: str, index: str) -> InputError:
    """The index does not hold what it should."""
    return InputError(
        f"{folder}: {index} is damaged; restore it from a copy (label files in versions/ are "
        "untouched)"
    )


def locked(folder: str) -> ResourceError:
    """Another program keeps the index for long."""
    return ResourceError(f"{folder}: another program is writing to this store; try again")


def read_only(folder: str) -> ResourceError:
    """Whoever asks may only look."""
    return ResourceError(f"{folder}: the case store may not be written to; nothing was saved")


def full(folder: str, where: str = "disk") -> ResourceError:
    """There is no space left."""
    return ResourceError(f"{folder}: the {where} is full; nothing was saved")
