"""Run a command in a process of its own; its time, its memory, and what it says."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any


@dataclass(frozen=True)
class Run:
    """``wall_s`` from start to end of the process, ``peak_gb`` its largest resident memory."""

    wall_s: float
    peak_gb: float
    said: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    what: str
    value: str
    target: str = ""
    met: bool | None = None

    def markdown(self) -> str:
        """The line."""
        mark = "" if self.met is None else "yes" if self.met else "no"
        return f"| {self.what} | {self.value} | {self.target} | {mark} |"


def run_child(*arguments: str, python: str = sys.executable) -> Run:
    """Run ``python arguments``; the last line of its output is JSON, or there is none.

    Raises
    ------
    RuntimeError
        If it fails.
    """
    start = time.perf_counter()
    # A file, not a pipe: who says much there would wait for us, and we for its output.
    with TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [python, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True
        )
        out = process.stdout.read()  # type: ignore[union-attr]
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            errors.seek(0)
            raise RuntimeError(f"{' '.join(arguments[:3])} failed:\n{errors.read()[-2000:]}")
    lines = out.strip().splitlines()
    said = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    unit = 1e-9 if sys.platform == "darwin" else 1024e-9  # ru_maxrss: bytes there, else kilobytes
    return Run(wall, usage.ru_maxrss * unit, said)


def machine() -> str:
    """The processor, its cores, and the versions that matter."""
    import torch

    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    features = torch.backends.cpu.get_cpu_capability()
    graphics = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no graphics card"
    return (
        f"{name}, {os.cpu_count()} cores ({features}), {graphics}; Python "
        f"{platform.python_version()}, PyTorch {torch.__version__}, {platform.system()}"
    )
