"""What happens to a Labels layer, as edits: painted, undone or redone, by whatever tool.

napari keeps the history of a layer itself, and so Ctrl+Z, its menu and other plugins' tools go on
working. This reads it: a ``paint`` event brings what was added; undo and redo tell nobody but by a
refresh, after which the lengths of the histories say what happened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_covseg.editing.edit import Edit
from napari_covseg.plugin.napari_versions import edit_of_atom

if TYPE_CHECKING:
    from napari.layers import Labels

HISTORY_BYTES = 300_000_000
"""What the undo history of a layer may hold; the oldest steps go first."""


class History:
    """Follows a layer until `close`.

    Parameters
    ----------
    layer
        The layer.
    edited
        Called with the edits of a step that was just made, undone or redone, and with which of
        ``"done"``, ``"undone"`` and ``"redone"`` it was. Edits that were told to `expect` are
        among them, though they were counted before.
    lost
        Called when the labels changed in a way that no edit tells: data that were replaced, or a
        stroke that napari took back.
    """

    def __init__(
        self,
        layer: Labels,
        edited: Callable[[list[Edit], int, str], None],
        lost: Callable[[], None],
    ) -> None:
        self.layer = layer
        self._edited, self._lost = edited, lost
        self._expected = 0
        self._held = 0
        self._lengths = self._now()
        layer.events.paint.connect(self._on_paint)
        layer.events.set_data.connect(self._on_refresh)
        layer.events.data.connect(self._on_data)

    def close(self) -> None:
        """Stop following."""
        self.layer.events.paint.disconnect(self._on_paint)
        self.layer.events.set_data.disconnect(self._on_refresh)
        self.layer.events.data.disconnect(self._on_data)

    def expect(self) -> None:
        """The next edit of this layer's running step is known already."""
        self._expected += 1

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to undo."""
        return bool(self._now()[0])

    @property
    def can_redo(self) -> bool:
        """Whether there is a step to redo."""
        return bool(self._now()[1])

    def _on_paint(self, event: Any) -> None:
        known, self._expected = self._expected, 0
        self._lengths = self._now()
        edits = self._edits(event.value)
        if edits is None or known > len(edits):
            self._lost()
            return
        self._held += sum(edit.count for edit in edits) * _BYTES_PER_VOXEL
        if self._held > HISTORY_BYTES:
            self._forget_oldest()
        self._edited(edits, known, "done")

    def _on_refresh(self, event: Any) -> None:
        before, now = self._lengths, self._now()
        if now == before:
            if self._expected and not getattr(self.layer, "_staged_history", True):
                self._expected = 0
                self._lost()
            return
        self._lengths = now
        if now == (before[0] - 1, before[1] + 1):
            step, how = self.layer._redo_history[-1], "undone"
        elif now == (before[0] + 1, before[1] - 1):
            step, how = self.layer._undo_history[-1], "redone"
        else:
            return
        edits = self._edits(step)
        if edits is None:
            self._lost()
            return
        # The history turns a step round when it is undone, and again when it is redone.
        self._edited([e.reverse for e in edits] if how == "undone" else edits, 0, how)

    def _on_data(self, event: Any) -> None:
        self._expected, self._held = 0, 0
        self._lengths = self._now()
        self._lost()

    def _edits(self, step: Any) -> list[Edit] | None:
        try:
            return [edit_of_atom(atom) for atom in step]
        except (TypeError, ValueError, AttributeError, IndexError):
            return None  # an atom of a kind that this version of napari has and we do not know

    def _now(self) -> tuple[int, int]:
        return (
            len(getattr(self.layer, "_undo_history", ())),
            len(getattr(self.layer, "_redo_history", ())),
        )

    def _forget_oldest(self) -> None:
        steps = self.layer._undo_history
        sizes = [sum(_atom_bytes(atom) for atom in step) for step in steps]
        while len(steps) > 1 and sum(sizes) > HISTORY_BYTES:
            steps.popleft()
            sizes.pop(0)
        self._held = sum(sizes)
        self._lengths = self._now()


_BYTES_PER_VOXEL = 26
"""napari keeps three positions of 8 bytes, and a label before and after."""


def _atom_bytes(atom: Any) -> int:
    parts = [part for item in atom for part in (item if isinstance(item, tuple) else (item,))]
    return sum(part.nbytes for part in parts if isinstance(part, np.ndarray))
