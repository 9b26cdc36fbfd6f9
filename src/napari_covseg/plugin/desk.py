"""What lies on the annotator's desk: a case store, and the case of it that stands in the viewer.

The widgets that work on a case store meet here. Knows napari's layers, but no Qt.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from psygnal import Signal

from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.plugin.layers import LayerTuple, ct_layer, label_layers
from napari_covseg.plugin.napari_versions import unwrapped

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_covseg.cases.records import CaseRecord, LabelVersion
    from napari_covseg.plugin.correction import Correction

_desks: WeakKeyDictionary[Any, Desk] = WeakKeyDictionary()


def desk_of(viewer: Viewer) -> Desk:
    """The desk of a viewer, made on the first call."""
    viewer = unwrapped(viewer)
    if viewer not in _desks:
        _desks[viewer] = Desk(viewer)
    return _desks[viewer]


@dataclass(frozen=True, eq=False)
class LoadedCase:
    """A case of a store and one of its versions, read in a worker's thread.

    ``version`` is None for a case without labels; ``layers`` are then the CT alone.
    """

    store: Path
    record: CaseRecord
    version: LabelVersion | None
    layers: tuple[LayerTuple, ...]


@dataclass(frozen=True, eq=False)
class Served:
    """A case of a store that stands in the viewer, and the version that was shown at first."""

    store: Path
    record: CaseRecord
    version: LabelVersion | None
    ct: Image


def load_steps(store: Path, case: str, version: str | None = None) -> Steps[LoadedCase]:
    """Read a case with a version of its labels (an id; None: the newest). Runs in a thread.

    Raises
    ------
    InputError
        If store, case or version are not there, or a file is gone, damaged or was changed.
    """
    from napari_covseg.cases.store import CaseStore

    yield Progress(0, 2, "reading the CT")
    opened = CaseStore.open(store)
    record = opened.case(case)
    layers = [ct_layer(opened.image(case))]
    yield Progress(1, 2, "reading the labels")
    wanted = version or record.newest
    found = opened.version(wanted) if wanted else None
    if found is not None:
        layers += label_layers(opened.labels(found.id))
    return LoadedCase(store, record, found, tuple(layers))


class Desk:
    """The store in use and the case in work.

    ``store_changed`` tells of another store, ``served_changed`` that a case was put into the viewer
    or taken out of it, ``touched`` that something in the store was changed by one of the widgets.
    """

    store_changed = Signal()
    served_changed = Signal()
    touched = Signal()

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = ref(viewer)
        self._store: Path | None = None
        self._served: Served | None = None
        self.correction: Correction | None = None
        """What the Correct widget works on, whatever CT that is of."""
        viewer.layers.events.removed.connect(self._on_removed)

    @property
    def store(self) -> Path | None:
        """The folder of the store in use."""
        return self._store

    @store.setter
    def store(self, folder: Path | None) -> None:
        if folder != self._store:
            self._store = folder
            self.store_changed.emit()

    @property
    def served(self) -> Served | None:
        """The case that stands in the viewer."""
        return self._served

    def serve(self, loaded: LoadedCase) -> Served:
        """Put a case into the viewer, in the place of the one that was served before.

        Who calls has saved what was corrected in that one, or asked.
        """
        viewer = self._viewer()
        assert viewer is not None
        self.clear()
        (data, arguments, _), *labels = loaded.layers
        ct = viewer.add_image(data, **arguments)
        for data, arguments, _ in labels:
            viewer.add_labels(data, **arguments)
        viewer.layers.selection.active = ct
        self._served = Served(loaded.store, loaded.record, loaded.version, ct)
        self.served_changed.emit()
        return self._served

    def clear(self) -> None:
        """Take the served case's layers out of the viewer."""
        viewer, served = self._viewer(), self._served
        if viewer is None or served is None:
            return
        from napari_covseg.plugin.session import session_of

        lungs, lesions = session_of(viewer).labels_of(served.ct)
        for layer in (lesions, lungs, served.ct):
            if layer is not None and layer in viewer.layers:
                viewer.layers.remove(layer)

    def _on_removed(self, event: Any) -> None:
        if self._served is not None and event.value is self._served.ct:
            self._served = None
            self.served_changed.emit()
