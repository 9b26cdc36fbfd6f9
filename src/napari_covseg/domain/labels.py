"""What the numbers in a label map mean, and how other schemes map onto them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum


class Label(IntEnum):
    """Values of a label map. Results use 0 to 4; training data and reviews also 5 to 7."""

    BACKGROUND = 0
    LEFT_LUNG = 1
    RIGHT_LUNG = 2
    GGO = 3
    CONSOLIDATION = 4
    INFECTION = 5
    """GGO or consolidation: which of them is unknown."""
    LUNG = 6
    """Lung whose side is unknown."""
    IGNORE = 7
    """Not reviewed: may be anything."""

    @property
    def title(self) -> str:
        """The name a person reads."""
        return "GGO" if self is Label.GGO else self.name.replace("_", " ").capitalize()


LUNG_LABELS = tuple(label for label in Label if 0 < label < Label.IGNORE)
"""Lung means classes 1 to 6: lesions belong to it."""
LESION_LABELS = (Label.GGO, Label.CONSOLIDATION, Label.INFECTION)


class NetworkClass(IntEnum):
    """Channels of a segmentation network. Sides are geometry, so the network does not know them."""

    BACKGROUND = 0
    LUNG = 1
    GGO = 2
    CONSOLIDATION = 3


ALLOWED_CLASSES: Mapping[Label, tuple[NetworkClass, ...]] = {
    Label.BACKGROUND: (NetworkClass.BACKGROUND,),
    Label.LEFT_LUNG: (NetworkClass.LUNG,),
    Label.RIGHT_LUNG: (NetworkClass.LUNG,),
    Label.GGO: (NetworkClass.GGO,),
    Label.CONSOLIDATION: (NetworkClass.CONSOLIDATION,),
    Label.INFECTION: (NetworkClass.GGO, NetworkClass.CONSOLIDATION),
    Label.LUNG: (NetworkClass.LUNG,),
    Label.IGNORE: tuple(NetworkClass),
}
"""The network classes that agree with each label: a partial label allows several."""

SCHEME_NAMES: Mapping[str, Label] = {
    "background": Label.BACKGROUND,
    "left lung": Label.LEFT_LUNG,
    "right lung": Label.RIGHT_LUNG,
    "lung": Label.LUNG,
    "ggo": Label.GGO,
    "ground glass": Label.GGO,
    "ground-glass opacity": Label.GGO,
    "consolidation": Label.CONSOLIDATION,
    "infection": Label.INFECTION,
    "lesion": Label.INFECTION,
    "pleural effusion": Label.BACKGROUND,
    "ignore": Label.IGNORE,
}
"""Names in other schemes (``dataset.json``, ``--label-map``), lower case, spaces for ``_``."""


def label_by_name(name: str) -> Label:
    """The label that a scheme's name stands for.

    Raises
    ------
    KeyError
        If the name is not known.
    """
    return SCHEME_NAMES[name.strip().lower().replace("_", " ")]
