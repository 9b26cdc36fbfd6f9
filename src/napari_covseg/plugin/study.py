"""Keeps what is found in each CT of a viewer, and offers what was found in it before."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_covseg.domain.errors import CovsegError
from napari_covseg.plugin.findings import (
    Findings,
    Written,
    findings_path,
    read_findings,
    write_findings,
)
from napari_covseg.plugin.layers import is_ct
from napari_covseg.plugin.napari_versions import unwrapped
from napari_covseg.plugin.reader_scores import ReaderScores
from napari_covseg.plugin.reading import reading_of
from napari_covseg.plugin.rulers import Ruler
from napari_covseg.plugin.session import session_of
from napari_covseg.plugin.telling import show_error

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

QUIET_MS = 400

_studies: WeakKeyDictionary[Any, Study] = WeakKeyDictionary()


def study_of(viewer: Viewer) -> Study:
    """The keeper of findings of a viewer, made on the first call."""
    viewer = unwrapped(viewer)
    if viewer not in _studies:
        _studies[viewer] = Study(viewer)
    return _studies[viewer]


@dataclass
class _Kept:
    """Of one CT: its file, what was there before and is not decided on, and what there is now."""

    path: Path
    older: Findings | None
    now: Findings = field(default_factory=Findings)


class Study:
    """Findings by CT. ``changed`` tells that there is something else to offer or to show."""

    changed = Signal()

    def __init__(self, viewer: Viewer) -> None:
        self._ref = weakref.ref(viewer)
        self._kept: dict[Image, _Kept] = {}
        self._reading = reading_of(viewer)
        self._late: set[Image] = set()
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(QUIET_MS)
        self._timer.timeout.connect(self.flush)
        self._look = QTimer()
        self._look.setSingleShot(True)
        self._look.setInterval(QUIET_MS)
        self._look.timeout.connect(self._on_rulers)
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.layers.events.removed.connect(self._on_removed)
        session_of(viewer).labels_saved.connect(self._on_labels_saved)
        self._reading.rulers_changed.connect(self._on_rulers)
        for layer in viewer.layers:
            self._adopt(layer)

    def offered(self, ct: Image | None) -> Findings | None:
        """What was found in a CT before and is neither shown nor forgotten; None without."""
        kept = None if ct is None else self._kept.get(ct)
        return None if kept is None else kept.older

    def take(self, ct: Image) -> Findings | None:
        """Show what is offered, all but the labels, which the caller reads."""
        kept = self._kept.get(ct)
        if kept is None or kept.older is None:
            return None
        older, kept.older = kept.older, None
        reader = {**older.reader, **kept.now.reader}
        report = kept.now.report.after(older.report)
        kept.now = replace(
            kept.now, labels=kept.now.labels or older.labels, reader=reader, report=report
        )
        rulers = self._reading.rulers_of(ct)
        if older.rulers and rulers is not None:
            rulers.add(older.rulers)
        self.changed.emit()
        return older

    def forget(self, ct: Image) -> None:
        """Drop what is offered for good."""
        kept = self._kept.get(ct)
        if kept is not None and kept.older is not None:
            kept.older = None
            self._save(ct)
            self.changed.emit()

    def reader(self, ct: Image) -> Mapping[str, Mapping[str, int]]:
        """The reader's points by kind of score."""
        kept = self._kept.get(ct)
        return {} if kept is None else kept.now.reader

    def set_reader(self, ct: Image, scores: ReaderScores) -> None:
        """Keep the reader's points."""
        kept = self._kept.get(ct)
        if kept is None or dict(kept.now.reader.get(scores.kind, {})) == dict(scores.points):
            return
        reader = {**kept.now.reader, scores.kind: dict(scores.points)}
        kept.now = replace(kept.now, reader=reader)
        self._save_soon(ct)

    def report(self, ct: Image) -> Written:
        """What the reader wrote for the report."""
        kept = self._kept.get(ct)
        return Written() if kept is None else kept.now.report

    def set_report(self, ct: Image, written: Written) -> None:
        """Keep what the reader wrote."""
        kept = self._kept.get(ct)
        if kept is not None and kept.now.report != written:
            kept.now = replace(kept.now, report=written)
            self._save_soon(ct)

    def flush(self) -> None:
        """Write what is not yet written."""
        self._timer.stop()
        late, self._late = self._late, set()
        for ct in late:
            self._save(ct)

    def _save_soon(self, ct: Image) -> None:
        self._late.add(ct)
        self._timer.start()

    def _save(self, ct: Image) -> None:
        kept = self._kept.get(ct)
        if kept is None:
            return
        older, now = kept.older or Findings(), kept.now
        # What nobody has decided on is not written over by work begun beside it.
        both = Findings(
            labels=now.labels or older.labels,
            rulers=older.rulers + now.rulers,
            reader={**older.reader, **now.reader},
            report=now.report.after(older.report),
        )
        try:
            write_findings(kept.path, both)
        except CovsegError as error:
            show_error(str(error))

    # What viewer, session and reading room tell

    def _on_inserted(self, event: Any) -> None:
        self._adopt(event.value)

    def _adopt(self, layer: Any) -> None:
        if not is_ct(layer) or layer.ndim != 3 or layer in self._kept:
            return
        path = findings_path(layer)
        found = read_findings(path)
        self._kept[layer] = _Kept(path, None if found is None or found.empty else found)
        self.changed.emit()

    def _on_removed(self, event: Any) -> None:
        gone = event.value
        if gone in self._kept:
            self.flush()
            del self._kept[gone]
            self.changed.emit()
        elif self._ref() is not None:
            # Not at once: distances that leave together with their CT were not deleted.
            self._look.start()

    def _on_rulers(self) -> None:
        """Distances of CTs that are still there; those of a CT that left are kept as they were."""
        viewer = self._ref()
        for ct, kept in self._kept.items():
            if viewer is None or ct not in viewer.layers:
                continue
            rulers: tuple[Ruler, ...] = tuple(self._reading.drawn(ct))
            if rulers != kept.now.rulers:
                kept.now = replace(kept.now, rulers=rulers)
                self._save_soon(ct)

    def _on_labels_saved(self, ct: Image, path: Path) -> None:
        kept = self._kept.get(ct)
        if kept is not None:
            kept.now = replace(kept.now, labels=Path(path).absolute())
            self._save_soon(ct)
