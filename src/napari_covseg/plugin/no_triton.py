"""Load torchvision without Triton: in a process that draws, its LLVM may meet that of OpenGL."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_triton() -> Iterator[None]:
    """While this lasts Triton cannot be imported, unless it is there already.

    torchvision's operators load torch's compiler, and that loads Triton where it is installed.
    Mesa's drivers bring an LLVM too, and the second of two LLVMs in one process crashes it. Nothing
    that runs in the viewer's process is compiled, so nothing is lost.
    """
    if "triton" in sys.modules:
        yield
        return
    sys.modules["triton"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["triton"]
