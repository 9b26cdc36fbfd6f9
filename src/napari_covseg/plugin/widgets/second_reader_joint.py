"""Two readers' versions of the case in the viewer: compared, chosen from, joined."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.editing.consensus import Difference, Rule, join
from napari_covseg.plugin.layers import split
from napari_covseg.plugin.review_layers import Readers, legend_html
from napari_covseg.plugin.review_texts import (
    both_say,
    class_title,
    entries_of,
    entry_of,
    ml_of,
    readers_of,
    where_of,
)
from napari_covseg.plugin.viewing import viewing_of

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_covseg.cases.records import LabelVersion
    from napari_covseg.editing.consensus import Region
    from napari_covseg.plugin.widgets.second_reader_joint_view import JointPage
    from napari_covseg.workflows.consensus import Joined, Readings

_MOST_MINUTES = 60.0
_AT_FIRST = Rule.UNION
_SHOWN = ("lung", "infection", "ggo", "consolidation")


@dataclass(frozen=True, eq=False)
class Both:
    """Two versions that were read, the lung under their lesions, and both joined as at first."""

    readings: Readings
    under: NDArray[np.uint8]
    joined: NDArray[np.uint8]


def both_steps(folder: Path, first: LabelVersion, second: LabelVersion) -> Steps[Both]:
    """Read two versions and compare them. Runs in a thread.

    Raises
    ------
    UsageError, InputError
        As `napari_covseg.workflows.consensus.read_both`.
    """
    from napari_covseg.cases.store import CaseStore
    from napari_covseg.workflows.consensus import read_both

    readings = yield from read_both(CaseStore.open(folder), first, second)
    yield Progress(2, 3, "drawing")
    under, _ = split(readings.first_labels)
    other, _ = split(readings.second_labels)
    joined = join(readings.comparison, _AT_FIRST)
    return Both(readings, np.where(under == 0, other, under), joined)


class JointReview:
    """Ties `JointPage` to two versions; ``both`` is None while there are none."""

    def __init__(self, viewer: Viewer, page: JointPage) -> None:
        self.viewing = viewing_of(viewer)
        self.page = page
        self.both: Both | None = None
        self.layers: Readers | None = None
        self.rule = _AT_FIRST
        self.choices: dict[int, Rule] = {}
        self._since = 0.0
        page.table.chosen.connect(self.go_to)
        page.table.taken.connect(self._on_taken)
        page.outlines.toggled.connect(self._show_outlines)
        for rule, button in page.all.items():
            button.clicked.connect(partial(self._on_all, rule))

    @property
    def regions(self) -> tuple[Region, ...]:
        """Where the two differ."""
        return self.both.readings.comparison.regions if self.both is not None else ()

    def take(self, both: Both, ct: Image) -> None:
        """Show two versions over the CT of their case; at first their union."""
        self.leave()
        self.both, self.rule, self.choices = both, _AT_FIRST, {}
        self._since = time.monotonic()
        readings, page = both.readings, self.page
        names = readers_of(readings.first, readings.second)
        page.title.setText(
            f"{readings.first.case}: {names[0]} (version {readings.first.number}) and "
            f"{names[1]} (version {readings.second.number})"
        )
        page.name_readers(*names)
        page.legend.setText(legend_html(*names, "chosen row", any(map(_is_open, self.regions))))
        page.comment.clear()
        page.whole.setChecked(False)
        page.outlines.setChecked(True)
        self._show_figures(readings)
        self._show_regions(names)
        self._show_alone(readings, names)
        drawn = (readings.first_labels.labels, readings.second_labels.labels)
        self.layers = Readers(self.viewing.viewer, ct, names, drawn, both.under, both.joined)
        if self.regions:
            page.table.go_to(0)
            self.go_to(0)

    def leave(self) -> None:
        """Take the readers' layers out of the viewer."""
        self.both = None
        layers, self.layers = self.layers, None
        if layers is not None:
            layers.close()

    def _show_figures(self, readings: Readings) -> None:
        rows = [
            [
                class_title(name),
                f"{one.first_ml:.1f}" if one.first_ml < 9.95 else f"{one.first_ml:.0f}",
                f"{one.second_ml:.1f}" if one.second_ml < 9.95 else f"{one.second_ml:.0f}",
                "–" if one.dice is None else f"{one.dice:.2f}",
            ]
            for name, one in readings.agreement.items()
            if name in _SHOWN
        ]
        self.page.figures.show_rows(rows)

    def _show_regions(self, names: tuple[str, str]) -> None:
        table, regions = self.page.table, self.regions
        assert self.both is not None
        under = self.both.under
        rows = [[where_of(one, under), *both_say(one), ml_of(one)] for one in regions]
        table.show_rows(rows, [_tip(one, names) for one in regions])
        table.show_choices(
            [[text for text, _ in entries_of(one, names)] for one in regions],
            [entry_of(one, self.chosen(one.number)) for one in regions],
        )
        table.setVisible(bool(regions))
        self._show_all()

    def _show_alone(self, readings: Readings, names: tuple[str, str]) -> None:
        found, page = readings.comparison, self.page
        lines = [
            f"{len(alone)} slices were reviewed by {name} only: {name}'s labels stand there."
            for name, alone in zip(names, (found.first_alone, found.second_alone), strict=True)
            if alone
        ]
        if not found.regions:
            lines.insert(0, "The two versions differ nowhere that both readers checked.")
        page.stands.setText("\n".join(lines))
        page.stands.setVisible(bool(lines))
        depth = len(found.agreed)
        page.note.setText(
            f"{len(found.reviewed)} of {depth} slices count as reviewed."
            if found.reviewed
            else "No slice is marked as reviewed: say below that you checked all to accept it."
        )

    def _show_all(self) -> None:
        rules = {self.chosen(one.number) for one in self.regions if _is_lesion(one)}
        for rule, button in self.page.all.items():
            button.setChecked(rules == {rule})

    # Choices

    def chosen(self, number: int) -> Rule:
        """What is taken in a region."""
        return self.choices.get(number, self.rule)

    def choose(self, number: int, rule: Rule) -> None:
        """Take something in one region."""
        self.choices[number] = rule
        self._preview([number])
        self._show_all()

    def choose_for_all(self, rule: Rule) -> None:
        """Take something in every lesion in which the readers differ; the lungs stay."""
        lesions = [one for one in self.regions if _is_lesion(one)]
        for one in lesions:
            self.choices[one.number] = rule
            self.page.table.box(one.number).setCurrentIndex(entry_of(one, rule))
        self._preview([one.number for one in lesions])
        self._show_all()

    def _on_taken(self, row: int, entry: int) -> None:
        region = self.regions[row]
        self.page.table.go_to(row)
        self.go_to(row)
        self.choose(region.number, entries_of(region, ("", ""))[entry][1])

    def _on_all(self, rule: Rule, *_: object) -> None:
        self.choose_for_all(rule)

    def _preview(self, numbers: list[int]) -> None:
        if self.both is None or self.layers is None:
            return
        found = self.both.readings.comparison
        for number in numbers:
            self.layers.update(found.voxels(number), found.joined(number, self.chosen(number)))
        self.layers.refresh()

    def go_to(self, row: int) -> None:
        """Show the slice with most of a difference, and outline it."""
        if self.both is None or self.layers is None:
            return
        region = self.regions[row]
        self.layers.point_out(self.both.readings.comparison.voxels(region.number))
        self.viewing.go_to_slice(region.slice_index)

    def step(self, by: int) -> None:
        """Go to the next difference, or the one before; round again at the end."""
        if self.regions:
            row = (self.page.table.currentRow() + by) % len(self.regions)
            self.page.table.go_to(row)
            self.go_to(row)

    def show(self, shown: bool) -> None:
        """See both readers, or the case's own layers while another tab is in front."""
        if self.layers is not None:
            self.layers.show(shown)
            self.layers.show_outlines(shown and self.page.outlines.isChecked())

    def _show_outlines(self, shown: bool) -> None:
        if self.layers is not None:
            self.layers.show_outlines(shown)

    # Saving

    def save_steps(self, folder: Path, author: str, accept: bool) -> Steps[Joined]:
        """Join as chosen and save; what is chosen is read at the call. Runs in a thread."""
        assert self.both is not None
        readings, rule, choices = self.both.readings, self.rule, dict(self.choices)
        comment, whole = self.page.comment.text().strip(), self.page.whole.isChecked()
        minutes = min((time.monotonic() - self._since) / 60, _MOST_MINUTES)

        def steps() -> Steps[Joined]:
            from napari_covseg.cases.store import CaseStore
            from napari_covseg.workflows.consensus import save_joined

            return (
                yield from save_joined(
                    CaseStore.open(folder),
                    readings,
                    rule,
                    choices,
                    author=author,
                    comment=comment,
                    minutes=minutes,
                    accept=accept,
                    whole=whole,
                )
            )

        return steps()


def _is_lesion(region: Region) -> bool:
    return region.kind is not Difference.LUNGS


def _is_open(region: Region) -> bool:
    """Whether it may be left open which class it is."""
    return region.kind in (Difference.OTHER_CLASS, Difference.SMALL)


def _tip(region: Region, names: tuple[str, str]) -> str:
    first, second = names
    larger = first if region.larger is Rule.FIRST else second
    return {
        Difference.ONLY_FIRST: f"Only {first} drew this lesion",
        Difference.ONLY_SECOND: f"Only {second} drew this lesion",
        Difference.OTHER_CLASS: "Both drew it and call it differently; left open it counts as a "
        "lesion whose class is unknown",
        Difference.OUTLINE: f"Both drew the lesion; {larger} drew it larger here",
        Difference.SMALL: "All lesions and outlines of less than 0.05 ml in which they differ",
        Difference.LUNGS: "What is lung, everywhere taken together",
    }[region.kind]
