"""What a machine says of its cores, its GPUs and who computes there."""

import math
import os
from types import SimpleNamespace

import torch

from sobench.system import control_groups, devices

UUIDS = ["1f0c22ab-77aa-0000-1111-222233334444", "9a8b7c6d-0000-0000-0000-000000000000"]


def test_cores_are_those_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {7, 3}, raising=False)
    monkeypatch.setattr(control_groups, "processors", lambda: math.inf)
    assert devices.units("cpu") == ["3", "7"]
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert devices.units("cpu") == ["0", "1"]


def test_a_gpu_has_the_name_that_any_process_gives_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=UUIDS[index]))
    assert devices.units("gpu") == ["1f0c22ab", "9a8b7c6d"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert devices.units("gpu") == []


def test_other_processes_on_this_gpu(tmp_path, monkeypatch):
    """nvidia-smi as it prints on a machine with two GPUs; and a machine without it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices.other_processes_on("1f0c22ab") == set()
    lines = "\n".join([f"GPU-{UUIDS[0]}, 71", f"GPU-{UUIDS[1]}, 72", f"GPU-{UUIDS[0]}, {os.getpid()}"])
    (tmp_path / "nvidia-smi").write_text(f'#!/bin/sh\necho "{lines}"\n')
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert devices.other_processes_on("1f0c22ab") == {71} and devices.other_processes_on("9a8b7c6d") == {72}
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    assert devices.other_processes_on("1f0c22ab") == set()


def test_kills_of_the_kernel_are_counted(monkeypatch):
    monkeypatch.setattr(devices.Path, "read_text", lambda path: "nr_dirty 5\noom_kill 3\nswap_ra 0\n")
    assert devices.out_of_memory_kills() == 3
    monkeypatch.setattr(devices.Path, "read_text", lambda path: "nr_dirty 5\n")
    assert devices.out_of_memory_kills() == 0
