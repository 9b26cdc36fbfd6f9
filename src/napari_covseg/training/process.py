"""Work in a process of its own: JSON lines over pipes for progress, cancel, result and errors.

The parent writes the request as the first line of the child's standard input, and later perhaps
``cancel``; the child writes one JSON object a line. When the parent is gone its end of the pipe
closes, and the child stops as if it was cancelled. What libraries print goes to a file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, Generic, TextIO, TypeVar

from napari_covseg.domain import errors
from napari_covseg.domain.errors import Cancelled, CovsegError, ResourceError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.training.outcome import TrainingProgress
from napari_covseg.training.state import make_folder
from napari_covseg.training.validation import Validation

T = TypeVar("T")
CANCEL = "cancel"
_OUT_OF_MEMORY_KILL = 9


class Handle(Generic[T]):
    """A child process at work.

    Parameters
    ----------
    module
        What the child runs (``python -m module``); it calls `serve`.
    request
        Plain values, handed to the child.
    read_result
        Makes the result out of the plain values that the child ends with.
    log
        File that gets what the child and its libraries print.

    Raises
    ------
    ResourceError
        If the log's folder cannot be made, or the log not be written.
    """

    def __init__(
        self,
        module: str,
        request: Mapping[str, Any],
        read_result: Callable[[Mapping[str, Any]], T],
        log: Path,
    ) -> None:
        make_folder(log.parent)
        self._read_result, self._log = read_result, log
        with _opened(log) as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                encoding="utf-8",
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        self._end: Mapping[str, Any] | None = None
        self._write(json.dumps(request))

    def progress(self) -> Iterator[Progress]:
        """Each step as it comes, until the work has ended in whatever way."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = _parsed(line)
            if "progress" in said:
                yield _progress_from(said["progress"])
            elif said:
                self._end = said
        self._process.wait()

    def result(self) -> T:
        """Wait for the end and give the result.

        Raises
        ------
        Cancelled
            If `cancel` was called in time.
        CovsegError
            What ended the work, of the kind it had in the child; or that the child has crashed.
        """
        for _ in self.progress():
            pass
        if self._end is None:
            raise CovsegError(self._crash())
        if "error" in self._end:
            kind = getattr(errors, self._end["error"]["kind"], CovsegError)
            raise kind(self._end["error"]["message"])
        return self._read_result(self._end["result"])

    def steps(self) -> Steps[T]:
        """The same as a workflow: yields progress, returns the result; closing it cancels."""
        try:
            yield from self.progress()
        except GeneratorExit:
            self.cancel()
            # A full pipe would hold the child up before it could see that it is to stop.
            for _ in self.progress():
                pass
            raise
        return self.result()

    def cancel(self) -> None:
        """Ask the child to stop before its next step; `result` then raises `Cancelled`."""
        self._write(CANCEL)

    def kill(self) -> None:
        """End the child at once; a training can be resumed from its last saved state."""
        self._process.kill()

    @property
    def running(self) -> bool:
        """Whether the child has not ended yet."""
        return self._process.poll() is None

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError, OSError):
            return  # It has ended; how, the result tells.

    def _crash(self) -> str:
        code = self._process.wait()
        if code == -_OUT_OF_MEMORY_KILL:
            why = "was killed, often because memory ran out: lower batch or patch"
        elif code < 0:
            why = f"was ended by signal {-code}"
        else:
            why = f"ended with code {code}"
        return f"the process {why}; see {self._log.name}, and resume from the last saved state"


def serve(
    make_steps: Callable[[Mapping[str, Any]], Steps[T]], to_dict: Callable[[T], Mapping[str, Any]]
) -> int:
    """The child's part: read the request, do the work, tell; returns the exit code."""
    out = _private_output()
    request = json.loads(sys.stdin.readline())
    stop = threading.Event()
    threading.Thread(target=_listen, args=(stop,), daemon=True).start()
    try:
        steps = make_steps(request)
        try:
            while not stop.is_set():
                _tell(out, {"progress": _progress_to(next(steps))})
            raise Cancelled("cancelled")
        except StopIteration as end:
            _tell(out, {"result": to_dict(end.value)})
            return 0
        finally:
            steps.close()
    except CovsegError as error:
        _tell(out, {"error": {"kind": type(error).__name__, "message": str(error)}})
        return error.exit_code
    except MemoryError:
        message = "not enough memory: close other programs or lower batch or patch"
        _tell(out, {"error": {"kind": "ResourceError", "message": message}})
        return errors.ResourceError.exit_code


def _opened(log: Path) -> BinaryIO:
    try:
        return log.open("wb")
    except OSError as error:
        raise ResourceError(
            f"{log.name}: cannot be written ({error.strerror}); choose a folder that may be "
            "written to"
        ) from error


def _private_output() -> TextIO:
    """Standard output for us alone; what others print goes to standard error."""
    mine = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return os.fdopen(mine, "w", encoding="utf-8", buffering=1)


def _listen(stop: threading.Event) -> None:
    """Wait for ``cancel``, or for the parent to go."""
    for line in sys.stdin:
        if line.strip() == CANCEL:
            break
    stop.set()


def _tell(out: TextIO, content: Mapping[str, Any]) -> None:
    try:
        out.write(json.dumps(content) + "\n")
        out.flush()
    except BrokenPipeError:
        return  # The parent has gone: `_listen` notices too.


def _parsed(line: str) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _progress_to(step: Progress) -> dict[str, Any]:
    content = asdict(step)
    if isinstance(step, TrainingProgress):
        content["validation"] = step.validation.to_dict() if step.validation else None
    return content


def _progress_from(content: dict[str, Any]) -> Progress:
    if "epoch" not in content:
        return Progress(**content)
    measured = content.pop("validation")
    validation = None if measured is None else Validation.from_dict(measured)
    return TrainingProgress(**content, validation=validation)
