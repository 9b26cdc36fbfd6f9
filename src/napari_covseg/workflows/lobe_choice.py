"""Where lobes come from, as a user chooses it. Light to import: the command line reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_covseg.domain.lobes import Lobe

APPROXIMATE, LUNGMASK = "approximate", "lungmask"


@dataclass(frozen=True, slots=True)
class LobeChoice:
    """A file, a network, or the division by planes (`quantify.lobes`), the default.

    Parameters
    ----------
    file
        A lobe map.
    names
        What the numbers in it mean (`parse_lobe_map`), where it does not say so itself.
    network
        Whether lungmask finds the lobes.
    weights
        The folder with lungmask's weights; without it where torch keeps what it downloads.
    """

    file: Path | None = None
    names: Mapping[int, Lobe] | None = None
    network: bool = False
    weights: Path | None = None
