"""What the machines of one run share: names that are taken, what was begun, whether to go on.

A folder beside the results, on the same share, for as long as the run lasts. That it is gone tells
workers to stop.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from napari_covseg.domain.errors import ResourceError
from napari_covseg.workflows.segment_done import FOLDER


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run; `make` makes a new one."""

    path: Path

    @classmethod
    def make(cls, output: Path) -> RunFolder:
        """A new run's.

        Raises
        ------
        ResourceError
            If it cannot be made.
        """
        run = cls(output / FOLDER / f"run-{secrets.token_hex(6)}")
        try:
            run._names.mkdir(parents=True)
            run._begun.mkdir()
        except OSError as error:
            raise ResourceError(
                f"{output.name}: this folder cannot be written to ({error.strerror})"
            ) from error
        return run

    @property
    def _names(self) -> Path:
        return self.path / "names"

    @property
    def _begun(self) -> Path:
        return self.path / "begun"

    @property
    def goes_on(self) -> bool:
        """Whether the run has not ended."""
        return self._begun.is_dir()

    def end(self) -> None:
        """Workers stop at their next step."""
        shutil.rmtree(self.path, ignore_errors=True)

    def claim(self, name: str, owner: str) -> str:
        """As `CaseNames.claim`, between processes and machines: a file says whose a name is.

        Raises
        ------
        ResourceError
            If the folder is gone or cannot be written to.
        """
        free, number = name, 2
        while not self._take(free.casefold(), owner):
            free, number = f"{name}_{number}", number + 1
        return free

    def _take(self, name: str, owner: str) -> bool:
        # A hash: a name may be as long as a file name can be, and this one gets an ending.
        place = self._names / hashlib.sha256(name.encode()).hexdigest()[:40]
        mine = place.with_name(f"{place.name}.{owner}.{secrets.token_hex(4)}")
        try:
            mine.write_text(owner)
            with suppress(FileExistsError):
                # A link appears with its content, and only one can be made.
                place.hardlink_to(mine)
            return place.read_text() == owner
        except OSError as error:
            raise ResourceError(
                f"{self.path.parent.parent.name}: a result's name cannot be kept there "
                f"({error.strerror or 'the run has ended'})"
            ) from error
        finally:
            with suppress(OSError):
                mine.unlink()

    def begin(self, key: str) -> int:
        """Note that work on an input begins; how often it had begun before and never ended."""
        before = len(list(self._begun.glob(f"{key}.*")))
        with suppress(OSError):
            (self._begun / f"{key}.{secrets.token_hex(4)}").touch()
        return before

    def ended(self, key: str) -> None:
        """Note that it has ended, well or not, with its worker alive."""
        for note in self._begun.glob(f"{key}.*"):
            with suppress(OSError):
                note.unlink()
