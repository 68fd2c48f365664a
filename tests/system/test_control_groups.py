"""The memory and processors that control groups allow: in trees of files as the kernel has them, of both versions."""

import math
from pathlib import Path

import pytest
import torch

from sobench.system import control_groups, devices, environment

GB = 1 << 30


def group(folder: Path, version: int, limit: object, use: int, cache: int = 0) -> None:
    """The files of one control group. cache: of its use, the page cache."""
    names = {1: ("memory.limit_in_bytes", "memory.usage_in_bytes"), 2: ("memory.max", "memory.current")}[version]
    total = {1: "total_", 2: ""}[version]
    stat = f"anon {use - cache}\n{total}inactive_file {cache - cache // 4}\n{total}active_file {cache // 4}\n"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in zip((*names, "memory.stat"), (f"{limit}\n", f"{use}\n", stat)):
        (folder / name).write_text(text)


@pytest.fixture
def own(tmp_path):
    """own(text): a file of the groups of a process."""

    def write(text: str) -> Path:
        (tmp_path / "own").write_text(text)
        return tmp_path / "own"

    return write


def test_the_smallest_remainder_of_the_groups_above(tmp_path, own):
    root = tmp_path / "cgroup"
    group(root / "jobs", 2, 6 * GB, 5 * GB, cache=GB)
    group(root / "jobs/7", 2, "max", 4 * GB)
    group(root / "jobs/7/step", 2, 4 * GB, GB)
    group(root / "others", 2, GB, GB)
    assert control_groups.allocatable(root, own("0::/jobs/7/step\n")) == 2 * GB
    assert control_groups.allocatable(root, own("0::/others\n")) == 0
    assert control_groups.allocatable(root, own("0::/none\n")) == math.inf


def test_version_1_has_a_hierarchy_for_memory(tmp_path, own):
    root = tmp_path / "cgroup"
    group(root / "memory", 1, 2**63 - 4096, 9 * GB)
    group(root / "memory/docker/ab", 1, 3 * GB, 2 * GB, cache=GB)
    group(root / "cpu/docker/cd", 1, GB, GB)
    text = "9:cpu:/docker/cd\n4:memory:/docker/ab\n0::/\n"
    assert control_groups.allocatable(root, own(text)) == 2 * GB


@pytest.mark.parametrize("version, text", [(1, "4:memory:/docker/ab\n"), (2, "0::/\n"), (2, "0::/../ab\n")])
def test_a_container_sees_its_own_group_as_the_root(tmp_path, own, version, text):
    root = tmp_path / "cgroup"
    group(root / "memory" if version == 1 else root, version, 2 * GB, GB // 2)
    assert control_groups.allocatable(root, own(text)) == 1.5 * GB


def quota(folder: Path, **files: str) -> None:
    """The files of a control group about the processors: cpu_max="150000 100000" for cpu.max."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{text}\n")


def test_the_smallest_quota_of_the_groups_above(tmp_path, own):
    root = tmp_path / "cgroup"
    quota(root / "jobs", cpu_max="400000 100000")
    quota(root / "jobs/7", cpu_max="max 100000")
    quota(root / "jobs/7/step", cpu_max="75000 50000")
    assert control_groups.processors(root, own("0::/jobs/7/step\n")) == 1.5
    assert control_groups.processors(root, own("0::/jobs/7\n")) == 4
    assert control_groups.processors(root, own("0::/none\n")) == math.inf


def test_version_1_has_a_hierarchy_for_the_processors(tmp_path, own):
    root = tmp_path / "cgroup"
    quota(root / "cpu", cpu_cfs_quota_us="-1", cpu_cfs_period_us="100000")
    quota(root / "cpu/docker/ab", cpu_cfs_quota_us="250000", cpu_cfs_period_us="100000")
    quota(root / "memory/docker/cd", cpu_cfs_quota_us="100", cpu_cfs_period_us="100000")
    text = "9:cpu,cpuacct:/docker/ab\n4:memory:/docker/cd\n0::/\n"
    assert control_groups.processors(root, own(text)) == 2.5
    assert control_groups.processors(root, own("9:cpu,cpuacct:/docker\n")) == math.inf


@pytest.mark.parametrize("allowed, found", [(math.inf, [3, 5, 7]), (2.5, [3, 5]), (0.5, [3]), (8.0, [3, 5, 7])])
def test_the_cores_are_within_the_quota(monkeypatch, allowed, found):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {7, 3, 5}, raising=False)
    monkeypatch.setattr(control_groups, "processors", lambda: allowed)
    assert devices.cores() == found


def test_no_limit_where_there_are_no_control_groups(tmp_path):
    assert control_groups.allocatable(tmp_path, tmp_path / "none") == math.inf
    assert control_groups.processors(tmp_path, tmp_path / "none") == math.inf


def test_the_available_memory_is_within_the_limit(monkeypatch):
    cpu = torch.device("cpu")
    assert environment.available_memory(cpu) > 1 << 20
    monkeypatch.setattr(control_groups, "allocatable", lambda: 1 << 20)
    assert environment.available_memory(cpu) == 1 << 20
