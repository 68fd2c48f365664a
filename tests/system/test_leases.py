"""Leases: never more than the machine has, all or nothing, free at once when their holder dies."""

import json
import multiprocessing
import os
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from harness import SMALL, command, directory, finish, run_with, summary

from sobench.config.run import Run
from sobench.errors import Failure, UsageError
from sobench.system import devices, leases

TWO_CORES_TWO_GPUS = {"cpu": ["0", "1"], "gpu": ["a0", "b1"]}


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """Two cores and two GPUs, or what the test says, on whatever machine this is."""

    def has(**units: list[str]) -> None:
        monkeypatch.setattr(devices, "units", (TWO_CORES_TWO_GPUS | units).get)

    has()
    monkeypatch.setattr(devices, "other_processes_on", lambda gpu: set())
    return has


@pytest.fixture
def lease(tmp_path):
    """lease(device=..., threads=..., per_run=..., wait=...) takes one and keeps it; None if it has to wait."""
    stack = ExitStack()

    def take(device: str = "cpu", threads: int | None = 1, per_run: float = 1, wait: bool | str = True):
        run = run_with(device=device, threads=threads, gpu__per_run=per_run, wait=wait, slots=str(tmp_path / "slots"))
        try:
            return stack.enter_context(leases.leased(run.config, run.slug, _refuse_to_wait))
        except _Waits as waits:
            take.said = str(waits)
            return None

    take.folder, take.stack = tmp_path / "slots", stack
    with stack:
        yield take


class _Waits(Exception):
    pass


def _refuse_to_wait(line: str) -> None:
    raise _Waits(line)


def held(folder: Path) -> set[str]:
    return set(leases.holders(folder, ["*[0-9]"]))


def test_a_run_has_as_many_cores_as_threads_until_it_ends(lease):
    one = lease(threads=1)
    assert held(lease.folder) == {"cpu-0"} and (one.device, one.threads, one.shared) == ("cpu", 1, False)
    assert lease(threads=2) is None and held(lease.folder) == {"cpu-0"}  # all or nothing: cpu-1 is not kept
    assert lease(threads=1) and held(lease.folder) == {"cpu-0", "cpu-1"}
    assert oct(lease.folder.stat().st_mode)[-3:] == "700"
    lease.stack.close()
    assert held(lease.folder) == set() and not list(lease.folder.glob("*.json"))


def test_a_single_run_starts_beside_those_that_have_the_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "units", TWO_CORES_TWO_GPUS.get)
    monkeypatch.setattr(leases, "_named", set())
    folder, lines = tmp_path / "slots", []

    def take(name: str, threads: int, wait: bool | str):
        run = run_with(threads=threads, wait=wait, slots=str(folder))
        return leases.leased(run.config, name, lines.append)

    with take("first", 1, True), take("second", 2, "auto") as beside:
        assert (beside.device, beside.threads) == ("cpu", 2) and held(folder) == {"cpu-0", "cpu-1"}  # what is free
        with take("third", 1, False) as third:
            assert not third.slots
    assert held(folder) == set()
    (line,) = lines  # the process is named once
    assert line.startswith("starting on a busy machine, so its times may count as contended (process ")
    assert " has cpu-0 (first, since " in line and line.endswith("); wait=true waits")
    with take("first", 1, True):
        (folder / "cpu-0.json").write_text(json.dumps({"pid": 1, "host": "another", "run": "x", "since": "now"}))
        with take("second", 2, "auto"):
            assert "process 1 on another has cpu-0 (x, since now)" in lines[1]


def test_a_run_of_a_sweep_and_one_on_a_gpu_wait(lease, monkeypatch):
    lease(threads=2)
    lease("cuda:0")
    monkeypatch.setattr(leases.stopping, "in_sweep", lambda: True)
    assert lease(threads=1, wait="auto") is None and lease.said.startswith("waiting for 1 core: ")
    assert lease("cuda:0", wait=False) is None and lease.said.startswith("waiting for cuda:0: ")


def test_who_has_it_is_there_to_read(lease):
    lease(threads=2)
    about = json.loads((lease.folder / "cpu-1.json").read_text())
    assert (
        about["pid"] == os.getpid()
        and about["host"] == os.uname().nodename
        and about["run"].startswith("digits_mlp_sgd_")
    )
    assert lease(threads=1) is None
    who = f"process {os.getpid()} on {about['host']}"
    assert lease.said.startswith(f"waiting for 1 core: {who} has cpu-0, cpu-1 (digits_mlp_sgd_")
    (lease.folder / "cpu-1.json").write_text("[]")
    assert lease(threads=1) is None and "; another process has cpu-1" in lease.said


def test_the_line_beside_a_slot_is_a_heartbeat(lease, monkeypatch):
    monkeypatch.setattr("sobench.system.heartbeat.HEARTBEAT", 0.01)
    lease(threads=1)
    note = lease.folder / "cpu-0.json"
    os.utime(note, (0, 0))
    while note.stat().st_mtime == 0:
        time.sleep(0.01)


@pytest.mark.parametrize("threads", [3, 99])
def test_more_cores_than_there_are(lease, threads):
    with pytest.raises(UsageError, match=f"threads: got {threads}, this machine has 2 cores; allowed: 1 to 2, or null"):
        lease(threads=threads)


def test_torch_s_own_choice_is_no_more_than_there_is(lease, machine, monkeypatch):
    monkeypatch.setattr(leases.torch, "get_num_threads", lambda: 2)
    assert lease(threads=None).threads is None and held(lease.folder) == {"cpu-0", "cpu-1"}
    lease.stack.close()
    machine(cpu=["5"])
    assert lease(threads=None).threads == 1 and held(lease.folder) == {"cpu-5"}


def test_a_gpu_each_and_a_core_if_one_is_free(lease):
    first, second = lease("cuda"), lease("cuda")
    assert [first.device, second.device] == ["cuda:0", "cuda:1"] and not first.shared
    assert held(lease.folder) == {"gpu-a0.0", "gpu-b1.0", "cpu-0", "cpu-1"}
    assert lease("cuda") is None and lease.said.startswith("waiting for a GPU: ") and "gpu-a0.0" in lease.said
    lease.stack.close()
    lease(threads=2)
    assert lease("cuda").device == "cuda:0" and held(lease.folder) == {"cpu-0", "cpu-1", "gpu-a0.0"}


def test_several_runs_on_a_gpu(lease, machine):
    machine(gpu=["a0"])
    leases = [lease("cuda", per_run=0.3) for _ in range(3)]
    assert all(one.device == "cuda:0" and one.shared for one in leases)
    assert {"gpu-a0.0", "gpu-a0.1", "gpu-a0.2"} <= held(lease.folder)
    assert lease("cuda", per_run=0.3) is None and lease.said.startswith("waiting for a GPU (0.33 of it): ")


def test_runs_are_spread_over_the_gpus(lease):
    assert [lease("cuda", per_run=0.5).device for _ in range(4)] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]


def test_slots_of_different_sizes_add_up_to_one_gpu(lease):
    assert lease("cuda:1", per_run=0.5).device == "cuda:1"
    assert lease("cuda:1", per_run=1) is None and lease.said.startswith("waiting for cuda:1: ")
    assert lease("cuda:1", per_run=0.25) and lease("cuda:1", per_run=0.25) and lease("cuda:1", per_run=0.25) is None
    assert lease("cuda", per_run=1).device == "cuda:0"  # any GPU: the free one
    assert lease("cuda:0", per_run=0.01) is None


def test_no_such_gpu(lease, machine):
    with pytest.raises(
        UsageError, match=r"got 'cuda:2', this machine has 2 CUDA device\(s\); allowed: cpu, cuda:0 to cuda:1"
    ):
        lease("cuda:2")
    machine(gpu=[])
    with pytest.raises(UsageError, match=r"device: got 'cuda', this machine has 0 CUDA device\(s\); allowed: cpu$"):
        lease("cuda")


def test_another_process_on_the_gpu_at_the_end_is_noticed(lease, monkeypatch):
    one = lease("cuda")
    assert not one.shared
    monkeypatch.setattr(devices, "other_processes_on", lambda gpu: {1} if gpu == "a0" else set())
    lease.stack.close()
    assert one.shared and lease("cuda:0").shared and not lease("cuda:1").shared


def test_a_placed_run_is_the_same_run(lease):
    run = run_with(device="cuda", gpu__per_run=0.5)
    placed = replace(run, config=lease("cuda:1", per_run=0.5).placed(run.config))
    assert (placed.config["device"], placed.config["gpu"], placed.id) == (
        "cuda:1",
        {"per_run": 0.5, "shared": True},
        run.id,
    )
    assert run.config["device"] == "cuda" and run.config["gpu"] == {"per_run": 0.5}


def test_where_and_how_a_run_is_placed_does_not_identify_it():
    others = [run_with(gpu__per_run=0.25), run_with(isolate=True), run_with(slots="elsewhere"), run_with(threads=2)]
    assert {run.id for run in others} == {run_with().id}
    assert Run.of(run_with(gpu__per_run=0.25).config, ["gpu.per_run=0.25", "seed=0"]).name == "digits mlp sgd seed 0"


def test_a_folder_that_cannot_be_used(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(Failure, match=f"slots: cannot write {tmp_path}/file"):
        leases.folder_at(str(tmp_path / "file"))
    monkeypatch.setattr(leases.tempfile, "gettempdir", lambda: str(tmp_path))
    assert leases.folder_at(None) == tmp_path / f"sobench-slots-{os.getuid()}"
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    (tmp_path / "sobench-slots-12345").mkdir()
    with pytest.raises(Failure, match="sobench-slots-12345 belongs to another user; set slots"):
        leases.folder_at(None)


# Processes


def _hold(threads: int, folder: str, log: str, times: int) -> None:
    """Take a lease, say so, keep it for a moment, say so; again and again."""
    devices.units = {"cpu": ["0", "1", "2"]}.get
    config = run_with(threads=threads, wait=True, slots=folder).config
    for _ in range(times):
        with leases.leased(config, "a run", lambda line: None), open(log, "a", buffering=1) as file:
            file.write(f"+{threads}\n")
            time.sleep(0.01)
            file.write(f"-{threads}\n")


def test_processes_never_have_more_than_there_is(tmp_path, monkeypatch):
    """Two that want two of three cores each, and one that wants three: no deadlock, and never more than three."""
    context = multiprocessing.get_context("fork")
    log = tmp_path / "log"
    started = [context.Process(target=_hold, args=(n, str(tmp_path / "slots"), str(log), 3)) for n in (2, 2, 3, 1)]
    monkeypatch.setattr(leases, "POLL", 0.01)
    for one in started:
        one.start()
    assert [finish(one) for one in started] == [0] * 4
    changes = [int(line) for line in log.read_text().split()]
    assert Counter(changes) == {+2: 6, -2: 6, +3: 3, -3: 3, +1: 3, -1: 3}
    assert max(sum(changes[:end]) for end in range(len(changes))) <= 3


def _keep(folder: str) -> None:
    with leases.leased(run_with(device="cuda", gpu__per_run=0.5, slots=folder).config, "a run", print):
        time.sleep(60)


def test_a_killed_process_frees_its_slots_at_once(tmp_path, machine):
    """And while it lives, who waits says for whom."""
    machine(gpu=["a0"])
    folder = tmp_path / "slots"
    first = multiprocessing.get_context("fork").Process(target=_keep, args=(str(folder),))
    first.start()
    while not (folder / "cpu-0.json").exists():
        time.sleep(0.01)
    lines = []

    def say(line: str) -> None:
        lines.append(line)
        first.kill()
        first.join()

    assert held(folder) == {"gpu-a0.0", "cpu-0"}
    with leases.leased(run_with(device="cuda", slots=str(folder)).config, "a run", say) as lease:
        assert lease.device == "cuda:0" and len(lines) == 1
    assert lines[0].startswith(f"waiting for a GPU: process {first.pid} on ") and " has gpu-a0.0 (" in lines[0]


def test_a_run_that_asks_for_too_much_is_refused_in_one_line(workplace):
    done = command("run", "model.widths=[4]", "budget=smoke", "threads=3")
    assert (done.code, done.out) == (2, "")
    assert done.errors == ["sobench: threads: got 3, this machine has 2 cores; allowed: 1 to 2, or null"]
    assert not list(workplace.iterdir())


def test_a_run_that_shared_its_gpu_says_so(workplace, monkeypatch):
    """Here on a CPU: `shared` is what the lease says, at the begin or at the end."""
    crowded = iter([False, True, True, False, False])  # of the second, only its begin is asked
    monkeypatch.setattr(leases, "is_shared", lambda lease: next(crowded))
    for seed, shared in enumerate((True, True, False)):
        assert command("run", *SMALL, f"seed={seed}", f"runs=r{seed}").code == 0
        assert summary(directory(workplace / f"r{seed}"))["shared"] is shared
