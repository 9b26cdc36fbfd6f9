"""The inputs of a command that takes many, each with a case name of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_covseg.domain.errors import CovsegError


@dataclass(frozen=True)
class Job:
    """One input and the case name it was promised, or why it cannot be done."""

    path: Path
    case: str | None = None
    error: CovsegError | None = None


class CaseNames:
    """Gives every input a case name of its own, so that no result overwrites another's."""

    def __init__(self) -> None:
        self._owners: dict[str, object] = {}
        self._lock = threading.Lock()

    def claim(self, name: str, owner: str | None = None) -> str:
        """``name``, or with the first free number behind it; an ``owner`` gets its own again."""
        mine: object = owner or object()
        with self._lock:
            free, number = name, 2
            while self._owners.setdefault(free.casefold(), mine) != mine:
                free, number = f"{name}_{number}", number + 1
            return free


def jobs_of(inputs: Sequence[str], names: CaseNames) -> list[Job]:
    """All of `iter_jobs`."""
    return list(iter_jobs(inputs, names.claim))


def iter_jobs(
    inputs: Sequence[str], claim: Callable[[str], str], output: Path | None = None
) -> Iterator[Job]:
    """One job an input, the first while folders further on have not been looked at.

    Files get their names here, by ``claim``; the name of a DICOM series is known when it is read.
    What lies in ``output`` was written by an earlier run, and is
    an input only if it was named itself.
    """
    from napari_covseg.io import case_name, is_dicom
    from napari_covseg.io.inputs import iter_inputs

    seen: set[Path] = set()
    results = output.resolve() if output else None
    for text in inputs:
        named = Path(text).resolve()
        try:
            for path in iter_inputs(text):
                place = path.resolve()
                written = results and results in place.parents and results not in named.parents
                if place in seen or (written and named != results):
                    continue
                seen.add(place)
                has_name = not (path.is_dir() or is_dicom(path))
                yield Job(path, claim(case_name(path)) if has_name else None)
        except CovsegError as error:
            yield Job(Path(text), error=error)
