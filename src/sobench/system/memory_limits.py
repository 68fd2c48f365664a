"""Memory limits of control groups: a container or a job of a cluster may have less memory than its machine. No torch.

A process is in one group of each hierarchy. Every group above its own may have a limit too. Version 2 of control groups
has one hierarchy, version 1 has one for memory. The files are described in the kernel's documentation: cgroup-v2.rst,
and cgroup-v1/memory.rst.
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
    return min(map(_left, _groups(root, own)), default=math.inf)


def _groups(root: Path, own: Path) -> Iterator[Path]:
    """The folders of the groups of this process that may limit its memory, each before those above it.

    A container may not see the group that its path names, but sees its own as the root.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        top = root / "memory" if "memory" in controllers.split(",") else root
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


def _page_cache(group: Path, prefix: str) -> int:
    stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    return sum(int(stat[f"{prefix}{kind}_file"]) for kind in ("active", "inactive"))
