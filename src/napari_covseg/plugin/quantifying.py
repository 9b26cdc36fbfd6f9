"""Measuring what stands in the viewer: which layers, when again, and where a lesion is. No Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_covseg.domain.labels import LESION_LABELS
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.plugin.doubting import DoubtOf, no_doubt
from napari_covseg.plugin.layers import join, volume_of

if TYPE_CHECKING:
    from napari.layers import Image, Labels

    from napari_covseg.domain.lobes import LobeMap
    from napari_covseg.quantify.case import Quantification
    from napari_covseg.quantify.lesions import Lesion

Voxel = tuple[int, int, int]
_EVENTS = ("paint", "data", "labels_update")


class LabelWatch:
    """Tells by ``edited`` when one of some Labels layers is edited, undone or redone.

    ``version`` grows each time: what was measured of an older one is out of date.
    """

    edited = Signal()

    def __init__(self, layers: tuple[Labels, ...]) -> None:
        self._layers = layers
        self._known = self._histories()
        self.version = 0
        for layer in layers:
            for event in _EVENTS:
                layer.events[event].connect(self._on_edited)
            layer.events.set_data.connect(self._on_refreshed)

    def close(self) -> None:
        """Watch no more."""
        for layer in self._layers:
            for event in _EVENTS:
                layer.events[event].disconnect(self._on_edited)
            layer.events.set_data.disconnect(self._on_refreshed)

    def _histories(self) -> tuple[int, ...]:
        names = ("_undo_history", "_redo_history")
        return tuple(len(getattr(layer, name, ())) for layer in self._layers for name in names)

    def _on_edited(self, _event: Any = None) -> None:
        self._known = self._histories()
        self.version += 1
        self.edited.emit()

    def _on_refreshed(self, _event: Any) -> None:
        """Undo and redo tell nobody but by a refresh, as a change of slice does."""
        if self._histories() != self._known:
            self._on_edited()


@dataclass(frozen=True, eq=False)
class Source:
    """What is measured: a CT with the labels over it and, where one was loaded, a lobe map."""

    ct: Image
    lungs: Labels | None
    lesions: Labels | None
    lobes: LobeMap | None = None

    @property
    def layers(self) -> tuple[Labels, ...]:
        """The label layers there are."""
        return tuple(layer for layer in (self.lungs, self.lesions) if layer is not None)


def quantify_steps(source: Source, doubt_of: DoubtOf = no_doubt) -> Steps[Quantification]:
    """Measure what the layers hold; runs in a worker's thread.

    ``doubt_of`` says what the model that drew them was in doubt of.

    The arrays are read in the thread, so that painting never waits for a copy. Who calls drops the
    result if a label was edited meanwhile (`LabelWatch.version`).

    Raises
    ------
    InputError
        If a layer holds something that is no label of this plugin.
    """
    from napari_covseg.quantify.case import quantify
    from napari_covseg.workflows.quantify import ASSUMED

    volume = volume_of(source.ct)
    layers = [
        (np.asarray(layer.data), {"name": layer.name, "metadata": dict(layer.metadata)})
        for layer in source.layers
    ]

    def steps() -> Steps[Quantification]:
        yield Progress(0, 1, "reading the labels")
        labels = join(layers)
        known = not any(ASSUMED in warning for warning in volume.warnings)
        return (
            yield from quantify(labels, volume, source.lobes, doubt_of(labels), spacing_known=known)
        )

    return steps()


def lesion_voxel(source: Source, lesion: Lesion) -> Voxel:
    """A voxel ``(z, y, x)`` of a lesion, in the slice with most of it and near its middle there.

    If the lesion was painted over since it was measured, the voxel where it was.
    """
    z, y, x = lesion.middle
    here = (z, round(y), round(x))
    if source.lesions is None:
        return here
    sick = np.isin(np.asarray(source.lesions.data[z]), LESION_LABELS)
    if not sick.any():
        return here
    rows, columns = np.nonzero(sick)
    _, mm_y, mm_x = source.lesions.scale[-3:]
    nearest = int(np.hypot((rows - y) * mm_y, (columns - x) * mm_x).argmin())
    return z, int(rows[nearest]), int(columns[nearest])
