"""One colour for each label, the same in the viewer, tables, pictures and reports."""

from __future__ import annotations

from collections.abc import Mapping

from napari_covseg.domain.labels import Label

LABEL_COLOURS: Mapping[Label, str] = {
    Label.LEFT_LUNG: "#7cc8ff",
    Label.RIGHT_LUNG: "#2a83f0",
    Label.GGO: "#ffb000",
    Label.CONSOLIDATION: "#e0263c",
    Label.INFECTION: "#f2701d",
    Label.LUNG: "#55a6f7",
    Label.IGNORE: "#8a8a8a",
}
"""Hex RGB. Amber and red also differ in lightness, so they stay apart for colour-blind eyes."""
