"""What the model that drew the labels over a CT was in doubt of, as the viewer knows it. No Qt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari.layers import Image, Labels

    from napari_covseg.domain.volume import LabelMap
    from napari_covseg.plugin.desk import Desk
    from napari_covseg.plugin.session import Session
    from napari_covseg.quantify.doubt import Doubt

LABELS_FILE = "napari-covseg labels file"
"""Under this a layer's metadata hold the file that it was read from, if napari does not know."""
DoubtOf = Callable[["LabelMap"], "Doubt | None"]

_read: WeakKeyDictionary[Labels, NDArray | None] = WeakKeyDictionary()


def no_doubt(_labels: LabelMap) -> None:
    """Nothing is known."""


def doubt_of(session: Session, desk: Desk, ct: Image) -> DoubtOf:
    """Tells what was in doubt of the labels that lie over a CT now.

    What it gives is called in a worker's thread with these labels. Slices that were reviewed in
    Correct by the time of this call are in doubt no more.
    """
    correction = desk.correction
    reviewed = None
    if correction is not None and correction.ct is ct:
        reviewed = correction.slices.reviewed.copy()
    case = session.case_of(ct)
    lungs, lesions = session.labels_of(ct)
    layer = lesions if lesions is not None else lungs
    file = file_of(layer)

    def found(labels: LabelMap) -> Doubt | None:
        from napari_covseg.quantify.doubt import Doubt

        likely = _from_file(layer, file, labels) if case is None else case.shown.result.likely
        return None if likely is None else Doubt(labels.geometry, likely, reviewed)

    return found


def file_of(layer: Labels | None) -> Path | None:
    """The file that a layer was read from."""
    if layer is None:
        return None
    path = layer.source.path or layer.metadata.get(LABELS_FILE)
    return Path(path) if path else None


def _from_file(layer: Labels | None, file: Path | None, labels: LabelMap) -> NDArray | None:
    """The maps beside a label file, read once for each layer."""
    from napari_covseg.io.labels import label_case_name
    from napari_covseg.workflows.doubt import read_doubt

    if layer is None or file is None:
        return None
    if layer not in _read:
        doubt = read_doubt(file, label_case_name(file), labels)
        _read[layer] = None if doubt is None else doubt.likely
    return _read[layer]
