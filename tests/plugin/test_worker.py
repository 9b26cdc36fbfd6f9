"""Workflows in a thread: results, errors, cancel, and what outdated jobs still say."""

import gc
import threading
import time
import weakref

import pytest

from napari_covseg.domain.errors import Cancelled, CovsegError, InputError
from napari_covseg.domain.progress import Progress
from napari_covseg.plugin.worker import Callbacks, Runner, guarded


def run(generator):
    seen = []
    while True:
        try:
            seen.append(next(generator))
        except StopIteration as end:
            return seen, end.value


class Recorder:
    def __init__(self):
        self.heard, self.threads = [], set()

    def callbacks(self, tag=""):
        def hear(kind):
            def heard(value=None):
                self.threads.add(threading.current_thread())
                self.heard.append((tag + kind, value))

            return heard

        return Callbacks(hear("progress"), hear("result"), hear("error"), hear("cancelled"))

    def kinds(self):
        return [kind for kind, _ in self.heard if not kind.endswith("progress")]


def counting(steps, closed=None, seconds=0.0, error=None):
    def make():
        try:
            for done in range(steps):
                time.sleep(seconds)
                yield Progress(done, steps, "counting")
            if error is not None:
                raise error
            return "done"
        finally:
            if closed is not None:
                closed.append(True)

    return make


def test_result_is_what_the_workflow_returned():
    seen, outcome = run(guarded(counting(3), threading.Event()))
    assert [step.done for step in seen] == [0, 1, 2]
    assert (outcome.result, outcome.error) == ("done", None)


def test_runtime_error_becomes_ours_with_its_first_line():
    error = RuntimeError("CUDA error: device-side assert\nlong C++ trace")
    _, outcome = run(guarded(counting(1, error=error), threading.Event()))
    assert type(outcome.error) is CovsegError
    assert str(outcome.error) == "the work stopped: CUDA error: device-side assert"
    assert outcome.error.__cause__ is error


def test_our_errors_and_others_pass_unchanged():
    for error in (InputError("a.nii: empty"), KeyError("x")):
        _, outcome = run(guarded(counting(1, error=error), threading.Event()))
        assert outcome.error is error


def test_stop_closes_the_workflow_before_its_next_step():
    stop, closed = threading.Event(), []
    generator = guarded(counting(3, closed), stop)
    next(generator)
    stop.set()
    _, outcome = run(generator)
    assert isinstance(outcome.error, Cancelled)
    assert closed == [True]


def test_closing_the_guard_closes_the_workflow():
    closed = []
    generator = guarded(counting(3, closed), threading.Event())
    next(generator)
    generator.close()
    assert closed == [True]


def test_callbacks_come_in_the_gui_thread_and_end_once(qtbot):
    runner, recorder = Runner(), Recorder()
    runner.start(counting(3), recorder.callbacks())
    qtbot.waitUntil(lambda: not runner.busy)
    qtbot.wait(50)
    assert recorder.kinds() == ["result"]
    assert recorder.threads == {threading.main_thread()}


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), InputError("no CT")])
def test_errors_reach_the_gui(qtbot, error):
    runner, recorder = Runner(), Recorder()
    runner.start(counting(1, error=error), recorder.callbacks())
    qtbot.waitUntil(lambda: not runner.busy)
    ((_, told),) = [heard for heard in recorder.heard if heard[0] == "error"]
    assert str(error) in str(told)
    assert isinstance(told, CovsegError)


def test_cancel_ends_soon_and_once(qtbot):
    runner, recorder, closed = Runner(), Recorder(), []
    runner.start(counting(1000, closed, seconds=0.02), recorder.callbacks())
    qtbot.waitUntil(lambda: len(recorder.heard) > 2)
    steps = len(recorder.heard)
    runner.cancel()
    qtbot.waitUntil(lambda: not runner.busy)
    assert len(recorder.heard) == steps + 1
    assert recorder.kinds() == ["cancelled"]
    assert closed == [True]


def test_an_outdated_job_is_not_heard(qtbot):
    runner, recorder = Runner(), Recorder()
    runner.start(counting(20, seconds=0.02), recorder.callbacks("old "))
    runner.start(counting(2), recorder.callbacks("new "))
    qtbot.waitUntil(lambda: not runner.busy)
    qtbot.wait(600)
    assert recorder.kinds() == ["new result"]


def test_napari_stopping_the_worker_counts_as_cancelled(qtbot):
    from napari.qt.threading import GeneratorWorker

    runner, recorder, closed = Runner(), Recorder(), []
    runner.start(counting(1000, closed, seconds=0.02), recorder.callbacks())
    qtbot.waitUntil(lambda: len(recorder.heard) > 2)
    for worker in list(GeneratorWorker._worker_set):
        worker.quit()
    qtbot.waitUntil(lambda: not runner.busy)
    assert recorder.kinds() == ["cancelled"]


def test_nothing_stays_of_a_job_that_has_ended(make_napari_viewer, qtbot):
    """napari itself keeps each worker in a list of tasks for as long as its window is open."""
    viewer, recorder, runner, workers = make_napari_viewer(), Recorder(), Runner(), []
    tasks = viewer.window._task_status_manager._tasks
    for number in range(3):
        runner.start(counting(1), recorder.callbacks())
        workers += [weakref.ref(one._cancel_callback.__self__) for one in tasks.values()]
        assert len(workers) == number + 1
        qtbot.waitUntil(lambda: not tasks, timeout=20_000)
    assert recorder.kinds() == ["result"] * 3
    qtbot.waitUntil(lambda: gc.collect() >= 0 and not any(one() for one in workers), timeout=20_000)
