"""Contended runs: the judgement from injected signs, its cost, and one beside real work."""

import json
import multiprocessing
import os
import signal
from types import SimpleNamespace

import pytest
import torch
from harness import command, directory, run_with, summary
from torch.utils._python_dispatch import TorchDispatchMode

from sobench.system import contention, leases
from sobench.system.contention import Signs, Watch, Yardstick, judge
from sobench.system.devices import cores
from sobench.training import snapshot
from sobench.training.trainer import Trainer

PASS = 0.001
"""Seconds of one pass of the kernel on an idle machine."""


def judged(kernel=PASS, beside=0, process=10.0, ran=0.0, queued=0.0, fastest=PASS, idle=True):
    """The judgement of 10 s of steps with three equal readings."""
    return judge(Signs([kernel] * 3, [beside] * 3, ran, queued), 10.0, process, fastest, idle)


@pytest.mark.parametrize(
    "signs, quality, factor",
    [
        ({}, "quiet", 1.0),
        ({"process": 9.5}, "quiet", 10 / 9.5),
        ({"process": 5.0}, "contended", 2.0),  # it had half of a core
        ({"process": 19.0}, "quiet", 1.0),  # two threads
        ({"process": 15.0, "ran": 8.0, "queued": 8.0}, "contended", 2.0),  # two threads, of which the first waited
        ({"process": None}, "quiet", 1.0),  # a GPU
        ({"process": None, "ran": 6.0, "queued": 3.0}, "contended", 1.5),
        ({"kernel": 1.5 * PASS}, "contended", 1.5),  # always a core, but a slow one
        ({"kernel": 1.1 * PASS, "process": 10 / 1.15}, "contended", 1.1 * 1.15),  # the two multiply
        ({"beside": 2}, "quiet", 1.0),  # on cores of their own
        ({"beside": 2, "idle": False}, "unknown", 1.0),  # the fastest pass may have been slow too
        ({"idle": False}, "quiet", 1.0),  # it is idle now
        ({"beside": 2, "idle": False, "process": 5.0}, "contended", 2.0),
        ({"fastest": None}, "quiet", 1.0),
    ],
)
def test_the_slowdown_is_that_of_the_queue_times_that_of_the_core(signs, quality, factor):
    found = judged(**signs)
    assert found["quality"] == quality and found["factor"] == pytest.approx(factor, abs=1e-3)


def test_more_threads_than_cores_without_a_lease_are_contended(tmp_path, monkeypatch):
    monkeypatch.setattr(contention.torch, "get_num_threads", lambda: 2)
    for leased, machine, crowded in ((2, 4, False), (3, 4, True), (3, None, False)):
        watch = Watch(tmp_path, lambda leased=leased: leased, machine)
        watch.read(seconds=0.0)
        assert watch.signs.crowded is crowded
    watch.signs = Signs(watch.signs.kernel, [0], crowded=True)
    assert watch.judgement(10.0, 10.0)["quality"] == "contended"


@pytest.mark.parametrize("seconds, stopped", [(0.2, False), (10.0, True)])
def test_a_run_that_was_stopped_is_contended(tmp_path, monkeypatch, seconds, stopped):
    """A SIGCONT without a stop before it is no sign: some systems send one before they end a process."""
    clock = SimpleNamespace(monotonic=lambda: clock.now, now=0.0)
    monkeypatch.setattr(contention, "time", clock)
    watch, before = Watch(tmp_path, lambda: 0), signal.getsignal(signal.SIGCONT)
    with watch.noticing_stops():
        clock.now += seconds
        os.kill(os.getpid(), signal.SIGCONT)
    assert signal.getsignal(signal.SIGCONT) == before
    assert watch.signs.stopped == stopped
    judged = judge(Signs(kernel=[1.0], beside=[0], stopped=watch.signs.stopped), 100, 99, 1.0, idle=True)
    assert judged["quality"] == ("contended" if stopped else "quiet")


def test_a_run_without_readings_is_unknown_unless_it_waited():
    assert judge(Signs(), 10.0, 10.0, PASS, True)["quality"] == "unknown"
    assert judge(Signs(), 10.0, 5.0, PASS, True)["quality"] == "contended"


def test_readings_take_at_most_their_share_of_the_training(tmp_path, monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr(contention.time, "perf_counter", lambda: float(next(clock)))  # a second a look
    watch = Watch(tmp_path, lambda: 0)
    for _ in range(3):
        watch.read(seconds=0.0)
    assert len(watch.signs.kernel) == 2
    spent = watch._spent
    watch.read(seconds=spent / contention.SHARE - 1)
    assert len(watch.signs.kernel) == 2
    watch.read(seconds=spent / contention.SHARE)
    assert len(watch.signs.kernel) == 3 and watch.signs.kernel == [1.0] * 3


def test_the_fastest_pass_is_kept_for_later_runs(tmp_path):
    Yardstick(tmp_path).learn(Signs([2.0, 1.0], [3, 1]))
    Yardstick(tmp_path).learn(Signs([1.5], [1]))
    kept = Yardstick(tmp_path)
    assert (kept.fastest, kept.idle) == (1.0, False)
    Yardstick(tmp_path).learn(Signs([1.5, 1.2], [1, 0]))
    assert Yardstick(tmp_path).idle and Yardstick(tmp_path).fastest == 1.0
    torch_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(torch_threads + 1)
        assert Yardstick(tmp_path).fastest is None  # another kernel time
    finally:
        torch.set_num_threads(torch_threads)
    (file,) = tmp_path.iterdir()
    file.write_text("{")
    assert Yardstick(tmp_path).fastest is None


def test_a_clock_that_stood_still_is_no_yardstick(tmp_path):
    """Else a core of any speed would be as fast as the fastest."""
    Yardstick(tmp_path).learn(Signs([0.0, 0.0], [0, 0]))
    assert Yardstick(tmp_path).fastest is None
    Yardstick(tmp_path).learn(Signs([0.0, 2.0], [0, 0]))
    assert Yardstick(tmp_path).fastest == 2.0
    (file,) = tmp_path.iterdir()
    file.write_text(json.dumps({"fastest": 0.0, "idle": True}))  # as older versions wrote it
    assert (Yardstick(tmp_path).fastest, Yardstick(tmp_path).idle) == (None, False)


def test_a_pass_of_the_kernel_allocates_nothing(monkeypatch):
    """Page faults of fresh memory would count as a slow core."""

    class Storages(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            made = function(*args, **(kwargs or {}))
            tensors.append(made)  # alive, so that no later one has its place
            return made

    counts = []
    for passes in (1, 20):
        tensors = []
        monkeypatch.setattr(contention, "PASSES", passes)
        with Storages():
            contention.kernel_seconds()
        counts.append((len(tensors), len({one.untyped_storage().data_ptr() for one in tensors})))
    assert counts[0][0] < counts[1][0] and counts[0][1] == counts[1][1]


def test_leased_cores_are_those_of_other_runs(tmp_path):
    for core, run in (("0", "ours"), ("1", "theirs"), ("2", "theirs")):
        (tmp_path / f"cpu-{core}.json").write_text(json.dumps({"run": run}))
    (tmp_path / "cpu-3.json").write_text("{")
    assert leases.cores_of_others(str(tmp_path), "ours") == 2
    (tmp_path / "file").touch()
    assert leases.cores_of_others(str(tmp_path / "file"), "ours") == 0


def test_readings_change_no_bit_and_survive_a_checkpoint(monkeypatch):
    def trained(read):
        monkeypatch.setattr(Watch, "read", read)
        trainer = Trainer(run_with(budget__epochs=None, budget__steps=5, evaluate__steps=1))
        trainer.train([], lambda _: None, lambda *_: None)
        return trainer

    with_readings, without = trained(Watch.read), trained(lambda *_: None)
    digests = [snapshot.summary(t, "done", None)["parameters_sha256"] for t in (with_readings, without)]
    assert digests[0] == digests[1] and len(with_readings.watch.signs.kernel) >= 2
    saved = snapshot.state(with_readings)
    resumed = Trainer(run_with(budget__epochs=None, budget__steps=5, evaluate__steps=1))
    snapshot.restore(resumed, saved)
    assert resumed.watch.signs == with_readings.watch.signs
    del saved["watch"]  # a checkpoint of an older version
    snapshot.restore(resumed, saved)
    assert resumed.watch.signs == Signs()


def _busy():
    while True:
        pass


@pytest.mark.slow
def test_a_run_beside_busy_processes_is_contended(workplace):
    others = [multiprocessing.get_context("spawn").Process(target=_busy, daemon=True) for _ in range(2 * len(cores()))]
    for other in others:
        other.start()
    try:
        assert command("run", "threads=1", "budget.epochs=null", "budget.seconds=1", "progress=false").code == 0
    finally:
        for other in others:
            other.kill()
            other.join()
    timing = summary(directory())["timing"]
    assert timing["quality"] == "contended" and timing["factor"] > 1.5
