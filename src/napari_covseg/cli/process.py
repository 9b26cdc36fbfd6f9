"""What suits a process that runs one command and ends, and would not suit a viewer."""

from __future__ import annotations

import atexit
import ctypes
import gc
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of the GNU C library
_KEEP_BYTES, _FROM_HEAP_BYTES = 512 << 20, 32 << 20
_GC_THRESHOLD = 100_000


def tune() -> None:
    """Collect garbage seldom and not at the end, and keep memory that was given back for reuse.

    Importing PyTorch makes hundreds of thousands of objects, none of them garbage; looking through
    them again and again, once more at exit, takes about a second. A network's features are some MB
    each: by default each is asked of the system anew, zeroed and given back.
    """
    gc.set_threshold(_GC_THRESHOLD)  # of new objects; how often older ones, stays
    atexit.register(gc.freeze)
    if sys.platform == "linux":
        try:
            mallopt = ctypes.CDLL(None).mallopt
        except (OSError, AttributeError):  # another C library
            return
        mallopt(_M_MMAP_THRESHOLD, _FROM_HEAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)
