"""How ``covseg segment`` runs over its inputs: in threads here, or on a cluster."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.jobs import Job, iter_jobs
from napari_covseg.cli.output import ProgressBars, complain, one_line, progress_bars
from napari_covseg.domain.errors import Cancelled
from napari_covseg.domain.progress import Progress, run_to_end

if TYPE_CHECKING:
    from napari_covseg.workflows.segment_many import CaseDone, CaseRequest
    from napari_covseg.workflows.segment_names import Naming
    from napari_covseg.workflows.segment_worker import Reply


@dataclass(frozen=True)
class Outcome:
    """What came of an input, and the name it has or would have had. Holds no volume."""

    job: Job
    done: CaseDone | None = None
    error: BaseException | None = None
    case: str | None = None


@dataclass(frozen=True)
class Plan:
    """All that is the same for every input.

    ``request`` makes one of a job; ``tell`` shows an outcome when it is there.
    """

    inputs: list[str]
    request: CaseRequest
    jobs: int
    device_kind: str
    tell: Callable[[Outcome], None]

    def request_for(self, job: Job) -> CaseRequest:
        """The request of one input."""
        return replace(self.request, path=job.path, case=job.case)

    def iter_jobs(self) -> Iterator[Job]:
        """All inputs, each with its own name if that is known; two may have the same."""
        return iter_jobs(self.inputs, lambda own: own, self.request.output)


def run_here(plan: Plan) -> list[Outcome]:
    """In threads: as many networks at once as jobs, and beside them CTs read ahead and written."""
    from napari_covseg.workflows.segment_many import READ_AHEAD, in_threads, shared_cores
    from napari_covseg.workflows.segment_names import NamesInOrder

    names, stop = NamesInOrder(), threading.Event()
    jobs = enumerate(plan.iter_jobs())
    first = list(islice(jobs, plan.jobs + 1))
    hands = min(len(first), plan.jobs)
    if len(first) > plan.jobs:
        hands = plan.jobs + READ_AHEAD[plan.device_kind]
    turn = threading.Semaphore(plan.jobs)
    with progress_bars() as bars, shared_cores(plan.jobs, plan.device_kind):

        def work(numbered: tuple[int, Job]) -> Outcome:
            number, job = numbered
            try:
                if job.error is not None:
                    raise job.error
                request = replace(plan.request_for(job), number=number)
                outcome = Outcome(job, run_one(request, names.of(number), turn, bars, stop))
            except Exception as problem:
                outcome = Outcome(job, error=problem)
                if stop.is_set():
                    return outcome
            finally:
                names.wish(number, None)
            bars.aside(partial(plan.tell, outcome))
            return outcome

        if hands == 1:
            outcomes = [work(job) for job in chain(first, jobs)]
        else:
            outcomes = in_threads(chain(first, jobs), work, hands, stop)
        return [replace(one, case=names.name(number)) for number, one in enumerate(outcomes)]


def run_one(
    request: CaseRequest,
    naming: Naming,
    turn: threading.Semaphore,
    bars: ProgressBars,
    stop: threading.Event,
) -> CaseDone:
    """One input, in this thread."""
    from napari_covseg.workflows.segment_many import segment_case

    if stop.is_set():
        raise Cancelled("cancelled")
    report = bars(request.path.name)
    steps = segment_case(request, naming, turn)

    def step(progress: Progress) -> None:
        if stop.is_set():
            raise Cancelled("cancelled")
        report(progress)

    try:
        return run_to_end(steps, step)
    finally:
        steps.close()
        report(Progress(1, 1, "done"))


def run_on_cluster(plan: Plan, address: str) -> list[Outcome]:
    """On the workers of a Dask cluster; outcomes in the order of the inputs.

    Raises
    ------
    UsageError
        If there is no such cluster, or no worker that can take part.
    """
    import torch

    from napari_covseg.workflows.segment import make_folder
    from napari_covseg.workflows.segment_cluster import (
        LOCAL,
        Segmenting,
        check_workers,
        connected,
    )
    from napari_covseg.workflows.segment_run_folder import RunFolder

    make_folder(plan.request.output)
    threads = max(1, torch.get_num_threads() // plan.jobs) if address == LOCAL else None
    outcomes: dict[Job, Outcome] = {}
    order: list[Job] = []

    def items() -> Iterator[tuple[Job, CaseRequest]]:
        for job in plan.iter_jobs():
            order.append(job)
            if job.error is None:
                request = plan.request_for(replace(job, path=job.path.absolute()))
                yield job, request
            else:
                told(job, None)

    def told(job: Job, reply: Reply | None) -> None:
        done = reply.done if reply else None
        outcomes[job] = Outcome(job, done, reply.error if reply else job.error)
        plan.tell(outcomes[job])

    with connected(address, plan.jobs) as client:
        run = RunFolder.make(plan.request.output)
        try:
            refused = check_workers(client, plan.request, run)
            for why in refused.values():
                complain(f"covseg: {why}")
            segmenting: Segmenting[Job] = Segmenting(
                client, run, refused, lambda why: complain(f"covseg: {why}"), threads
            )
            segmenting(items(), told)
            sent = [job for job in order if job.error is None]
            names = {job: run.name(number) for number, job in enumerate(sent)}
        finally:
            run.end()
    return [replace(outcomes[job], case=names.get(job)) for job in order]


def failures(outcomes: list[Outcome]) -> str:
    """A table of what failed: the input and why."""
    rows = [(o.job.path.name, _reason(o)) for o in outcomes if o.error is not None]
    width = min(60, max(len(name) for name, _ in rows))
    return "\n".join(f"  {name.ljust(width)}  {reason}" for name, reason in rows)


def _reason(outcome: Outcome) -> str:
    assert outcome.error is not None
    return one_line(outcome.error).removeprefix(f"{outcome.job.path.name}: ")


def table_rows(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """Rows of ``--table``, in the order of the inputs."""
    from napari_covseg.cli.output import exit_code
    from napari_covseg.workflows.segment_table import done_row, failed_row

    return [
        done_row(one.done.report, one.done.before)
        if one.done
        else failed_row(one.case, exit_code(one.error or Cancelled("")))
        for one in outcomes
    ]
