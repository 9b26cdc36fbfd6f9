"""What a worker of a cluster runs: one case, and nothing that the cluster's logs could repeat."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from napari_covseg import __version__
from napari_covseg.domain.errors import Cancelled, CovsegError, ModelError, ResourceError
from napari_covseg.domain.progress import Progress, run_to_end
from napari_covseg.workflows.segment_many import (
    CaseDone,
    CaseRequest,
    loaded_model_key,
    segment_case,
)
from napari_covseg.workflows.segment_names import Wish
from napari_covseg.workflows.segment_run_folder import RunFolder

CHANCES = 3
"""How often work on a case may end with its worker before it is given up."""
PATIENCE_S = 40.0
"""How long a segmented case waits for the names of cases before it. One of those may have lost its
worker and be queued behind this very case, so it gives way in the end.
"""


@dataclass(frozen=True)
class Facts:
    """What a worker is asked before it gets work; ``model`` is the key, or why there is none."""

    version: str
    model: str
    model_error: str
    sees_run: bool

    def refused(self, worker: str, version: str, model: str) -> str | None:
        """Why it gets none, in a line that names it."""
        if self.version != version:
            return (
                f"worker {worker}: has napari-covseg {self.version}, this run needs {version}; "
                "install the same version"
            )
        if not self.sees_run:
            return (
                f"worker {worker}: does not see the folder for the results; inputs, results and "
                "models must lie on a share that is at the same place on every machine"
            )
        if self.model_error:
            return f"worker {worker}: {self.model_error}"
        if self.model != model:
            return (
                f"worker {worker}: has another model of that name (its hash differs); give every "
                "machine the same"
            )
        return None


@dataclass(frozen=True)
class Reply:
    """What came of a case; ``refused``: this worker's address and why it must not get any; with
    ``early`` it is to be sent again when the cases before it have ended.
    """

    done: CaseDone | None = None
    error: CovsegError | None = None
    refused: tuple[str, str] | None = None
    early: bool = False


class _TooEarly(Exception):
    """A case before this one has not told its name for long."""


@dataclass
class _Name:
    """The name of a case, as the run's folder tells it."""

    run: RunFolder
    number: int
    since: float | None = None

    def wish(self, wish: Wish) -> None:
        self.run.wish(self.number, wish)

    def name(self) -> str | None:
        found = self.run.name(self.number)
        self.since = self.since or time.monotonic()
        if found is None and time.monotonic() - self.since > PATIENCE_S:
            raise _TooEarly
        return found


def facts(model: str, run: Path) -> Facts:
    """What `Facts` holds of this process."""
    try:
        return Facts(__version__, loaded_model_key(model), "", RunFolder(run).goes_on)
    except ModelError as error:
        return Facts(__version__, "", str(error), RunFolder(run).goes_on)


def run_case(request: CaseRequest, run: RunFolder, threads: int | None) -> Reply:
    """Segment one case. Nothing is raised: Dask would log the error with the paths it was given."""
    if not run.goes_on:
        return Reply(error=Cancelled("cancelled"))
    found = facts(request.settings.model, run.path)
    why = found.refused(_address(), request.version, request.model)
    if why is not None:
        return Reply(refused=(_address(), why))
    if run.begin(request.key) >= CHANCES:
        run.ended(request.key)
        return Reply(
            error=ResourceError(
                f"{request.path.name}: ended its worker {CHANCES} times, often for lack of "
                "memory; not tried again in this run"
            )
        )
    try:
        return Reply(done=_segmented(request, run, threads))
    except _TooEarly:
        return Reply(early=True)
    except CovsegError as error:
        return Reply(error=type(error)(str(error)))
    except (MemoryError, OSError) as error:
        return Reply(error=_known(error, request))
    except Exception as error:
        # Its text may quote what was read, patient data included.
        return Reply(
            error=CovsegError(
                f"{request.path.name}: unexpected {type(error).__name__}; this is a fault of "
                "covseg, please report it"
            )
        )
    finally:
        run.ended(request.key)


def _segmented(request: CaseRequest, run: RunFolder, threads: int | None) -> CaseDone:
    if threads:
        import torch

        torch.set_num_threads(threads)

    def step(_: Progress) -> None:
        if not run.goes_on:
            raise Cancelled("cancelled")

    steps = segment_case(request, _Name(run, request.number))
    try:
        return run_to_end(steps, step)
    finally:
        steps.close()


def _known(error: MemoryError | OSError, request: CaseRequest) -> ResourceError:
    reason = getattr(error, "strerror", None) or "not enough memory"
    return ResourceError(f"{request.path.name}: {reason}")


def _address() -> str:
    from distributed import get_worker

    try:
        return str(get_worker().address)
    except ValueError:
        return f"process {os.getpid()}"
