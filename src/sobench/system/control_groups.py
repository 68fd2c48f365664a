"""Limits of control groups: a container or a job of a cluster may have less of the memory and the processors than its
machine. No torch.

A process is in one group of each hierarchy. Every group above its own may have a limit too. Version 2 of control groups
has one hierarchy, version 1 has one for memory and one for the processors. The files are described in the kernel's
documentation: cgroup-v2.rst, cgroup-v1/memory.rst and scheduler/sched-bwc.rst.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
"""The groups of this process, a line for each hierarchy: "number:controllers:path"."""


@dataclass(frozen=True)
class Files:
    """The names of a group's files for its limit and its use in bytes, and the prefix of its totals in memory.stat."""

    limit: str
    use: str
    prefix: str


VERSIONS = (
    Files("memory.max", "memory.current", ""),
    Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
)


def allocatable(root: Path = ROOT, own: Path = OWN) -> float:
    """The bytes that the groups of this process still allow it; infinite without a limit.

    The page cache counts as free, since the kernel releases it before a limit is exceeded.
    """
    return min(map(_left, _groups("memory", root, own)), default=math.inf)


def processors(root: Path = ROOT, own: Path = OWN) -> float:
    """The processors whose time the groups of this process allow it, as 1.5; infinite without a limit."""
    return min(map(_quota, _groups("cpu", root, own)), default=math.inf)


def _groups(controller: str, root: Path, own: Path) -> Iterator[Path]:
    """The folders of the groups of this process that a controller may limit, each before those above it.

    A container may not see the group that its path names, but sees its own as the root.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        top = root / controller if controller in controllers.split(",") else root
        if number == "0" or top != root:
            group = top / path.lstrip("/")
            yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(top))


def _left(group: Path) -> float:
    """The bytes that one group still allows; infinite without a limit."""
    for files in VERSIONS:
        with suppress(OSError, ValueError):  # of the other version, or "max"
            limit, use = (int((group / name).read_text()) for name in (files.limit, files.use))
            return max(0, limit - use + _page_cache(group, files.prefix))
    return math.inf


def _quota(group: Path) -> float:
    """The processor time of a period that one group allows, in periods; infinite without a limit."""
    with suppress(OSError, ValueError):  # of version 1, or "max"
        quota, period = (group / "cpu.max").read_text().split()
        return int(quota) / int(period)
    with suppress(OSError, ValueError):  # of version 2
        quota, period = (int((group / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return quota / period if quota > 0 else math.inf  # -1: no limit
    return math.inf


def _page_cache(group: Path, prefix: str) -> int:
    stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    return sum(int(stat[f"{prefix}{kind}_file"]) for kind in ("active", "inactive"))
