"""Where a run runs: versions, device, threads, commit; and how much memory it took."""

from __future__ import annotations

import os
import platform
import resource
import socket
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from sobench.errors import UsageError
from sobench.system.files import CHECKOUT
from sobench.system.heartbeat import now


def device(name: str) -> torch.device:
    """The device of a run. Raises UsageError if it is not there."""
    if name.startswith("cuda"):
        count = torch.cuda.device_count()
        if int(name.partition(":")[2] or 0) >= count:
            raise no_such_device(name, count)
        if ":" in name:
            torch.cuda.set_device(name)  # so that what a plug-in puts on "cuda" is there too
    return torch.device(name)


def no_such_device(name: str, count: int) -> UsageError:
    return UsageError(
        f"device: got {name!r}, this machine has {count} CUDA device(s); allowed: cpu"
        + (f", cuda:0 to cuda:{count - 1}" if count else "")
    )


def environment(where: torch.device) -> dict[str, Any]:
    """For the record: nothing here identifies a run."""
    cuda = where.type == "cuda"
    return {
        "sobench": version("sobench"),
        "commit": commit(),
        "python": sys.version.split()[0],
        **{name: version(name) for name in ("torch", "torchvision", "numpy")},
        "platform": f"{platform.system()} {platform.machine()}",
        "host": socket.gethostname(),
        "device": str(where),
        "device_name": torch.cuda.get_device_name(where) if cuda else _processor(),
        "threads": torch.get_num_threads(),
        "started": now(),
    }


@cache
def commit() -> str | None:
    """The commit of the checkout that this package is run from, with '+' if it was changed; None if installed."""
    if not (CHECKOUT / ".git").exists():
        return None
    try:
        git = lambda *words: (
            subprocess.run(["git", "-C", CHECKOUT, *words], capture_output=True, text=True, check=True).stdout
        )
        return git("rev-parse", "HEAD").strip() + ("+" if git("status", "--porcelain", "--", "src", "conf") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def reset_peak_memory(where: torch.device) -> None:
    """Start measuring the peak anew, so that a run in a sweep is not charged for the one before."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats(where)


def peak_memory(where: torch.device) -> dict[str, int | None]:
    """Bytes of this process since the last reset, on the host (resident) and on the device (allocated)."""
    device_bytes = torch.cuda.max_memory_allocated(where) if where.type == "cuda" else None
    return {"peak_host_bytes": _peak_resident(), "peak_device_bytes": device_bytes}


def available_memory(where: torch.device) -> int:
    """Bytes that could be allocated now; on the host, with what the page cache would give back."""
    if where.type == "cuda":
        return torch.cuda.mem_get_info(where)[0]
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


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
