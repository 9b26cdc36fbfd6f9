"""Folds beside one another, one process on each device."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from napari_covseg.domain.errors import CovsegError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.training.process import Handle
from napari_covseg.workflows.crossval_fold import FoldScores, start_fold
from napari_covseg.workflows.crossval_request import FoldRequest

UNITS = 1000
"""Steps of progress that a fold stands for."""
_Told = tuple[int, Progress | None]


def run_spread(
    requests: Sequence[FoldRequest],
    devices: Sequence[str],
    folds: int,
    title: str,
    finished: Callable[[int, FoldScores], None],
) -> Steps[tuple[dict[int, FoldScores], dict[int, CovsegError]]]:
    """Scores or the error of each fold, by its number.

    A device takes the next fold when it is free; one that is named twice has two at a time.
    ``title`` and ``finished`` are as of `fold_runs.run_folds`. Closing the generator cancels the
    processes and waits for them: each saves its state.
    """
    waiting, free = deque(requests), deque(devices)
    told: queue.SimpleQueue[_Told] = queue.SimpleQueue()
    running: dict[int, _Running] = {}
    shares = {one.number: 0.0 for one in requests}
    scores: dict[int, FoldScores] = {}
    errors: dict[int, CovsegError] = {}
    finished_before = folds - len(requests)
    try:
        while waiting or running:
            while waiting and free:
                request, device = waiting.popleft(), free.popleft()
                try:
                    running[request.number] = _Running(request, device, told)
                except CovsegError as error:
                    errors[request.number] = error
                    free.append(device)
            if not running:
                break
            number, step = told.get()
            if step is None:
                one = running.pop(number)
                free.append(one.device)
                shares[number] = 1.0
                try:
                    scores[number] = one.handle.result()
                    finished(number, scores[number])
                except CovsegError as error:
                    errors[number] = error
                continue
            shares[number] = min(1.0, step.done / max(1, step.total))
            done = round(UNITS * (finished_before + sum(shares.values())))
            yield Progress(done, UNITS * folds, f"{title} {number} of {folds}: {step.message}")
    finally:
        for one in running.values():
            one.handle.cancel()
        for one in running.values():
            one.thread.join()
    return scores, errors


class _Running:
    """A fold's process, and a thread that hands on what it tells."""

    def __init__(self, request: FoldRequest, device: str, told: queue.SimpleQueue[_Told]) -> None:
        self.device = device
        on_device = replace(request, training=replace(request.training, device=device))
        self.handle: Handle[FoldScores] = start_fold(on_device)
        number = request.number

        def listen() -> None:
            try:
                for step in self.handle.progress():
                    told.put((number, step))
            finally:
                told.put((number, None))

        self.thread = threading.Thread(target=listen, daemon=True)
        self.thread.start()
