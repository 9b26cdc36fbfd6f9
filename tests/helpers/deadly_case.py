"""Work on a cluster in which one case ends the process that works on it, each time."""

import os
import signal
import time

from napari_covseg.workflows import segment_worker

CHANCES = 1


def _die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def slow_or_deadly(request, run, threads):
    """The real work, slowed; a case called ``deadly`` kills its process, and has one chance."""
    time.sleep(0.3)
    real = segment_worker.segment_case, segment_worker.CHANCES
    if request.case == "deadly":
        segment_worker.CHANCES = CHANCES
        segment_worker.segment_case = _die
    try:
        return segment_worker.run_case(request, run, threads)
    finally:
        segment_worker.segment_case, segment_worker.CHANCES = real
