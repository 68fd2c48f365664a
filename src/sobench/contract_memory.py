"""What this process holds in memory while an optimizer steps."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

from sobench.contract_subject import advance
from sobench.train import Trainer


def residents(trainer: Trainer, after: int) -> list[int]:
    """The memory of the process at four moments, 5 steps apart, `after` steps from now."""
    advance(trainer, after)
    moments = []
    for _ in range(4):
        advance(trainer, 5)
        gc.collect()
        _trim()
        moments.append(_resident())
    return moments


def _trim() -> None:
    """Give what the C allocator holds free back to the system: what is kept then shows, whatever the process did before."""
    import ctypes

    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):  # not glibc
        pass


def _resident() -> int:
    """Bytes this process holds in memory now."""
    try:
        import os

        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
