"""What the numbers in a map of change mean, between a prior scan and the current one."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum


class ChangeLabel(IntEnum):
    """Values of a map of change, on the current scan's grid; 0 is no lesion in either scan."""

    NONE = 0
    APPEARED = 1
    RESOLVED = 2
    PERSISTENT = 3
    TO_CONSOLIDATION = 4
    TO_GGO = 5
    NOT_COMPARED = 6
    """Lesion of the current scan where the prior does not reach or was not reviewed."""

    @property
    def title(self) -> str:
        """The name a person reads."""
        return _TITLES[self]


_TITLES = {
    ChangeLabel.NONE: "No lesion",
    ChangeLabel.APPEARED: "Appeared",
    ChangeLabel.RESOLVED: "Resolved",
    ChangeLabel.PERSISTENT: "Persistent",
    ChangeLabel.TO_CONSOLIDATION: "GGO → consolidation",
    ChangeLabel.TO_GGO: "Consolidation → GGO",
    ChangeLabel.NOT_COMPARED: "Not compared",
}

CHANGE_COLOURS: Mapping[ChangeLabel, str] = {
    ChangeLabel.APPEARED: "#d55e00",
    ChangeLabel.RESOLVED: "#009e73",
    ChangeLabel.PERSISTENT: "#f0e442",
    ChangeLabel.TO_CONSOLIDATION: "#cc3d9b",
    ChangeLabel.TO_GGO: "#56b4e9",
    ChangeLabel.NOT_COMPARED: "#8a8a8a",
}
"""Hex RGB, after Okabe and Ito: apart for colour-blind eyes. Warm is worse, cool is better."""
