"""The environment of a run (versions, device, threads, commit), and its memory."""

from __future__ import annotations

import os
import platform
import resource
import socket
import sys
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from sobench.errors import UsageError
from sobench.system import checkout, control_groups
from sobench.system.files import CHECKOUT
from sobench.system.heartbeat import now


def device(name: str) -> torch.device:
    """The device of a run, by its name: cpu, cuda or cuda:N. Raises UsageError if the machine does not have it."""
    if name.startswith("cuda"):
        count = torch.cuda.device_count()
        if int(name.partition(":")[2] or 0) >= count:
            raise no_such_device(name, count)
        if ":" in name:
            torch.cuda.set_device(name)  # so that "cuda" in the code of a plug-in is the same device
    return torch.device(name)


def no_such_device(name: str, count: int) -> UsageError:
    """The error about the device `name` on a machine with `count` CUDA devices."""
    return UsageError(
        f"device: got {name!r}, this machine has {count} CUDA device(s); allowed: cpu"
        + (f", cuda:0 to cuda:{count - 1}" if count else "")
    )


def environment(where: torch.device) -> dict[str, Any]:
    """The environment of a run on the device `where`, for the record; nothing of it identifies the run."""
    cuda = where.type == "cuda"
    return {
        "sobench": version("sobench"),
        "commit": commit(),
        "python": sys.version.split()[0],
        **{name: version(name) for name in ("torch", "torchvision", "numpy")},
        "platform": f"{platform.system()} {platform.machine()}",
        "host": socket.gethostname(),
        "device": str(where),
        "device_name": torch.cuda.get_device_name(where) if cuda else processor(),
        "threads": torch.get_num_threads(),
        "started": now(),
    }


@cache
def version(package: str) -> str:
    """The installed version of a package, read once for a process."""
    return metadata.version(package)


@cache
def commit() -> str | None:
    """The commit of the checkout that contains this package, with "+" if src or conf has changes; None if installed."""
    found = checkout.commit(CHECKOUT, "src", "conf") if (CHECKOUT / ".git").exists() else None
    return found[0] + ("+" if found[1] else "") if found else None


def reset_peak_memory(where: torch.device) -> None:
    """Restart the measurement of peak memory, so that a run of a sweep is not charged for the run before it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats(where)


def peak_memory(where: torch.device) -> dict[str, int | None]:
    """The peak memory of this process since the last reset, in bytes: resident on the host, allocated on the device."""
    device_bytes = torch.cuda.max_memory_allocated(where) if where.type == "cuda" else None
    return {"peak_host_bytes": _peak_resident(), "peak_device_bytes": device_bytes}


def available_memory(where: torch.device) -> int:
    """The bytes that could be allocated now; on the host they include the page cache that would be released.

    A container or a job of a cluster may have less than its machine.
    """
    if where.type == "cuda":
        return torch.cuda.mem_get_info(where)[0]
    return int(min(_available_on_machine(), control_groups.allocatable()))


def _available_on_machine() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _peak_resident() -> int:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def processor() -> str:
    """The name of the processor's model."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
