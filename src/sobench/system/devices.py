"""What this machine has to compute on, by names that every process of it agrees on, and who else computes there.

The cores of this machine. No torch.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def units(kind: str) -> list[str]:
    """The machine's units of a kind. `cpu`: the cores that this process may use. `gpu`: its CUDA devices, by CUDA's index; the
    name is the start of the card's UUID, as CUDA_VISIBLE_DEVICES and clusters give the same card another index."""
    if kind == "gpu":
        import torch

        return [str(torch.cuda.get_device_properties(index).uuid)[:8] for index in range(torch.cuda.device_count())]
    return [str(core) for core in cores()]


def strangers(gpu: str) -> set[int]:
    """Ids of other processes that compute on this GPU now, as far as the driver tells; none in a container that hides them."""
    query = ["nvidia-smi", "--query-compute-apps=gpu_uuid,pid", "--format=csv,noheader"]
    try:
        lines = subprocess.run(query, capture_output=True, text=True, check=True, timeout=10).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return set()
    found = [line.removeprefix("GPU-").split(", ") for line in lines]
    return {int(pid) for uuid, pid in found if uuid.startswith(gpu)} - {os.getpid()}


def out_of_memory_kills() -> int:
    """How many processes the kernel has killed since it started because memory ran out; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0


def cores() -> list[int]:
    """Those that this process may use, by the system's numbers."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))  # not Linux
