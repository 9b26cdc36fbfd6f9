"""The inputs of a command that takes many, each with a case name of its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
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
        self._taken: set[str] = set()
        self._lock = threading.Lock()

    def claim(self, name: str) -> str:
        """``name``, or with the first free number behind it."""
        with self._lock:
            free, number = name, 2
            while free.casefold() in self._taken:
                free, number = f"{name}_{number}", number + 1
            self._taken.add(free.casefold())
            return free


def jobs_of(inputs: Sequence[str], names: CaseNames) -> list[Job]:
    """One job an input. Files get their names here, so that their order decides, not their speed;
    the name of a DICOM series is known when it is read.
    """
    from napari_covseg.io import case_name, find_inputs, is_dicom

    jobs: list[Job] = []
    for text in inputs:
        try:
            paths = find_inputs([Path(text)])
        except CovsegError as error:
            jobs.append(Job(Path(text), error=error))
            continue
        for path in paths:
            if any(job.path.resolve() == path.resolve() for job in jobs):
                continue
            has_name = not (path.is_dir() or is_dicom(path))
            jobs.append(Job(path, names.claim(case_name(path)) if has_name else None))
    return jobs
