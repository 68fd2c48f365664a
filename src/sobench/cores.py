"""The cores of this machine. No torch."""

from __future__ import annotations

import os


def cores() -> list[int]:
    """Those that this process may use, by the system's numbers."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))  # not Linux
