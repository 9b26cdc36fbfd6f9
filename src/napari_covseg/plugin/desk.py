"""What lies on the annotator's desk: a case store, and the case of it that stands in the viewer.

The widgets that work on a case store meet here. Knows napari's layers, but no Qt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from psygnal import Signal

from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.plugin.case_work import CaseWork, Held
from napari_covseg.plugin.layers import LayerTuple, ct_layer, label_layers
from napari_covseg.plugin.napari_versions import remove_layers, unwrapped
from napari_covseg.plugin.session import session_of

if TYPE_CHECKING:
    from napari.layers import Image, Layer
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
    """A case of a store that stands in the viewer, and the version that was shown or saved last."""

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
    or taken out of it, ``saved`` that all of what is drawn on it was saved as a version,
    ``touched`` that something in the store was changed by one of the widgets.
    """

    store_changed = Signal()
    served_changed = Signal()
    saved = Signal()
    touched = Signal()

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = ref(viewer)
        self._store: Path | None = None
        self._served: Served | None = None
        self._work: CaseWork | None = None
        self._layers: list[Layer] = []
        self._correction: Correction | None = None
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

    @property
    def correction(self) -> Correction | None:
        """What the Correct widget works on, whatever CT that is of.

        One of the served case gets the marks and the time that are known of it.
        """
        return self._correction

    @correction.setter
    def correction(self, correction: Correction | None) -> None:
        self._correction = correction
        if self._work is not None:
            self._work.adopt(correction)

    @property
    def work(self) -> CaseWork | None:
        """What was done on the served case since it was last saved."""
        return self._work

    def serve(self, loaded: LoadedCase) -> Served:
        """Put a case into the viewer, in the place of the one that was served before.

        Who calls has saved what was corrected in that one, or asked.
        """
        from napari.layers import Image, Labels

        viewer = self._viewer()
        assert viewer is not None
        self.clear()
        (data, arguments, _), *others = loaded.layers
        ct = Image(data, **arguments)
        labels = [Labels(data, **arguments) for data, arguments, _ in others]
        reviewed = loaded.version.reviewed if loaded.version is not None else ()
        # Before the layers are seen: a correction of them begins at once.
        self._served = served = Served(loaded.store, loaded.record, loaded.version, ct)
        self._work = CaseWork(ct, labels, reviewed)
        self._layers = [ct, *labels]
        for layer in self._layers:
            viewer.add_layer(layer)
        self._work.begin()
        viewer.layers.selection.active = ct
        self.served_changed.emit()
        return served

    def hold(self) -> Held | None:
        """A copy of what is drawn and marked on the served case; None without labels."""
        viewer, served = self._viewer(), self._served
        if viewer is None or served is None or self._work is None:
            return None
        layers = [one for one in session_of(viewer).labels_of(served.ct) if one is not None]
        return self._work.hold(layers) if layers else None

    def mark_saved(self, record: CaseRecord, version: LabelVersion, held: Held) -> None:
        """What was held of the served case is now this version; ``saved`` tells if it is all."""
        if self._served is None or self._work is None or held.work is not self._work:
            return
        self._served = replace(self._served, record=record, version=version)
        if self._work.mark_saved(held):
            self.saved.emit()

    def make_way(self, ct: Image) -> None:
        """Take the labels of this CT, if it is the served one, away: others come in their place."""
        viewer, served = self._viewer(), self._served
        if viewer is None or served is None or served.ct is not ct:
            return
        lungs, lesions = session_of(viewer).labels_of(ct)
        remove_layers(viewer, [one for one in (lesions, lungs) if one is not None])

    def clear(self) -> None:
        """Take the served case's layers out of the viewer."""
        viewer, served = self._viewer(), self._served
        if viewer is None or served is None:
            return
        drawn = [one for one in session_of(viewer).labels_of(served.ct) if one is not None]
        layers, self._layers = self._layers, []
        self._served = self._work = None
        remove_layers(viewer, (*drawn[::-1], *layers[::-1]))
        self.served_changed.emit()

    def _on_removed(self, event: Any) -> None:
        if self._served is not None and event.value is self._served.ct:
            self._served = self._work = None
            self._layers = []
            self.served_changed.emit()
