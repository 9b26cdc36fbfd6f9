"""What the Segment widget looks like: controls and texts, no decisions."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import (
    QFormLayout,
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_covseg.plugin.plain import Words, plain
from napari_covseg.plugin.session import Case
from napari_covseg.plugin.viewing import viewing_of
from napari_covseg.plugin.widgets.device_line import DeviceLine
from napari_covseg.plugin.widgets.legend import Legend
from napari_covseg.plugin.widgets.opening import Opening
from napari_covseg.plugin.widgets.options import SettingsForm
from napari_covseg.plugin.widgets.pieces import (
    Folded,
    Running,
    marked,
    paragraph,
    primary_button,
    scrolled,
)
from napari_covseg.plugin.widgets.results_table import ResultsTable
from napari_covseg.plugin.widgets.view_bar import ViewBar

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_covseg.domain.progress import Progress
    from napari_covseg.plugin.layers import Placement
    from napari_covseg.workflows.segment_settings import SegmentSettings

NOTICE = "Research use only. Not a medical device."


class SegmentView(QWidget):
    """Top to bottom: the button, the CT, its result, the view, options, and the notice."""

    def __init__(self, viewer: Viewer, ct: Any, settings: SegmentSettings) -> None:
        from napari_covseg.models.zoo import available

        super().__init__()
        self.setMinimumWidth(360)
        self.run = primary_button(
            "Segment", "Find lungs, ground-glass opacity and consolidation in this CT"
        )
        self.running = Running()
        self.cancel = self.running.cancel
        self.ct = ct
        self.empty = Opening(viewer)
        self.warnings = paragraph("")
        self.result = _Result()
        self.table = self.result.table
        self.go_to_most, self.save = self.result.go_to_most, self.result.save
        self.view_bar = ViewBar(viewing_of(viewer))
        self.form = SettingsForm(settings, available())
        self.device = DeviceLine()
        self.notice = marked(f"<small>{NOTICE}</small>")
        self._build()

    def _build(self) -> None:
        self.ct_row = QWidget()
        row = QHBoxLayout(self.ct_row)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(Words("CT"))
        row.addWidget(self.ct.native, 1)
        self.options = options = _Options(self.form)
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        parts = (self.ct_row, self.empty, self.result, self.warnings, self.view_bar)
        for part in (*parts, options, self.device):
            column.addWidget(part)
        column.addStretch(1)
        self.scroll = scroll = scrolled(inner)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        for part in (self.run, self.running, scroll, self.notice):
            outer.addWidget(part)
        outer.setStretchFactor(scroll, 1)
        self._order_tabs()
        self.show_running(False)

    def _order_tabs(self) -> None:
        """From top to bottom, as it is read; Qt goes by when a part was made."""
        stops = [
            self.run,
            self.cancel,
            self.ct.native,
            *(self.empty.folder, self.empty.file, self.empty.sample),
            *(self.table, self.go_to_most, self.save),
            *self.view_bar.presets.values(),
            *self.view_bar.planes.values(),
            *self.view_bar.tools,
            self.options.toggleButton(),
            *(box.native for box in self.form),
        ]
        for before, after in pairwise(stops):
            self.setTabOrder(before, after)

    def show_ct(self, placement: Placement | None, run_text: str) -> None:
        """A CT is chosen, or none (then what to do is said instead)."""
        has_ct = placement is not None
        self.run.setText(run_text)
        self.run.setEnabled(has_ct)
        self.empty.setVisible(not has_ct)
        self.ct_row.setVisible(has_ct)
        self.view_bar.setVisible(has_ct)
        self._show_warnings(placement.warnings if placement is not None else ())

    def show_case(self, case: Case | None) -> None:
        """The result of the chosen CT, if there is one."""
        self.result.setVisible(case is not None)
        if case is not None:
            self.result.show_case(case)
            self._show_warnings(case.shown.result.warnings)

    def show_running(self, running: bool) -> None:
        """Progress and Cancel stand in place of the button while it works."""
        self.run.setVisible(not running)
        self.running.setVisible(running)
        self.form.enabled = not running
        if running:
            self.running.restart()

    def show_progress(self, step: Progress, now: float) -> None:
        """Say which step it is and how long it will still take."""
        self.running.show_progress(step, now)

    def show_cancelling(self) -> None:
        """Cancel was pressed; the step under way still has to end."""
        self.running.show_cancelling()

    def _show_warnings(self, warnings: tuple[str, ...]) -> None:
        self.warnings.setText("\n".join(f"⚠ {text}" for text in warnings))
        self.warnings.setVisible(bool(warnings))


class _Options(Folded):
    """What is rarely changed, folded."""

    def __init__(self, form: SettingsForm) -> None:
        super().__init__("Options")
        rows = QWidget()
        layout = QFormLayout(rows)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for box in form:
            label = Words(box.label)
            label.setToolTip(plain(box.tooltip))
            layout.addRow(label, box.native)
        self.addWidget(rows)


class _Result(QWidget):
    """State, table, legend, and what can be done with a result."""

    def __init__(self) -> None:
        super().__init__()
        self.state = paragraph("")
        self.table = ResultsTable()
        self.legend = Legend()
        self.go_to_most = QPushButton("Go to most lesion")
        self.go_to_most.setToolTip("Show the axial slice with the largest area of lesion")
        self.save = QPushButton("Save…")
        self.save.setToolTip("Write the label map (NIfTI) and the volumes (JSON) into a folder")
        row = QHBoxLayout()
        row.addWidget(self.go_to_most, 1)
        row.addWidget(self.save, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for part in (self.table, self.legend):
            layout.addWidget(part)
        layout.addLayout(row)
        layout.addWidget(self.state)

    def show_case(self, case: Case) -> None:
        """Fill in a result and what has become of it."""
        self.table.show_measurements(case.shown.result.measurements)
        self.go_to_most.setEnabled(case.shown.most_lesion["Both"] is not None)
        self.save.setEnabled(not case.stale)
        self.state.setText(state_text(case))


def state_text(case: Case) -> str:
    """Which model, on what, corrected or not, saved or not."""
    provenance = case.shown.result.provenance
    model, device = provenance["model"], provenance["device"]
    parts = [f"Model {model['name']} {model['version']} on {device['title']}"]
    parts.append("corrected by hand" if case.edited else "not corrected")
    parts.append(f"saved as {case.saved.name}" if case.saved is not None else "not saved")
    return " · ".join(parts)
