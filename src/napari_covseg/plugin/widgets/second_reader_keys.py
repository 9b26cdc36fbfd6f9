"""The keys of the Review widget, bound only while it is seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari.viewer import Viewer

BEFORE_KEY, PREVIOUS_KEY, NEXT_KEY = "0", "8", "9"


class Keys:
    """What each key does, in one viewer."""

    def __init__(self) -> None:
        self._bound: list[tuple[Viewer, str]] = []

    def bind(self, viewer: Viewer, acts: Mapping[str, Callable[[], None]]) -> None:
        """Bind keys; those bound before are given back."""
        self.unbind()
        for key, act in acts.items():

            def pressed(_viewer: Any, act: Callable[[], None] = act) -> None:
                act()

            viewer.bind_key(key, pressed, overwrite=True)
            self._bound.append((viewer, key))

    def unbind(self) -> None:
        """Give the keys back."""
        for viewer, key in self._bound:
            viewer.bind_key(key, None)
        self._bound = []
