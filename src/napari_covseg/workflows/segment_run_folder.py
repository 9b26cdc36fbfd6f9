"""What the machines of one run share: what inputs are called, what was begun, whether to go on.

A folder beside the results, on the same share, for as long as the run lasts. That it is gone tells
workers to stop.
"""

from __future__ import annotations

import json
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from napari_covseg.domain.errors import ResourceError
from napari_covseg.workflows.segment_done import FOLDER
from napari_covseg.workflows.segment_names import NamesInOrder, Wish


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

    def wish(self, number: int, wish: Wish | None) -> None:
        """As `NamesInOrder.wish`, between processes and machines: a file holds what was told.

        Raises
        ------
        ResourceError
            If the folder is gone or cannot be written to.
        """
        place = self._names / str(number)
        mine = place.with_name(f"{number}.{secrets.token_hex(4)}")
        try:
            mine.write_text(json.dumps(None if wish is None else [wish.own, wish.kept]))
            with suppress(FileExistsError):
                # A link appears with its content, and only one can be made.
                place.hardlink_to(mine)
        except OSError as error:
            raise ResourceError(
                f"{self.path.parent.parent.name}: a result's name cannot be kept there "
                f"({error.strerror if self.goes_on else 'the run has ended'})"
            ) from error
        finally:
            with suppress(OSError):
                mine.unlink()

    def name(self, number: int) -> str | None:
        """As `NamesInOrder.name`, of what all machines have told."""
        names = _read_names(self.path)
        with suppress(OSError):
            while (settled := names.settled) <= number:
                told = json.loads((self._names / str(settled)).read_text())
                names.wish(settled, None if told is None else Wish(*told))
        return names.name(number)

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


@lru_cache(maxsize=4)
def _read_names(_: Path) -> NamesInOrder:
    """The names of a run, as far as this process has read them."""
    return NamesInOrder()
