"""Segment many CTs on a Dask cluster: each once, none lost, whatever happens to its workers.

Inputs, results and a model's folder must lie on a share that every worker sees at the same place.
A worker with another version of the program, or another model of that name, is not given work. A
worker that dies loses nothing: its case is begun again elsewhere, unless it has ended workers
`CHANCES` times.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from multiprocessing import resource_tracker
from typing import Any, Generic, TypeVar

from napari_covseg import __version__
from napari_covseg.domain.errors import ResourceError, UsageError
from napari_covseg.workflows.segment_many import CaseRequest, early_wish
from napari_covseg.workflows.segment_run_folder import RunFolder
from napari_covseg.workflows.segment_worker import Facts, Reply, facts, run_case

LOCAL = "local"
AHEAD = 2
"""Cases given to the cluster for each thread of a worker."""
WITHOUT_WORKERS_S = 300.0
START_S = 120
STOP_S = 20.0
"""How long cases under way get to stop, when a run is cancelled."""
_WAKE_S = 1.0
_RESENT = 10
T = TypeVar("T")


@dataclass
class _Sent(Generic[T]):
    """A case under way, and how often it was sent before."""

    item: T
    request: CaseRequest
    allowed: tuple[str, ...] | None = None
    sent: int = 0

    @property
    def number(self) -> int:
        """Its place in the order."""
        return self.request.number


@contextmanager
def connected(address: str, jobs: int) -> Iterator[Any]:
    """A client of the cluster at ``address``, or of one of ``jobs`` processes on this machine.

    Raises
    ------
    UsageError
        If Dask is not installed, or nobody answers there.
    """
    try:
        import distributed
    except ImportError as error:
        raise UsageError("--scheduler needs Dask: pip install 'napari-covseg[cluster]'") from error
    if address != LOCAL:
        try:
            client = distributed.Client(address, timeout=10)
        except (OSError, TimeoutError, ValueError) as error:
            raise UsageError(
                f"--scheduler {address}: no Dask scheduler answers there; expected an address "
                "such as tcp://host:8786"
            ) from error
        with client:
            yield client
        return
    with _local(jobs) as cluster, distributed.Client(cluster, timeout=START_S) as client:
        yield client


@contextmanager
def _local(jobs: int) -> Iterator[Any]:
    """A cluster of processes here, which nobody else reaches; a busy machine gets time to start."""
    import dask
    import distributed

    patience = {f"distributed.comm.timeouts.{one}": f"{START_S}s" for one in ("connect", "tcp")}
    with dask.config.set(patience):
        try:
            with _ctrl_c_held():
                cluster = distributed.LocalCluster(
                    n_workers=jobs,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address="127.0.0.1:0",
                    silence_logs=50,
                )
        except (OSError, TimeoutError, RuntimeError) as error:
            raise ResourceError(
                "--scheduler local: its processes did not start in time; close other programs, or "
                "leave it out"
            ) from error
        with cluster:
            yield cluster


@contextmanager
def _ctrl_c_held() -> Iterator[None]:
    """Hold Ctrl-C back, for good in the threads and processes that begin meanwhile.

    A terminal sends it to every process, but only this one is to heed it: it ends the run, and then
    workers stop at their next step, instead of dying in the middle with a traceback each.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # To start this later would let Ctrl-C through again in the thread that does.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def check_workers(client: Any, request: CaseRequest, run: RunFolder) -> dict[str, str]:
    """Why workers cannot take part, by their address; empty if all can."""
    found = client.run(facts, request.settings.model, run.path, on_error="return")
    told = {worker: _refused(worker, one, request) for worker, one in found.items()}
    return {worker: why for worker, why in told.items() if why}


def _gone() -> ResourceError:
    return ResourceError("the Dask scheduler is gone: the same command goes on")


def _refused(worker: str, found: Facts | BaseException, request: CaseRequest) -> str | None:
    if isinstance(found, BaseException):
        return f"worker {worker}: napari-covseg {__version__} cannot be used there; install it"
    return found.refused(worker, __version__, request.model)


class Segmenting(Generic[T]):
    """A run on a cluster.

    Parameters
    ----------
    client
        Of the cluster (`connected`).
    run
        What its machines share.
    refused
        Workers that get no work, by address.
    complain
        Gets a line about each worker that is refused later.
    threads
        Of torch in each worker; None leaves them as the worker was started.
    """

    def __init__(
        self,
        client: Any,
        run: RunFolder,
        refused: Mapping[str, str],
        complain: Callable[[str], None],
        threads: int | None = None,
    ) -> None:
        self._client, self._run, self._threads = client, run, threads
        self._refused, self._complain = dict(refused), complain
        self._pending: dict[Any, _Sent[T]] = {}
        self._early: list[_Sent[T]] = []
        self._numbers = count()
        self._seen_workers = time.monotonic()

    def __call__(
        self, items: Iterator[tuple[T, CaseRequest]], told: Callable[[T, Reply], None]
    ) -> None:
        """Send every case, few at a time; ``told`` gets each one's reply, once.

        Raises
        ------
        UsageError
            If every worker is refused.
        ResourceError
            If the scheduler or all workers are gone for long.
        """
        try:
            more = True
            while more or self._pending or self._early:
                while more and len(self._pending) < self._room():
                    found = next(items, None)
                    more = found is not None
                    if found is not None:
                        self._begin(*found)
                for future in self._ended():
                    self._take(future, told)
                self._send_early()
                self._look_after()
        except BaseException:
            self._run.end()
            with suppress(OSError):
                self._wait(STOP_S, "ALL_COMPLETED")
            raise

    def _room(self) -> int:
        return AHEAD * max(1, sum(self._workers().values()))

    def _workers(self) -> dict[str, int]:
        """Threads of each worker that may get work; `UsageError` if none of those there may."""
        if self._client.status != "running":
            raise _gone()
        try:
            found = self._client.nthreads()
        except OSError as error:
            raise _gone() from error
        good = {name: threads for name, threads in found.items() if name not in self._refused}
        if found and not good:
            raise UsageError(f"no worker can take part: {self._refused[next(iter(found))]}")
        return good

    def _begin(self, item: T, request: CaseRequest) -> None:
        request = replace(request, number=next(self._numbers))
        wish = early_wish(request)
        if wish is not None:
            self._run.wish(request.number, wish)
        self._send(_Sent(item, request))

    def _send(self, one: _Sent[T]) -> None:
        one.allowed = tuple(self._workers()) if self._refused else None
        one.sent += 1
        future = self._client.submit(
            run_case,
            one.request,
            self._run,
            self._threads,
            key=f"covseg-{self._run.path.name}-{one.number}-{one.sent}",
            workers=list(one.allowed) if one.allowed else None,
            allow_other_workers=False,
            priority=-one.number,
            pure=False,
        )
        self._pending[future] = one

    def _ended(self) -> list[Any]:
        self._wait(_WAKE_S, "FIRST_COMPLETED")
        return [future for future in self._pending if future.status != "pending"]

    def _wait(self, seconds: float, until: str) -> None:
        from distributed import wait

        if self._pending:
            # What was cancelled, or lost with the scheduler, its status tells.
            with suppress(TimeoutError, CancelledError):
                wait(list(self._pending), seconds, until)

    def _take(self, future: Any, told: Callable[[T, Reply], None]) -> None:
        one = self._pending.pop(future)
        if future.status == "finished":
            reply: Reply = future.result()
            future.release()
            if reply.early:
                self._early.append(one)
                return
            if reply.refused is None:
                self._tell(one, reply, told)
                return
            self._refuse(*reply.refused)
        if one.sent >= _RESENT:
            error = ResourceError(
                f"{one.request.path.name}: the cluster gave it up {one.sent} times; "
                "the same command tries again"
            )
            self._tell(one, Reply(error=error), told)
            return
        # Its workers died, or Dask gave it up for those of others: who is to blame, notes tell.
        self._send(one)

    def _tell(self, one: _Sent[T], reply: Reply, told: Callable[[T, Reply], None]) -> None:
        # It may have ended before it told what it is called.
        self._run.wish(one.number, None)
        told(one.item, reply)

    def _send_early(self) -> None:
        """Send again what came too early and is the first of all, now."""
        first = min((one.number for one in (*self._pending.values(), *self._early)), default=0)
        for one in [one for one in self._early if one.number == first]:
            self._early.remove(one)
            one.sent -= 1
            self._send(one)

    def _refuse(self, worker: str, why: str) -> None:
        if worker not in self._refused:
            self._refused[worker] = why
            self._complain(why)

    def _look_after(self) -> None:
        """Send again what may only run on workers that are gone; give up without any."""
        workers = self._workers()
        if workers:
            self._seen_workers = time.monotonic()
        elif time.monotonic() - self._seen_workers > WITHOUT_WORKERS_S:
            raise ResourceError("the cluster has no workers left: the same command goes on")
        for future, one in list(self._pending.items()):
            if one.allowed and workers and not workers.keys() & set(one.allowed):
                del self._pending[future]
                self._client.cancel([future], force=True)
                one.sent -= 1
                self._send(one)
