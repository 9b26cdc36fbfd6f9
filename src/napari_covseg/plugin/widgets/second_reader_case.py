"""One case under review: its changes, what it was made from, and the verdict's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_covseg.cases.records import Decision, Difficulty, Kind, State
from napari_covseg.domain.errors import UsageError
from napari_covseg.editing.consensus import Difference
from napari_covseg.plugin.desk import desk_of
from napari_covseg.plugin.plain import plain
from napari_covseg.plugin.review_deciding import Verdict
from napari_covseg.plugin.review_layers import Turns
from napari_covseg.plugin.review_opening import Opened
from napari_covseg.plugin.review_texts import (
    change_of,
    facts_of,
    ml_of,
    said_of,
    shortened,
    started_from,
    title_of,
    version_text,
    where_of,
)
from napari_covseg.plugin.viewing import viewing_of
from napari_covseg.plugin.widgets.second_reader_keys import BEFORE_KEY

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_covseg.editing.consensus import Region
    from napari_covseg.plugin.case_work import Held
    from napari_covseg.plugin.desk import Served
    from napari_covseg.plugin.widgets.second_reader_view import CasePage

NEEDS_COMMENT = (Decision.SEND_BACK, Decision.FLAG, Decision.COMMENT)


class CaseReview:
    """Ties `CasePage` to the case that is open; ``opened`` is None while there is none.

    ``served`` is that case as it stands in the viewer.
    """

    def __init__(self, viewer: Viewer, page: CasePage) -> None:
        self.viewing, self.desk = viewing_of(viewer), desk_of(viewer)
        self.page = page
        self.opened: Opened | None = None
        self.served: Served | None = None
        self.turns: Turns | None = None
        self._regions: list[Region] = []
        page.before.toggled.connect(self.show_before)
        page.outlines.toggled.connect(self._show_outlines)
        page.table.chosen.connect(self.go_to_change)
        page.previous.clicked.connect(lambda: self.step(-1))
        page.next.clicked.connect(lambda: self.step(1))
        page.bar.slice_chosen.connect(self.viewing.go_to_slice)

    # Which case

    def take(self, opened: Opened, served: Served) -> None:
        """Show a case that stands in the viewer now."""
        self.leave()
        self.opened, self.served = opened, served
        page, basis = self.page, opened.basis
        page.title.setText(title_of(opened.version))
        page.facts.setText(facts_of(opened))
        _set(page.said, said_of(opened.reviews))
        _set(page.note, opened.note)
        page.comment.clear()
        page.difficulty.setCurrentIndex(
            max(page.difficulty.findData(opened.loaded.record.difficulty), 0)
        )
        is_flagged = opened.loaded.record.state is State.FLAGGED
        page.flag.setText("Take the flag away" if is_flagged else "Flag")
        page.accept.setVisible(bool(opened.beside))
        page.accept.setText(f"Accept only {shortened(opened.version.author)}'s version")
        page.changes.setVisible(basis is not None)
        page.outlines.setChecked(True)
        self._regions = []
        if basis is not None:
            page.before.setText(
                f"See {'prediction' if basis.version.kind is Kind.PREDICTION else 'before'}"
                f"  ({BEFORE_KEY})"
            )
            page.before.setToolTip(
                plain(f"See {started_from(basis)}, and back. Key: {BEFORE_KEY}.")
            )
            self._regions = sorted(basis.changes.regions, key=_by_slice)
            viewer = self.viewing.viewer
            self.turns = Turns(viewer, served.ct, basis.lungs, basis.lesions, basis.changes)
        self._show_changes()
        self._show_versions(opened)
        self.show_slice()

    def leave(self) -> None:
        """Take what was added to the viewer away."""
        self.opened = self.served = None
        turns, self.turns = self.turns, None
        if turns is not None:
            turns.close()

    def _show_changes(self) -> None:
        page, count = self.page, len(self._regions)
        basis = self.opened.basis if self.opened is not None else None
        rows: list[list[str]] = []
        if basis is not None:
            rows = [
                [where_of(one, basis.lungs), change_of(one), ml_of(one)] for one in self._regions
            ]
        page.table.show_rows(rows)
        page.table.setVisible(bool(rows))
        for button in (page.previous, page.next):
            button.setEnabled(count > 0)

    def _show_versions(self, opened: Opened) -> None:
        versions = self.page.versions
        people = list(opened.history)
        for box in (versions.first, versions.second):
            box.clear()
            for one in people:
                box.addItem(version_text(one), one.id)
        here = next(i for i, one in enumerate(people) if one.id == opened.version.id)
        versions.second.setCurrentIndex(here)
        versions.first.setCurrentIndex(max(here - 1, 0))
        versions.setVisible(len(people) > 1)

    # Changes

    def show_before(self, before: bool) -> None:
        """See what the version was made from, or the version."""
        if self.turns is not None:
            self.turns.show_before(before)
        self.page.before.setChecked(before)

    def _show_outlines(self, shown: bool) -> None:
        if self.turns is not None:
            self.turns.show_changes(shown)

    def go_to_change(self, row: int) -> None:
        """Show the slice with most of a change."""
        self.viewing.go_to_slice(self._regions[row].slice_index)

    def step(self, by: int) -> None:
        """Go to the next change, or the one before; round again at the end."""
        if not self._regions:
            return
        current = self.page.table.currentRow()
        row = (current + by) % len(self._regions) if current >= 0 else (0 if by > 0 else -1)
        row %= len(self._regions)
        self.page.table.go_to(row)
        self.go_to_change(row)

    def show_slice(self) -> None:
        """The bar: which slices were reviewed, which were changed, which is shown."""
        opened = self.opened
        if opened is None:
            return
        depth = opened.loaded.record.geometry.shape[0]
        reviewed, changed = np.zeros(depth, bool), np.zeros(depth, bool)
        reviewed[sorted(opened.version.reviewed)] = True
        if opened.basis is not None:
            plane = opened.basis.lesions[0].size
            for region in opened.basis.changes.regions:
                if region.kind is not Difference.LUNGS:
                    at = opened.basis.changes.voxels(region.number)
                    changed[np.unique(at // plane)] = True
        self.page.bar.show_slices(reviewed, changed)
        self.page.bar_text.setText(
            f"{int(reviewed.sum())} of {depth} slices reviewed, {int(changed.sum())} with changes"
        )
        self.show_here()

    def show_here(self) -> None:
        """Which slice is shown now."""
        if self.opened is None:
            return
        viewer = self.viewing.viewer
        ct = self.viewing.ct
        if ct is not None and viewer.dims.ndim == 3:
            here = round(float((viewer.dims.point[0] - ct.translate[0]) / ct.scale[0]))
            self.page.bar.show_here(min(max(here, 0), ct.data.shape[0] - 1))

    # What the reader draws himself

    def is_mine(self, served: Served) -> bool:
        """Whether what stands in the viewer is the case under review."""
        return self.served is not None and served.ct is self.served.ct

    def has_own(self) -> bool:
        """Whether the reader corrected the case himself, and it is not saved."""
        served, work = self.desk.served, self.desk.work
        return served is not None and self.is_mine(served) and work is not None and work.changed

    def own(self) -> Held | None:
        """What the reader corrected himself and did not save, if anything."""
        return self.desk.hold() if self.has_own() else None

    # The verdict

    def verdict(
        self,
        decision: Decision,
        reader: str,
        own: Held | None,
        *,
        whole: bool = False,
        set_aside: tuple[str, ...] = (),
    ) -> Verdict:
        """The decision with what the reader said.

        Raises
        ------
        UsageError
            If the decision needs a comment and there is none.
        """
        comment = self.page.comment.text().strip()
        difficulty = self.page.difficulty.currentData()
        told = Difficulty(difficulty) if difficulty else None
        only_difficulty = decision is Decision.COMMENT and told is not None
        if not comment and decision in NEEDS_COMMENT and not only_difficulty:
            raise UsageError("write a comment first: it tells the annotator why")
        return Verdict(decision, reader, comment, told, whole, set_aside, own)


def _by_slice(region: Region) -> tuple[bool, int, int]:
    together = region.kind in (Difference.SMALL, Difference.LUNGS)
    return together, region.slice_index, region.number


def _set(label: Any, text: str) -> None:
    """A line that takes no room when it is empty."""
    label.setText(text)
    label.setVisible(bool(text))
