"""Files are read in a child process with a clock and a meter beside it: no hang, no flood."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import mkdtemp

from napari_covseg.domain.errors import CovsegError

MOST_SECONDS = 10.0
"""Of the processor's time; the clock on the wall may show more where others work too."""
_MOST_WAIT = 300.0
MOST_BYTES = 2 * 2**30
_ADDRESS_SPACE = 16 * 2**30


@dataclass(frozen=True)
class Outcome:
    """``problem`` is empty where the file was read, or refused with one line (``said``)."""

    problem: str
    said: str = ""
    seconds: float = 0.0
    peak_bytes: int = 0


class Guarded:
    """A child process that reads files; it is started anew when it hangs or dies.

    ``fork`` starts in no time, with all that this process has loaded.
    """

    def __init__(self, method: str = "spawn") -> None:
        self._context = multiprocessing.get_context(method)
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None
        self._folder = Path(mkdtemp(prefix="covseg-fuzz-"))
        self._begun = 0.0

    def __enter__(self) -> Guarded:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def read(self, target: str, name: str, content: bytes) -> Outcome:
        """Give a file to a target (a name in `fuzz_targets.TARGETS`)."""
        shutil.rmtree(self._folder, ignore_errors=True)
        file = self._folder / name
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
        if self._pipe is None:
            self._start()
        assert self._pipe is not None
        self._pipe.send((target, file, self._folder))
        started, self._begun = time.monotonic(), _cpu_seconds(self._process)
        try:
            while time.monotonic() - started < _MOST_WAIT and self._used() < MOST_SECONDS:
                if self._pipe.poll(1.0):
                    return self._pipe.recv()
            problem = f"hung for {MOST_SECONDS:.0f} s"
        except (EOFError, ConnectionError):
            assert self._process is not None
            self._process.join()
            problem = f"the process died (exit code {self._process.exitcode})"
        self._stop()
        return Outcome(problem, seconds=time.monotonic() - started)

    def _used(self) -> float:
        return _cpu_seconds(self._process) - self._begun

    def _start(self) -> None:
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        if not self._pipe.poll(180):
            raise RuntimeError("the reading process did not start")
        self._pipe.recv()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None


def _serve(pipe: Connection) -> None:
    import fuzz_targets

    fuzz_targets._scene()
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipe.send("ready")
    while True:
        target, file, folder = pipe.recv()
        before = _reset_peak()
        started = time.monotonic()
        problem, said = attempt(fuzz_targets.TARGETS[target], file, folder)
        seconds, grown = time.monotonic() - started, _peak() - before
        if not problem and grown > MOST_BYTES:
            problem = f"took {grown / 2**30:.1f} GiB"
        pipe.send(Outcome(problem, said, seconds, grown))


def attempt(target: object, file: Path, folder: Path) -> tuple[str, str]:
    """What went wrong, empty if nothing did, and what the reader said."""
    assert callable(target)
    try:
        target(file, folder)
    except CovsegError as error:
        said = str(error)
        one_line = bool(said) and "\n" not in said and len(said) < 2000
        return "" if one_line else f"no one line: {said[:80]!r}", said
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        where = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames))
        return f"{type(error).__name__}: {str(error)[:200]} ({where})", ""
    return "", "read"


def _cpu_seconds(process: multiprocessing.process.BaseProcess | None) -> float:
    """The processor's time that a process has had; on systems without /proc that of the clock."""
    assert process is not None
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return time.monotonic() if sys.platform != "linux" else 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _reset_peak() -> int:
    """Forget the highest memory so far; returns what is used now."""
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _status(field: str) -> int:
    if sys.platform != "linux":
        return 0
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0
