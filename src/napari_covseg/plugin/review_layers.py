"""Layers that show a reader what differs: before and after, one reader and another. No Qt.

None of them has a placement, so no other part of the plugin takes them for labels of the case.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.colours import LABEL_COLOURS
from napari_covseg.domain.labels import LESION_LABELS, Label
from napari_covseg.editing.consensus import Comparison, Difference, Rule
from napari_covseg.plugin.layers import lesions_layer, lungs_layer, placement_of
from napari_covseg.plugin.napari_versions import remove_layers
from napari_covseg.plugin.session import session_of

if TYPE_CHECKING:
    from napari.layers import Image, Labels
    from napari.viewer import Viewer

FIRST_COLOUR, SECOND_COLOUR, BOTH_COLOUR = "#ff5cf4", "#3df5d0", "#ffffff"
"""First and second reader (or before and after), and where both have a lesion of another class."""
_DARKER = {FIRST_COLOUR: "#b01fa6", SECOND_COLOUR: "#0a9c80"}
_REMOVED, _ADDED, _OTHER = 1, 2, 3
_LUNG_LABELS = (Label.LEFT_LUNG, Label.RIGHT_LUNG, Label.LUNG)


class Shelf:
    """Layers over one CT that come and go together; the case's own are hidden meanwhile."""

    def __init__(self, viewer: Viewer, ct: Image) -> None:
        self._viewer = ref(viewer)
        self.ct = ct
        self.layers: dict[str, Labels] = {}
        self._hidden: list[tuple[Labels, bool]] = []

    def add(self, name: str, made: tuple[NDArray, dict[str, Any], str], **more: Any) -> Labels:
        """Put a layer on top, on the CT's grid; what is selected stays selected."""
        viewer = self._viewer()
        assert viewer is not None
        data, arguments, _ = made
        chosen = viewer.layers.selection.active
        layer = viewer.add_labels(data, **{**arguments, "name": name, "metadata": {}, **more})
        layer.editable = False
        viewer.layers.selection.active = chosen
        self.layers[name] = layer
        return layer

    def own(self) -> list[Labels]:
        """The case's own lungs and lesions."""
        viewer = self._viewer()
        if viewer is None:
            return []
        return [layer for layer in session_of(viewer).labels_of(self.ct) if layer is not None]

    def hide_own(self, hidden: bool) -> None:
        """Hide the case's own layers, or show those again that were seen before."""
        if hidden and not self._hidden:
            self._hidden = [(layer, layer.visible) for layer in self.own()]
            for layer, _ in self._hidden:
                layer.visible = False
        elif not hidden:
            for layer, shown in self._hidden:
                layer.visible = shown
            self._hidden = []

    def clear(self) -> None:
        """Take everything away that was put here."""
        viewer = self._viewer()
        self.hide_own(False)
        layers, self.layers = list(self.layers.values()), {}
        if viewer is not None:
            remove_layers(viewer, layers)


class Turns:
    """A version and what it was made from, seen in turn, with outlines of what changed.

    Parameters
    ----------
    viewer, ct
        Where the version is shown.
    lungs, lesions
        What it was made from, uint8 ``(z, y, x)``.
    changes
        From there (first) to the version (second).
    """

    def __init__(
        self,
        viewer: Viewer,
        ct: Image,
        lungs: NDArray[np.uint8],
        lesions: NDArray[np.uint8],
        changes: Comparison,
    ) -> None:
        placement = placement_of(ct)
        assert placement is not None
        self._shelf = shelf = Shelf(viewer, ct)
        before = shelf.add("Before: lungs", lungs_layer(lungs, placement), visible=False)
        before.contour = 1
        shelf.add("Before: lesions", lesions_layer(lesions, placement), visible=False)
        outlines = {
            _REMOVED: FIRST_COLOUR,
            _ADDED: SECOND_COLOUR,
            _OTHER: BOTH_COLOUR,
        }
        marked = lungs_layer(_marked(changes), placement)
        layer = shelf.add("Changes", marked, colormap=colours(outlines), opacity=1.0)
        layer.contour = 1
        self._before = False

    @property
    def shows_before(self) -> bool:
        """Whether what it was made from is seen."""
        return self._before

    def show_before(self, before: bool) -> None:
        """See what the version was made from, or the version."""
        self._before = before
        for name in ("Before: lungs", "Before: lesions"):
            self._shelf.layers[name].visible = before
        self._shelf.hide_own(before)

    def show_changes(self, shown: bool) -> None:
        """See the outlines of what changed, or not."""
        self._shelf.layers["Changes"].visible = shown

    def close(self) -> None:
        """Take the layers away."""
        self._shelf.clear()


class Readers:
    """Two readers' lesions as outlines, and over the CT what would become of them.

    Parameters
    ----------
    viewer, ct
        Where.
    names
        What the readers are called.
    drawn
        Their label maps, uint8 ``(z, y, x)``.
    under
        The lung under lesions, and wherever else it is: uint8 ``(z, y, x)``.
    labels
        The joined labels to begin with; copied.
    """

    def __init__(
        self,
        viewer: Viewer,
        ct: Image,
        names: tuple[str, str],
        drawn: tuple[NDArray[np.uint8], NDArray[np.uint8]],
        under: NDArray[np.uint8],
        labels: NDArray[np.uint8],
    ) -> None:
        placement = placement_of(ct)
        assert placement is not None
        self._shelf = shelf = Shelf(viewer, ct)
        self._under, size = under, labels.shape
        lungs, lesions = self._split(labels, under)
        shelf.hide_own(True)
        self._lungs = shelf.add("Joined: lungs", lungs_layer(lungs, placement))
        self._lungs.contour = 1
        self._lesions = shelf.add("Joined: lesions", lesions_layer(lesions, placement))
        self._lesions.opacity = 0.4
        widths = (2, 1)  # where both outlines run along one line, both are seen
        tints = (FIRST_COLOUR, SECOND_COLOUR)
        for name, labelled, width, tint in zip(names, drawn, widths, tints, strict=True):
            outline = labelled * np.isin(labelled, LESION_LABELS)
            made = lungs_layer(outline, placement)
            layer = shelf.add(f"Reader {name}", made, colormap=_reader_colours(tint), opacity=1.0)
            layer.contour = width
        here = lungs_layer(np.zeros(size, np.uint8), placement)
        self._here = shelf.add("Difference", here, colormap=colours({1: BOTH_COLOUR}), opacity=1.0)
        self._here.contour = 1
        self._marked: NDArray[np.int64] = np.zeros(0, np.int64)

    def show(self, shown: bool) -> None:
        """See all of it, or the case's own layers."""
        for layer in self._shelf.layers.values():
            layer.visible = shown
        self._shelf.hide_own(shown)

    def show_outlines(self, shown: bool) -> None:
        """See the readers' outlines, or only what is joined."""
        for name, layer in self._shelf.layers.items():
            if name.startswith("Reader "):
                layer.visible = shown

    def update(self, at: NDArray[np.int64], labels: NDArray[np.uint8]) -> None:
        """Show other joined labels at flat positions."""
        lungs, lesions = self._split(labels, self._under.reshape(-1)[at])
        for layer, values in ((self._lungs, lungs), (self._lesions, lesions)):
            layer.data.reshape(-1)[at] = values

    def refresh(self) -> None:
        """Draw what `update` changed."""
        self._lungs.refresh()
        self._lesions.refresh()

    def point_out(self, at: NDArray[np.int64]) -> None:
        """Outline the voxels at flat positions, and nothing else."""
        flat = self._here.data.reshape(-1)
        flat[self._marked] = 0
        flat[at] = 1
        self._marked = at
        self._here.refresh()

    def close(self) -> None:
        """Take the layers away."""
        self._shelf.clear()

    @staticmethod
    def _split(
        labels: NDArray[np.uint8], under: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        is_lesion = np.isin(labels, LESION_LABELS)
        lungs = np.where(np.isin(labels, _LUNG_LABELS), labels, under * is_lesion)
        return lungs, labels * (is_lesion | (labels == Label.IGNORE))


def colours(table: Mapping[int, str]) -> Any:
    """Fixed colours of some labels; all others are not seen."""
    from napari.utils.colormaps import DirectLabelColormap

    known: dict[int | None, str] = {None: "transparent", 0: "transparent"}
    for label, colour in table.items():
        known[label] = colour
    return DirectLabelColormap(color_dict=known)


def _reader_colours(tint: str) -> Any:
    """A reader's colour, darker where he sees consolidation."""
    table = {int(label): tint for label in LESION_LABELS}
    return colours({**table, int(Label.CONSOLIDATION): _DARKER[tint]})


def _marked(changes: Comparison) -> NDArray[np.uint8]:
    """What was removed, added and given another class, uint8 ``(z, y, x)``."""
    marked = np.zeros(changes.agreed.shape, np.uint8)
    flat = marked.reshape(-1)
    for region in changes.regions:
        if region.kind is Difference.LUNGS:
            continue
        at = changes.voxels(region.number)
        before = np.isin(changes.joined(region.number, Rule.FIRST), LESION_LABELS)
        after = np.isin(changes.joined(region.number, Rule.SECOND), LESION_LABELS)
        flat[at] = np.where(before & after, _OTHER, np.where(after, _ADDED, _REMOVED))
    return marked


def legend_html(first: str, second: str, both: str, left_open: bool = False) -> str:
    """One line that names the colours of outlines, and of lesions whose class is left open."""
    parts = [(FIRST_COLOUR, "□", first), (SECOND_COLOUR, "□", second), (BOTH_COLOUR, "□", both)]
    if left_open:
        parts.append((LABEL_COLOURS[Label.INFECTION], "■", "class open"))
    return " &nbsp; ".join(
        f'<span style="color:{colour};">{sign}</span>&nbsp;{escape(text).replace(" ", "&nbsp;")}'
        for colour, sign, text in parts
    )
