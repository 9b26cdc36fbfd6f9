"""Retrain: the model trained further on accepted cases, live only if it is measurably better."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_covseg.domain.errors import CovsegError
from napari_covseg.domain.progress import Progress
from napari_covseg.plugin import preferences
from napari_covseg.plugin.curves import is_training
from napari_covseg.plugin.desk import desk_of
from napari_covseg.plugin.retrain_texts import (
    certainty_text,
    forecast,
    learn,
    roles_text,
    run_text,
    why_not,
)
from napari_covseg.plugin.retraining import Overview, Retraining, give_up_steps, overview_steps
from napari_covseg.plugin.telling import show_error, show_warning
from napari_covseg.plugin.widgets.asking import agreed
from napari_covseg.plugin.widgets.author import author_or_ask
from napari_covseg.plugin.widgets.pieces import docked
from napari_covseg.plugin.widgets.retrain_model_acts import ModelActs
from napari_covseg.plugin.widgets.retrain_view import RetrainView
from napari_covseg.plugin.worker import Callbacks, Runner

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_covseg.models.device import Device
    from napari_covseg.workflows.retrain_request import RetrainRequest, RetrainResult


class RetrainWidget(QWidget):
    """The dock widget: ties `RetrainView` to the desk's store and to the process that trains."""

    def __init__(self, napari_viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.desk = desk_of(napari_viewer)
        self.view = RetrainView()
        self.overview: Overview | None = None
        self.retraining: Retraining | None = None
        self._runner, self._reader, self._cleaner = Runner(), Runner(), Runner()
        self._device: Device | None = None
        self._requested = ""
        self._retired = self._giving_up = self._pausing = False
        self._begun, self._expected = 0.0, 0.0
        self.acts = ModelActs(
            self, self.view, lambda: self.desk.store, self._on_store_touched, self._tell
        )
        docked(self, self.view)
        self._connect()

    def _connect(self) -> None:
        view = self.view
        view.run.clicked.connect(self.start)
        view.running.pause.clicked.connect(self.pause)
        view.running.cancel.clicked.connect(self.cancel)
        view.unfinished.resume.clicked.connect(self.resume)
        view.unfinished.discard.clicked.connect(self.give_up)
        view.open_store.clicked.connect(self.open_store)
        view.options.changed.connect(self._on_options)
        view.device.found.connect(self._on_device)
        self.desk.store_changed.connect(self._on_store)
        self.desk.touched.connect(self.look)
        # napari deletes docks without closing their widgets.
        self.destroyed.connect(partial(RetrainWidget.retire, self))

    def showEvent(self, event: Any) -> None:
        """The store is read, and the device looked for, when the widget is seen."""
        super().showEvent(event)
        if not self._requested:
            self._look_for_device()
        self.look()

    def closeEvent(self, event: Any) -> None:
        """A training under way saves its state and ends; it can be resumed."""
        self.retire()
        super().closeEvent(event)

    def retire(self, *_: Any) -> None:
        """Stop everything; from now on nothing here may touch a Qt object."""
        self._retired = True
        if self.retraining is not None:
            self.retraining.stop()
        for runner in (self._runner, self._reader, self._cleaner):
            runner.abandon()
        self.acts.close()
        self.view.device.stop()

    def jobs_running(self) -> bool:
        """Whether anything is trained, read or written."""
        runners = (self._runner, self._reader, self._cleaner)
        return self.acts.busy or any(runner.busy for runner in runners)

    # The store

    def open_store(self, *_: Any) -> None:
        """Ask for the folder of a store, and use it."""
        start = preferences.load_text("folders/store", str(Path.home()))
        chosen = QFileDialog.getExistingDirectory(self, "Open a case store", start)
        if chosen:
            preferences.save_text("folders/store", chosen)
            self.desk.store = Path(chosen)

    def _on_store(self) -> None:
        if self._retired:
            return
        if self.retraining is not None:
            # It belongs to the other store, where it can be resumed.
            self.retraining.stop()
            self._runner.abandon()
            self.retraining = None
            self.view.show_running(False)
        self.acts.close()
        self.overview = None
        self.view.models.show_busy(False)
        self.view.curves.hide()
        self.view.show_undo(False)
        self.view.state.setText("")
        self.look()

    def look(self) -> None:
        """Read the store again, now or when the widget is seen next."""
        store = self.desk.store
        if self._retired:
            return
        if store is None:
            self._reader.abandon()
            self.view.show_nothing()
            return
        if not self.isVisible():
            return
        own = self.retraining is not None
        callbacks = Callbacks(lambda step: None, self._on_read, self._on_unreadable, lambda: None)
        self._reader.start(partial(overview_steps, store, own), callbacks)

    def _on_read(self, overview: Overview) -> None:
        if overview.store != self.desk.store:
            return
        asked = self.view.verdict.verdict if self.overview is not None else None
        self.overview = overview
        view, material = self.view, overview.material
        view.show_store()
        view.models.show_models(overview.models)
        view.log.show_lines(overview.log)
        view.material.setText(roles_text(material))
        view.certainty.setText(
            f"<small>How sure it will be: {escape(certainty_text(material))}.</small>"
        )
        view.material.setVisible(bool(material.cases))
        view.certainty.setVisible(not why_not(material))
        if asked is not None and asked.asked:
            view.verdict.show_verdict(asked.among(overview.models))
        else:
            view.verdict.show_verdict(overview.verdict)
        if self.retraining is None:
            view.unfinished.show_run(overview.unfinished)
            self._say_paused(overview)
        self._show_run()

    def _say_paused(self, overview: Overview) -> None:
        if self._pausing:
            kept = "Paused: the state is saved, the device is free."
            self.view.state.setText(kept if overview.unfinished else "Stopped before it began.")
        self._pausing = False

    def _on_unreadable(self, error: Exception) -> None:
        self.overview = None
        self.view.show_nothing()
        self._tell(error)

    def _on_store_touched(self, text: str) -> None:
        """Something was done to a model."""
        if text:
            self.view.state.setText(text)
        self.view.show_undo(False)
        self.desk.touched.emit()

    # The device and the options

    def _look_for_device(self) -> None:
        self._requested, self._device = self.view.options.device_asked(), None
        self.view.device.look(self._requested)
        self._show_run()

    def _on_device(self, device: Device | None) -> None:
        self._device = device
        if device is not None:
            self.view.options.offer_device(device.name)
        self._show_run()

    def _on_options(self) -> None:
        if self.view.options.device_asked() != self._requested:
            self._look_for_device()
        self._show_run()

    def _show_run(self) -> None:
        if self.overview is None:
            self.view.run.setText("Retrain")
            return
        material, unfinished = self.overview.material, self.overview.unfinished
        why = why_not(material)
        self.view.show_empty(why)
        self.view.run.setEnabled(not why and unfinished is None)
        minutes = self.view.options.minutes_asked()
        text = run_text(material, self._device, minutes) if not why else "Retrain"
        self.view.run.setText(text)

    # What the user does

    def start(self, *_: Any) -> None:
        """Retrain on all accepted cases."""
        self._begin(resume=False)

    def resume(self, *_: Any) -> None:
        """Go on with the one that was paused or interrupted."""
        self._begin(resume=True)

    def _begin(self, resume: bool) -> None:
        store = self.desk.store
        if store is None or self.overview is None or self.retraining is not None:
            return
        try:
            author = author_or_ask(self)
            if author is None:
                return
            request = self.view.options.request(store, author)
        except CovsegError as error:
            self._tell(error)
            return
        self._run(replace(request, resume=resume))

    def _run(self, request: RetrainRequest) -> None:
        self.retraining = retraining = Retraining(request)
        self._giving_up = False
        self._begun = time.monotonic()
        self._expected = 0.0 if request.resume else self._foreseen()
        if not request.resume:
            self.view.curves.restart()
        self.view.verdict.show_verdict(None)
        self.view.show_undo(False)
        self.view.state.setText("")
        self.view.show_running(True)
        self._runner.start(
            retraining.steps,
            Callbacks(self._on_progress, self._on_result, self._on_error, self._on_stopped),
        )

    def pause(self, *_: Any) -> None:
        """Save the state and end the process; `resume` goes on."""
        if self.retraining is not None:
            self.view.running.show_stopping("Pausing: the state is being saved…")
            self.retraining.stop()

    def cancel(self, *_: Any) -> None:
        """Give up the retraining under way, after asking."""
        if self.retraining is not None and agreed(
            self,
            "Give up this retraining? What it has trained is lost; the live model stays as it is. "
            "(Pause keeps it.)",
        ):
            self._giving_up = True
            self.view.running.show_stopping("Cancelling…")
            if self.retraining is not None:
                self.retraining.stop()

    def give_up(self, *_: Any) -> None:
        """Give up the one that was interrupted, after asking."""
        if agreed(self, "Remove what this retraining has trained? The live model stays as it is."):
            self._clear_up()

    def _clear_up(self) -> None:
        store = self.desk.store
        if store is not None:
            text = "Given up: the live model is as it was."
            done = partial(self._on_given_up, text)
            callbacks = Callbacks(lambda step: None, done, self._tell, lambda: None)
            self._cleaner.start(partial(give_up_steps, store), callbacks)

    def _on_given_up(self, text: str, _: None) -> None:
        self.view.curves.hide()
        self._on_store_touched(text)

    # What comes back

    def _on_progress(self, step: Progress) -> None:
        now = time.monotonic()
        left = self._expected - (now - self._begun)
        self.view.running.show_progress(step, now, left)
        if is_training(step):
            self.view.curves.take(step)

    def _on_result(self, result: RetrainResult) -> None:
        retraining = self._end()
        overview, device = self.overview, self._device
        if overview is not None and device is not None and not retraining.request.resume:
            learn(overview.material, device, self.view.options.minutes_asked(), result.seconds)
        if result.warnings:
            show_warning("\n".join(result.warnings))
        minutes = result.seconds / 60
        state = "live now" if result.promoted else "kept, not live"
        self._on_store_touched(
            f"{result.name} ({result.model[:8]}): {state}; {result.training_cases} cases, "
            f"{result.share:.0%} of the new weights, {minutes:.1f} min."
        )

    def _on_error(self, error: Exception) -> None:
        self._end()
        self.view.state.setText(f"{error}. The live model is as it was.")
        self._tell(error)
        self.look()

    def _on_stopped(self) -> None:
        self._end()
        if self._giving_up:
            self._clear_up()
            return
        self._pausing = True
        self.look()

    def _end(self) -> Retraining:
        retraining, self.retraining = self.retraining, None
        assert retraining is not None
        self.view.show_running(False)
        return retraining

    def _foreseen(self) -> float:
        if self.overview is None or self._device is None:
            return 0.0
        minutes = self.view.options.minutes_asked()
        return forecast(self.overview.material, self._device, minutes)

    def _tell(self, error: Exception) -> None:
        if isinstance(error, CovsegError):
            show_error(str(error))
        else:
            notification_manager.receive_error(type(error), error, error.__traceback__)
