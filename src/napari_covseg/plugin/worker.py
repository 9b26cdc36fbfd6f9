"""Workflows in a thread: progress, cancel and errors, with napari's traps closed once, here.

In napari's generator workers a `RuntimeError` (torch's out-of-memory is one) tells nobody, and
after ``quit()`` the generator's ``finally`` may not run. So the generator that the thread runs
never raises: it returns what came of the work, and closes the workflow whatever happens. Nothing
that runs in the thread touches a widget or a layer.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any

from napari_covseg.domain.errors import Cancelled, CovsegError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.plugin.napari_versions import forget_worker


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a workflow: its result, or the error that ended it."""

    result: Any = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Called in the GUI's thread; exactly one of the last three ends a job."""

    progress: Callable[[Progress], None]
    result: Callable[[Any], None]
    error: Callable[[Exception], None]
    cancelled: Callable[[], None]


_NOBODY = Callbacks(lambda _: None, lambda _: None, lambda _: None, lambda: None)


def guarded(
    make_steps: Callable[[], Steps[Any]], stop: threading.Event
) -> Generator[Progress, None, Outcome]:
    """Run a workflow to an `Outcome`; it never raises, except when it is itself closed.

    A `RuntimeError` becomes a `CovsegError`; once ``stop`` is set the workflow is closed before
    its next step and the outcome is `Cancelled`.
    """
    steps: Steps[Any] | None = None
    try:
        steps = make_steps()
        while True:
            if stop.is_set():
                raise Cancelled("cancelled")
            yield next(steps)
    except StopIteration as end:
        return Outcome(result=end.value)
    except RuntimeError as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Outcome(error=_explained(CovsegError(f"the work stopped: {reason}"), error))
    except Exception as error:
        return Outcome(error=error)
    finally:
        if steps is not None:
            steps.close()


class Runner:
    """Runs one job at a time; what an abandoned or outdated job still says is dropped."""

    def __init__(self) -> None:
        self._generation = 0
        self._stop = threading.Event()
        self._running = False

    @property
    def busy(self) -> bool:
        """Whether a job runs, also one that was cancelled and has not stopped yet."""
        return self._running

    def start(self, make_steps: Callable[[], Steps[Any]], callbacks: Callbacks) -> None:
        """Run ``make_steps()`` in a thread; an unfinished job before it is abandoned."""
        from napari import current_viewer
        from napari.qt.threading import create_worker

        self.abandon()
        self._stop = stop = threading.Event()
        self._generation += 1
        self._running = True
        job = _Job(self, self._generation, stop, callbacks)
        worker = create_worker(guarded, make_steps, stop, _start_thread=False)
        # Partials: PySide borrows the object of a bound method, and a signal that is still queued
        # when the object is gone crashes; a partial it keeps.
        worker.yielded.connect(partial(_Job.on_progress, job))
        worker.returned.connect(partial(_Job.on_outcome, job))
        worker.finished.connect(partial(_Job.on_finished, job))
        viewer = current_viewer()
        if viewer is not None:
            forget = partial(forget_worker, weakref.ref(viewer), weakref.ref(worker))
            worker.finished.connect(forget)
        worker.start()

    def cancel(self) -> None:
        """Ask the job to stop before its next step; ``cancelled`` is called when it has."""
        self._stop.set()

    def abandon(self) -> None:
        """Stop the job and forget it: none of its callbacks is called any more."""
        self._stop.set()
        self._generation += 1
        self._running = False

    def is_current(self, generation: int) -> bool:
        """Whether no later job was started and this one was not abandoned."""
        return generation == self._generation

    def settle(self) -> None:
        """The current job has ended."""
        self._running = False


class _Job:
    """The callbacks of one generation."""

    def __init__(
        self, runner: Runner, generation: int, stop: threading.Event, callbacks: Callbacks
    ) -> None:
        self._runner, self._generation, self._stop = runner, generation, stop
        self._callbacks = callbacks
        self._ended = False

    def on_progress(self, step: Progress) -> None:
        if self._current() and not self._stop.is_set():
            self._callbacks.progress(step)

    def on_outcome(self, outcome: Outcome) -> None:
        if self._ended:
            return
        # PySide keeps what was connected long after the worker is gone, so it must keep no CT.
        callbacks, self._callbacks, self._ended = self._callbacks, _NOBODY, True
        if not self._current():
            return
        self._runner.settle()
        if self._stop.is_set() or isinstance(outcome.error, Cancelled):
            callbacks.cancelled()
        elif outcome.error is not None:
            callbacks.error(outcome.error)
        else:
            callbacks.result(outcome.result)

    def on_finished(self) -> None:
        """A worker that napari itself stopped has returned nothing."""
        self.on_outcome(Outcome(error=Cancelled("cancelled")))

    def _current(self) -> bool:
        return self._runner.is_current(self._generation)


def _explained(error: CovsegError, cause: Exception) -> CovsegError:
    error.__cause__ = cause
    return error
