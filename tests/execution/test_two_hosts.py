"""A process that is stopped, believed dead and replaced on another machine, and then goes on, changes nothing."""

import json
import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from deaths import on_host
from harness import PATIENCE, SMALL, command, directory, finish, output, process, result, run_with, summary

from sobench.results.rundir import Lost, Metrics, RunDirectory
from sobench.results.state import state
from sobench.system import heartbeat

STEPS = 60
WORDS = ["run", "-m", *SMALL, f"budget.steps={STEPS}", "log.every=1", "checkpoint.seconds=0", "progress=false"]


@dataclass(frozen=True)
class OnHost:
    """A process on a machine of this name: it does not see the locks of others, and believes them dead soon."""

    name: str

    def __call__(self) -> None:
        import faulthandler

        faulthandler.dump_traceback_later(50 * PATIENCE, file=2)  # into out.txt, for a process that does not end
        on_host(self.name, stale=0.4)


def stop_and_go_on(folder: Path, true: str, moment: random.Random) -> bool:
    """Stop a process at a random moment, start a second on another host, let the first go on. Asserts the result.

    Returns whether the second took the run over.
    """
    folder.mkdir()
    first = process(*WORDS, folder=folder, prepare=OnHost("a"))
    steps = moment.randrange(STEPS - 20)
    while first.is_alive() and steps_done(folder) < steps:
        time.sleep(0.001)
    time.sleep(moment.random() * 0.02)
    if first.is_alive():
        os.kill(first.pid, signal.SIGSTOP)
    second = process(*WORDS, folder=folder, prepare=OnHost("b"))
    end = time.monotonic() + 60 * PATIENCE
    while second.is_alive() and first.exitcode is None and holder(folder) != "b" and time.monotonic() < end:
        time.sleep(0.001)
    taken = holder(folder) == "b"
    time.sleep(moment.random() * 0.4)
    if first.exitcode is None:
        os.kill(first.pid, signal.SIGCONT)
    assert (finish(first), finish(second)) == (0, 0), output(folder)
    found = directory(folder / "runs")
    assert result(found) == true and state(found).status == "done", output(folder)
    names = {file.name for file in found.iterdir()} - {"lock-a", "lock-b"}
    assert names == {"config.yaml", "environment.json", "metrics.jsonl", "run.json", "summary.json"}
    return taken


def steps_done(folder: Path) -> int:
    """The number of rows on the disk, -1 before the run has begun."""
    found = [path.read_bytes().count(b"\n") for path in folder.glob("runs/*/*/metrics.jsonl")]
    return found[0] if found else -1


def holder(folder: Path) -> str | None:
    """The host of the process that has the run."""
    try:
        return json.loads(next(folder.glob("runs/*/*/holder.json")).read_text())["host"]
    except (OSError, StopIteration):
        return None


def undisturbed(folder: Path) -> str:
    assert command(*WORDS, f"runs={folder}").code == 0
    return result(directory(folder))


def test_stopped_at_random_moments(workplace, tmp_path):
    true, moment = undisturbed(tmp_path / "quiet"), random.Random(3)
    taken = [stop_and_go_on(workplace / str(number), true, moment) for number in range(2)]
    assert any(taken)


@pytest.mark.slow
def test_stopped_at_random_moments_200_times(workplace, tmp_path, capsys):
    true, moment, begun = undisturbed(tmp_path / "quiet"), random.Random(4), time.monotonic()
    taken = sum(stop_and_go_on(workplace / str(number), true, moment) for number in range(200))
    with capsys.disabled():
        print(f" [{taken} of 200 taken over, {time.monotonic() - begun:.0f} s] ", end="")
    assert taken > 100


@pytest.fixture
def two(tmp_path, monkeypatch) -> tuple[RunDirectory, RunDirectory]:
    """One run directory, on two machines: the lock of the first is not seen by the second."""
    run = run_with()
    monkeypatch.setattr(heartbeat, "STALE", -1.0)
    return RunDirectory(run, tmp_path), RunDirectory(run, tmp_path)


def take_over(first: RunDirectory, second: RunDirectory, monkeypatch):
    (first.path / "lock").unlink()
    monkeypatch.setattr(heartbeat.socket, "gethostname", lambda: "elsewhere")
    return second.held()


DEEDS = {
    "rows": lambda directory, record: record.sync(),
    "result": lambda directory, record: directory.finish({"status": "done"}),
    "traceback": lambda directory, record: directory.explain(ValueError("none")),
    "description": lambda directory, record: directory.describe({}),
    "record": lambda directory, record: Metrics(directory.metrics, 0, directory.check),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_the_one_that_lost_writes_nothing(two, monkeypatch, deed):
    first, second = two
    with first.held():
        first.describe({"threads": 1})
        old = Metrics(first.metrics, 0, first.check)
        old.append({"step": 1})
        with take_over(first, second, monkeypatch):
            second.describe({"threads": 2})
            new = Metrics(second.metrics, 0, second.check)
            new.append({"step": 2})
            new.sync()
            before = {file.name: file.read_bytes() for file in first.path.iterdir()}
            with pytest.raises(Lost, match="was taken over by process .*@elsewhere since .* while this process stood"):
                DEEDS[deed](first, old)
            old._file.write(b"rows that come too late\n")
            old.close()
            assert {file.name: file.read_bytes() for file in first.path.iterdir()} == before
            second.finish({"status": "done", "reason": None, "steps": 2, "final": {}}, new.chain)
        new.close()
    assert state(first.path).status == "done" and summary(first.path)["metrics_bytes"] == len('{"step": 2}\n')


def test_the_number_only_grows(tmp_path):
    directory, numbers = RunDirectory(run_with(), tmp_path), []
    for _ in range(3):
        with directory.held():
            numbers.append(json.loads((directory.path / "holder.json").read_text())["number"])
            directory.describe({})
    assert numbers == [1, 2, 3]


def test_a_dead_holder_whose_clock_was_a_day_ahead_is_dead_after_a_minute(tmp_path, monkeypatch):
    directory = RunDirectory(run_with(), tmp_path)
    directory.path.mkdir(parents=True)
    holder = directory.path / "holder.json"
    holder.write_text(json.dumps({"pid": 1, "host": "elsewhere", "since": "then"}))
    ahead = time.time() + 86400
    os.utime(holder, (ahead, ahead))
    assert state(directory.path).status == "running"
    assert abs(holder.stat().st_mtime - time.time()) < 5
    monkeypatch.setattr(heartbeat, "file_system_time", lambda folder: time.time() + heartbeat.STALE + 1)
    with directory.held():
        pass
