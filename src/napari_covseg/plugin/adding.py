"""Scans on their way into a case store, from files or from the viewer. No Qt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_covseg.cases.records import DuplicateCase, Kind, NewVersion
from napari_covseg.domain.errors import UsageError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.plugin.case_work import Held
from napari_covseg.plugin.desk import desk_of
from napari_covseg.plugin.layers import volume_of
from napari_covseg.plugin.session import session_of
from napari_covseg.workflows.dataset_add import Added, AddRequest, add_cases, has_drawn

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_covseg.domain.volume import CTVolume

_MOST_LINES = 6


@dataclass(frozen=True, eq=False)
class Shown:
    """A CT in the viewer, its labels (None without), where it came from, and who labelled it.

    ``model`` is the SHA-256 of the model whose labels these are, untouched; empty otherwise.
    """

    volume: CTVolume
    held: Held | None
    source: Path | None
    model: str


def add_steps(folder: Path, request: AddRequest) -> Steps[list[Added]]:
    """Add scans to a store.

    Raises
    ------
    InputError, UsageError
        As `add_cases`; what fails for one scan stands in its `Added`.
    """
    from napari_covseg.cases.store import CaseStore

    yield Progress(0, 1, "looking at the files")
    return (yield from add_cases(CaseStore.open(folder), request))


def shown_in(viewer: Viewer, ct: Image) -> Shown:
    """Copy what the viewer shows of a CT.

    Raises
    ------
    InputError
        If the layer was not opened by this plugin.
    UsageError
        If it is a case of a store already.
    """
    session, desk = session_of(viewer), desk_of(viewer)
    if desk.served is not None and desk.served.ct is ct:
        raise UsageError(f"{desk.served.record.name} is a case of the store already")
    layers = [one for one in session.labels_of(ct) if one is not None]
    correction = desk.correction
    known = correction is not None and correction.ct is ct
    reviewed = np.flatnonzero(correction.slices.reviewed) if correction and known else ()
    held = None
    if layers:
        held = Held(
            tuple(
                (np.array(one.data, np.uint8), {"name": one.name, "metadata": dict(one.metadata)})
                for one in layers
            ),
            frozenset(int(z) for z in reviewed),
            correction.seconds if correction and known else 0.0,
            None,
        )
    case = session.case_of(ct)
    about = case.shown.result.provenance.get("model", {}) if case and not case.edited else {}
    path = getattr(ct.source, "path", None)
    return Shown(volume_of(ct), held, Path(path) if path else None, str(about.get("sha256", "")))


def add_shown_steps(folder: Path, shown: Shown, author: str) -> Steps[Added]:
    """Add a CT that is in the viewer, with its labels.

    Of a CT that is in the store already the labels are taken if nobody has drawn any for it.

    Raises
    ------
    InputError
        If the store cannot be opened, or the labels do not fit.
    ResourceError
        If the store may not be written to or the disk is full.
    """
    from napari_covseg.cases.store import CaseStore

    yield Progress(0, 2, "adding the CT")
    store = CaseStore.open(folder)
    name = shown.volume.case or "CT"
    there = False
    try:
        record = store.add_case(shown.volume, author=author, patient=_patient(shown))
    except DuplicateCase as known:
        record, there = store.case(known.case), True
    yield Progress(1, 2, "adding its labels")
    held = shown.held
    labels = held.labels().labels if held is not None else None
    warnings: tuple[str, ...] = ()
    if held is None or labels is None or not labels.any():
        pass
    elif has_drawn(store, record) or (shown.model and record.versions):
        warnings = ("it has labels already: those shown were left out",)
    else:
        store.save_version(
            record.name,
            labels,
            NewVersion(
                author=author,
                kind=Kind.PREDICTION if shown.model else Kind.IMPORT,
                model=shown.model or None,
                reviewed=held.reviewed,
                minutes=held.seconds / 60,
            ),
        )
    record = store.case(record.name)
    return Added(name, record.name, record.patient, record.state, there, warnings)


def told(added: Sequence[Added]) -> str:
    """What became of the inputs, in a few lines."""
    new = [one for one in added if one.error is None and not one.already_there]
    there = [one for one in added if one.already_there]
    lines = [f"{len(new)} added."]
    if len(new) == 1:
        lines = [f"Added as {new[0].case} ({new[0].state})."]
    if there:
        lines.append(f"{len(there)} in the store already: {there[0].case}.")
    lines += [f"Not added: {one.error}" for one in added if one.error is not None]
    notes = [f"{one.source}: {text}" for one in added for text in one.warnings]
    lines += notes
    rest = len(lines) - _MOST_LINES
    return "\n".join(lines[:_MOST_LINES] + ([f"... and {rest} more notes"] if rest > 0 else []))


def _patient(shown: Shown) -> str | None:
    from napari_covseg.io.dicom import is_dicom
    from napari_covseg.io.dicom_patient import dicom_patient_id

    source = shown.source
    if source is None or not source.exists() or not is_dicom(source):
        return None
    return dicom_patient_id(source) or None
