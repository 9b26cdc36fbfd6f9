"""What was done on the case that is served, since it was last saved. Knows layers, but no Qt."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import UsageError
from napari_covseg.domain.volume import LabelMap
from napari_covseg.plugin.layers import join

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from napari.layers import Image, Labels

    from napari_covseg.plugin.correction import Correction


@dataclass(frozen=True, eq=False)
class Held:
    """A copy of what is drawn and marked for a case at one moment.

    ``layers`` are arrays with what `join` needs of their layers, ``reviewed`` slices (canonical z),
    ``seconds`` those since the last save, ``edits`` the correction's count (None without one);
    ``work`` is what it was copied from, None for labels of no served case.
    """

    layers: tuple[tuple[NDArray[np.uint8], dict[str, Any]], ...]
    reviewed: frozenset[int]
    seconds: float
    edits: int | None
    work: CaseWork | None = None

    def labels(self) -> LabelMap:
        """The layers as one label map; slow enough for a worker's thread.

        Raises
        ------
        InputError
            As `join`.
        """
        return join(self.layers)

    def once(self, parent: str | None) -> AbstractContextManager[None]:
        """Save within this: the work on a served case goes into one version of each parent.

        Two panels may save at once, and each knows its own thread only.

        Raises
        ------
        UsageError
            If it is being saved after this parent, or was.
        """
        return nullcontext() if self.work is None else self.work.once(parent)


class CaseWork:
    """Marks, time and changes of one served case, whatever corrections come and go.

    A correction ends when another CT is looked at or its layers change, and another one begins;
    what it knew of the case is handed on.

    Parameters
    ----------
    ct
        The case's CT.
    layers
        The label layers that it was served with.
    reviewed
        Slices (canonical z) that were reviewed before.
    """

    def __init__(self, ct: Image, layers: Iterable[Labels], reviewed: Iterable[int]) -> None:
        self._ct = ct
        self._layers = tuple(layers)
        self._reviewed = np.zeros(ct.data.shape[0], bool)
        self._reviewed[sorted(reviewed)] = True
        self._saved = self._reviewed.copy()
        self._seconds, self._edits = 0.0, 0
        self._changed = self._begun = False
        self._correction: Correction | None = None
        self._lock = Lock()
        self._parents: set[str | None] = set()

    @contextmanager
    def once(self, parent: str | None) -> Iterator[None]:
        """As `Held.once`; a save that fails may be tried again."""
        if not self._lock.acquire(blocking=False):
            raise UsageError("this case is being saved in another panel; wait until that is done")
        try:
            if parent in self._parents:
                raise UsageError(
                    "this case was saved in another panel since; open it anew to go on from there"
                )
            yield
            self._parents.add(parent)
        finally:
            self._lock.release()

    def adopt(self, correction: Correction | None) -> None:
        """Hand on what is known to the next correction; one of another CT ends the present one."""
        self._leave()
        if correction is None or correction.ct is not self._ct:
            return
        if self._begun and correction.layers != self._layers:
            self._changed = True
            if not set(correction.layers) <= set(self._layers):
                # Someone put other labels over this CT: nobody has reviewed those.
                self._layers = correction.layers
                self._reviewed[:] = False
        # Nobody listens yet: marks that are only handed on are no edit.
        correction.slices.reviewed[:] = self._reviewed
        correction.seconds = self._seconds
        self._correction, self._edits = correction, correction.version

    def begin(self) -> None:
        """All layers are there: what is seen now is what was saved.

        Until now a correction may have looked at labels that lay on the CT's grid before.
        """
        self._begun = True
        if self._correction is not None:
            self.adopt(self._correction)

    def _leave(self) -> None:
        old = self._correction
        if old is None:
            return
        self._changed = self.changed
        self._reviewed, self._seconds = old.slices.reviewed.copy(), old.seconds
        self._correction = None

    @property
    def reviewed(self) -> NDArray[np.bool_]:
        """For each axial slice whether it was reviewed."""
        return self._reviewed if self._correction is None else self._correction.slices.reviewed

    @property
    def seconds(self) -> float:
        """How long was worked since the last save."""
        return self._seconds if self._correction is None else self._correction.seconds

    @property
    def followed(self) -> bool:
        """Whether a correction follows what is drawn; without one nobody knows."""
        return self._correction is not None

    @property
    def changed(self) -> bool:
        """Whether anything was drawn or marked since the last save."""
        edited = self._correction is not None and self._correction.version != self._edits
        return self._changed or edited or bool((self.reviewed != self._saved).any())

    def hold(self, layers: Iterable[Labels]) -> Held:
        """Copy what is there now."""
        return Held(
            tuple(
                (
                    np.array(layer.data, np.uint8),
                    {"name": layer.name, "metadata": dict(layer.metadata)},
                )
                for layer in layers
            ),
            frozenset(int(z) for z in np.flatnonzero(self.reviewed)),
            self.seconds,
            None if self._correction is None else self._correction.version,
            self,
        )

    def mark_saved(self, held: Held) -> bool:
        """What was held is saved; whether nothing was changed since."""
        self._changed = False
        self._saved[:] = False
        self._saved[sorted(held.reviewed)] = True
        rest = max(self.seconds - held.seconds, 0.0)
        self._seconds = rest
        if self._correction is not None:
            self._correction.seconds = rest
            self._edits = self._correction.version if held.edits is None else held.edits
        return not self.changed
