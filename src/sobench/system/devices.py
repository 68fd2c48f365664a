"""The cores and GPUs of this machine, by names that every process agrees on, and the other processes on them.

torch is imported by the functions about GPUs alone.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from sobench.system import control_groups


def cores() -> list[int]:
    """The cores that this process may use, by the system's numbers.

    They are no more than its control groups allow, a part of a core left out: which of the cores its threads are on is
    up to the system.
    """
    if not hasattr(os, "sched_getaffinity"):  # not Linux
        return list(range(os.cpu_count() or 1))
    found = sorted(os.sched_getaffinity(0))
    return found[: max(1, int(min(len(found), control_groups.processors())))]


def units(kind: str) -> list[str]:
    """The names of the machine's units of a kind, "cpu" or "gpu".

    cpu: the cores that this process may use. gpu: its CUDA devices in the order of CUDA's indices, each named by the
    start of its UUID, since CUDA_VISIBLE_DEVICES and clusters give one card different indices.
    """
    if kind == "gpu":
        import torch

        return [str(torch.cuda.get_device_properties(index).uuid)[:8] for index in range(torch.cuda.device_count())]
    return [str(core) for core in cores()]


def other_processes_on(gpu: str) -> set[int]:
    """Ids of the other processes that compute on a GPU now; none where a container or the driver hides them.

    gpu: its name, as `units` gives it.
    """
    query = ["nvidia-smi", "--query-compute-apps=gpu_uuid,pid", "--format=csv,noheader"]
    try:
        lines = subprocess.run(query, capture_output=True, text=True, check=True, timeout=10).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return set()
    processes = set()
    for line in lines:
        uuid, pid = line.removeprefix("GPU-").split(", ")
        if uuid.startswith(gpu):
            processes.add(int(pid))
    return processes - {os.getpid()}


def out_of_memory_kills() -> int:
    """The number of processes that the kernel has killed for lack of memory since it started; 0 if unknown."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
