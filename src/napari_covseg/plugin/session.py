"""The state that this plugin's widgets share in one viewer. Knows napari's layers, but no Qt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_covseg.domain.labels import LESION_LABELS, Label
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.plugin.layers import (
    LESIONS,
    LUNGS,
    METADATA_KEY,
    Placement,
    join,
    lesions_layer,
    lungs_layer,
    placement_of,
    split,
)
from napari_covseg.plugin.napari_versions import unwrapped

if TYPE_CHECKING:
    from napari.layers import Image, Labels
    from napari.viewer import Viewer

    from napari_covseg.domain.lobes import LobeMap
    from napari_covseg.plugin.classifying import Classified
    from napari_covseg.workflows.segment import SegmentResult
    from napari_covseg.workflows.segment_settings import SegmentSettings

_sessions: WeakKeyDictionary[Any, Session] = WeakKeyDictionary()


def session_of(viewer: Viewer) -> Session:
    """The session of a viewer, made on the first call."""
    viewer = unwrapped(viewer)
    if viewer not in _sessions:
        _sessions[viewer] = Session(viewer)
    return _sessions[viewer]


@dataclass(frozen=True, eq=False)
class Segmented:
    """A result split into what the layers show, made in the worker's thread.

    ``most_lesion`` holds for ``Left``, ``Right`` and ``Both`` the axial slice with most lesion.
    """

    result: SegmentResult
    lungs: NDArray[np.uint8]
    lesions: NDArray[np.uint8]
    most_lesion: Mapping[str, int | None]


@dataclass(eq=False)
class Case:
    """A CT's result in the viewer and what has become of it since."""

    ct: Image
    lungs: Labels
    lesions: Labels
    shown: Segmented
    edited: bool = False
    stale: bool = False
    """Edited since it was measured."""
    edits: int = 0
    """How often it was edited: what was saved before the last edit is not what is shown."""
    saved: Path | None = None
    known_histories: tuple[int, ...] = (0, 0, 0, 0)

    def histories(self) -> tuple[int, ...]:
        """Lengths of the undo and redo histories of both layers."""
        return tuple(
            len(getattr(layer, name, ()))
            for layer in (self.lungs, self.lesions)
            for name in ("_undo_history", "_redo_history")
        )


class Session:
    """Which CT has which result. ``changed`` tells that a case came, went or was edited.

    ``labels_saved`` tells a CT whose labels were written, and where; ``lobes_changed`` a CT that
    has another lobe map, ``classified`` a CT of which a classifier said something.
    """

    changed = Signal()
    labels_saved = Signal(object, Path)
    lobes_changed = Signal(object)
    classified = Signal(object)

    def __init__(self, viewer: Viewer) -> None:
        self._ref = ref(viewer)
        self._cases: list[Case] = []
        self.lobes: WeakKeyDictionary[Image, LobeMap] = WeakKeyDictionary()
        """The lobe map that was read for a CT."""
        self._classified: WeakKeyDictionary[Image, Classified] = WeakKeyDictionary()
        viewer.layers.events.removed.connect(self._on_removed)

    @property
    def viewer(self) -> Viewer:
        """The viewer; only callbacks of a living viewer ask for it."""
        viewer = self._ref()
        assert viewer is not None
        return viewer

    def take_lobes(self, ct: Image, lobes: LobeMap | None) -> None:
        """The lobe map that was read, or found, for a CT; None: lobes are approximated."""
        if lobes is None:
            self.lobes.pop(ct, None)
        else:
            self.lobes[ct] = lobes
        self.lobes_changed.emit(ct)

    def take_classified(self, ct: Image, said: Classified) -> None:
        """What a classifier said of a CT, in place of what one said before."""
        self._classified[ct] = said
        self.classified.emit(ct)

    def classified_of(self, ct: Image | None) -> Classified | None:
        """What a classifier said last of a CT."""
        return None if ct is None else self._classified.get(ct)

    def case_of(self, ct: Image | None) -> Case | None:
        """The result that belongs to a CT."""
        return next((case for case in self._cases if case.ct is ct), None)

    def labels_of(self, ct: Image) -> tuple[Labels | None, Labels | None]:
        """The lungs and the lesions over a CT: its result's, else the topmost on its grid.

        Those of another CT's result are not this one's, wherever they lie.
        """
        from napari.layers import Labels

        case, placement = self.case_of(ct), placement_of(ct)
        if case is not None:
            return case.lungs, case.lesions
        others = [layer for one in self._cases for layer in (one.lungs, one.lesions)]
        found: dict[str, Labels] = {}
        for layer in self.viewer.layers:
            free = isinstance(layer, Labels) and not any(layer is one for one in others)
            here = placement_of(layer) if free else None
            if here is None or placement is None or not here.geometry.same_as(placement.geometry):
                continue
            for name in (LUNGS, LESIONS):
                if layer.name.startswith(name):
                    found[name] = layer
        return found.get(LUNGS), found.get(LESIONS)

    def show(self, ct: Image, segmented: Segmented) -> Case:
        """Put a result into the viewer as two Labels layers over its CT, replacing an older one."""
        self._drop(self.case_of(ct))
        placement = ct.metadata[METADATA_KEY]
        lungs, lesions = (
            self.viewer.add_labels(data, **arguments)
            for data, arguments, _ in (
                lungs_layer(segmented.lungs, placement),
                lesions_layer(segmented.lesions, placement),
            )
        )
        case = Case(ct, lungs, lesions, segmented)
        for layer in (lungs, lesions):
            for event in ("paint", "data", "labels_update"):
                layer.events[event].connect(self._on_edited)
            layer.events.set_data.connect(self._on_refreshed)
        self._cases.append(case)
        self.viewer.layers.selection.active = ct
        self.changed.emit()
        return case

    def update(self, case: Case, segmented: Segmented) -> None:
        """Take new measurements of edited layers."""
        case.shown, case.stale = segmented, False
        self.changed.emit()

    def mark_saved(self, case: Case, path: Path, edits: int) -> None:
        """The case was written to ``path`` as it was after so many ``edits``."""
        if case.edits == edits:
            case.saved = path
            self.changed.emit()
        self.labels_saved.emit(case.ct, path)

    def _on_edited(self, event: Any) -> None:
        for case in self._cases:
            if event.source in (case.lungs, case.lesions):
                case.edited, case.stale, case.saved = True, True, None
                case.edits += 1
                self.changed.emit()

    def _on_refreshed(self, event: Any) -> None:
        """Undo and redo tell nobody but by a refresh, as a change of slice does."""
        for case in self._cases:
            if event.source in (case.lungs, case.lesions):
                histories = case.histories()
                if histories != case.known_histories:
                    case.known_histories = histories
                    self._on_edited(event)

    def _on_removed(self, event: Any) -> None:
        gone = event.value
        kept = [c for c in self._cases if gone not in (c.ct, c.lungs, c.lesions)]
        if len(kept) != len(self._cases):
            self._cases = kept
            self.changed.emit()

    def _drop(self, case: Case | None) -> None:
        if case is None:
            return
        self._cases.remove(case)
        for layer in (case.lungs, case.lesions):
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)


def segmented_steps(volume: CTVolume, settings: SegmentSettings) -> Steps[Segmented]:
    """Segment, and prepare what the layers show. Runs in a worker's thread."""
    from napari_covseg.workflows import segment as workflow

    result = yield from workflow.segment(volume, settings, likelihood=True)
    yield Progress(0, 1, "drawing")
    return as_segmented(result)


def as_segmented(result: SegmentResult) -> Segmented:
    """Split a result into the two layers."""
    lungs, lesions = split(result.labels)
    return Segmented(result, lungs, lesions, most_lesion(lungs, lesions))


def remeasured_steps(case: Case) -> Steps[Segmented]:
    """Measure what the layers hold now; the arrays are copied before the first step."""
    lungs, lesions = np.array(case.lungs.data), np.array(case.lesions.data)
    placement: Placement = case.ct.metadata[METADATA_KEY]
    older = case.shown.result

    def steps() -> Steps[Segmented]:
        from napari_covseg.quantify.volumes import measure

        yield Progress(0, 1, "measuring")
        labels = _joined(lungs, lesions, placement)
        provenance = {**older.provenance, "edited": True}
        result = replace(older, labels=labels, measurements=measure(labels), provenance=provenance)
        return Segmented(result, lungs, lesions, most_lesion(lungs, lesions))

    return steps()


def saved_steps(case: Case, folder: Path, name: str) -> Steps[Path]:
    """Write ``<name>_labels.nii.gz`` and ``<name>.json``, the files of ``covseg segment``.

    What is written is what the layers hold at the call: an edit that was not measured yet is
    measured first.
    """
    measuring = remeasured_steps(case) if case.stale else None
    shown = case.shown

    def steps() -> Steps[Path]:
        from napari_covseg.workflows.segment import write_result

        segmented = shown if measuring is None else (yield from measuring)
        yield Progress(0, 1, "saving")
        return write_result(segmented.result, folder, name).labels_path

    return steps()


def labels_saved_steps(lungs: Labels | None, lesions: Labels | None, path: Path) -> Steps[Path]:
    """Write layers that no segmentation made; what is written is what they hold at the call."""
    layers = [
        (np.array(layer.data), {"name": layer.name, "metadata": dict(layer.metadata)})
        for layer in (lungs, lesions)
        if layer is not None
    ]

    def steps() -> Steps[Path]:
        from napari_covseg.io import write_labels

        yield Progress(0, 1, "saving")
        return Path(write_labels(join(layers), path))

    return steps()


def phantom_steps() -> Steps[CTVolume]:
    """Draw the sample CT."""
    from napari_covseg.io import make_phantom

    yield Progress(0, 1, "drawing the sample")
    return make_phantom().volume


def most_lesion(lungs: NDArray[np.uint8], lesions: NDArray[np.uint8]) -> dict[str, int | None]:
    """The axial slice with most lesion on each side and on both; None where there is none."""
    sides = {"Right": int(Label.RIGHT_LUNG), "Left": int(Label.LEFT_LUNG)}
    counts = {name: np.zeros(len(lesions), np.int64) for name in (*sides, "Both")}
    for z, plane in enumerate(lesions):
        is_lesion = np.isin(plane, LESION_LABELS)
        if not is_lesion.any():
            continue
        counts["Both"][z] = np.count_nonzero(is_lesion)
        for name, side in sides.items():
            counts[name][z] = np.count_nonzero(is_lesion & (lungs[z] == side))
    return {name: int(n.argmax()) if n.any() else None for name, n in counts.items()}


def _joined(lungs: NDArray[np.uint8], lesions: NDArray[np.uint8], placement: Placement) -> LabelMap:
    metadata = {METADATA_KEY: placement}
    return join(
        (data, {"name": name, "metadata": metadata})
        for name, data in (("Lungs", lungs), ("Lesions", lesions))
    )
