"""A sweep whose processes are killed and whose files are cut gives the results of an undisturbed one, bit for bit.

Two launchers compete for the same runs. Workers and launchers are killed at random moments, and launchers are started
again; files are cut; the disk is full for a while. Every run must end finished, once.
"""

import json
import os
import random
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from harness import command, directories, output, process, result, summary

METHODS = ("sgd", "adam", "adagrad", "hf_gauss_newton")


def words(seeds: int, steps: int, *more: str) -> list[str]:
    return [
        "run",
        "-m",
        f"optimizer={','.join(METHODS)}",
        f"seed=range({seeds})",
        "model.widths=[4]",
        "threads=1",
        "progress=false",
        "log.every=1",
        "checkpoint.seconds=0",
        "budget.epochs=null",
        f"budget.steps={steps}",
        *more,
    ]


@dataclass
class Storm:
    """Start launchers in `folder` and kill processes there until enough were killed. One more launcher, which nobody
    kills, then makes what is left.
    """

    folder: Path
    command: list[str]
    kills: int
    pause: float
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    launchers: list = field(default_factory=list)
    last: bool = False
    counts: dict[str, int] = field(default_factory=lambda: {"workers": 0, "launchers": 0, "cut files": 0})

    def rage(self, seconds: float = 600) -> None:
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            self.launchers = [one for one in self.launchers if one.is_alive()]
            if self.over():
                return
            while len(self.launchers) < 2 and not self.last:
                self.launchers.append(process(*self.command, folder=self.folder))
                self.last = self.killed >= self.kills
            time.sleep(self.chance.uniform(0, self.pause))
            self.strike()
        raise AssertionError(f"not over after {seconds} s: {self.counts}\n{output(self.folder)[-2000:]}")

    def over(self) -> bool:
        return self.last and not self.launchers

    @property
    def killed(self) -> int:
        return self.counts["workers"] + self.counts["launchers"]

    def strike(self) -> None:
        """Kill a worker, sometimes a launcher, and sometimes cut a file of a run that no process is running."""
        if self.killed >= self.kills:
            return
        if self.chance.random() < 0.2:
            self.cut()
        holders = list(self.folder.glob("runs/*/*/holder.json"))
        if holders and self.chance.random() < 0.8:
            self.kill(_pid(self.chance.choice(holders)))
        elif self.launchers and self.chance.random() < 0.5:
            self.kill(self.chance.choice(self.launchers).pid)

    def kill(self, pid: int | None) -> None:
        own = {one.pid for one in self.launchers}
        try:
            os.kill(pid, 9)
        except (TypeError, ProcessLookupError):
            return
        self.counts["launchers" if pid in own else "workers"] += 1

    def cut(self) -> None:
        """Cut the end off a checkpoint or a record of an interrupted run."""
        from sobench.results.state import state

        idle = [path for path in directories(self.folder / "runs") if state(path).status == "interrupted"]
        files = [
            file
            for path in idle
            for name in ("checkpoint.pt", "metrics.jsonl", "run.json")
            if (file := path / name).exists()
        ]
        if files:
            file = self.chance.choice(files)
            os.truncate(file, file.stat().st_size // 2)
            self.counts["cut files"] += 1


def _pid(holder: Path) -> int | None:
    try:
        return json.loads(holder.read_text())["pid"]
    except (OSError, ValueError):
        return None


def same(one: Path, other: Path, count: int) -> None:
    """Assert the same runs in both folders, each once, finished, with the same record."""
    names = [path.relative_to(one) for path in directories(one)]
    assert names == [path.relative_to(other) for path in directories(other)] and len(names) == count
    for name in names:
        assert summary(other / name)["status"] == "done", name
        assert result(one / name) == result(other / name), name
        assert not list((other / name).glob(".*")) and not (other / name / "checkpoint.pt").exists()


@pytest.mark.slow
def test_two_sweeps_under_fire(workplace, tmp_path, capsys):
    """The short form: two launchers that make their runs in their own process, killed eight times.

    Every time, test_deaths kills and stops two such launchers among other faults.
    """
    sweep = words(2, 40)
    assert command(*sweep, f"runs={tmp_path}/quiet").code == 0
    storm = Storm(workplace, sweep, kills=8, pause=0.3)
    storm.rage(120)
    with capsys.disabled():
        print(f" [killed {storm.killed}: {storm.counts}] ", end="")
    assert command(*sweep).out == "8 runs: 8 done; nothing to do\n"
    same(tmp_path / "quiet", workplace / "runs", 8)


@pytest.fixture
def small_disk(workplace):
    """Mounts runs/ as a file system with room for a few files; returns a function that gives it more."""
    folder = workplace / "runs"
    folder.mkdir()
    if (
        not shutil.which("mount")
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", folder], capture_output=True).returncode
    ):
        pytest.skip("a small file system cannot be mounted here")
    yield lambda: subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_is_full_for_a_while(workplace, tmp_path, small_disk):
    """A run that finds no room fails alone and is named; it is made when there is room."""
    sweep = words(2, 10)
    assert command(*sweep, f"runs={tmp_path}/quiet").code == 0
    full = command(*sweep)
    assert full.code == 1 and "No space left on device" in full.out + full.err and "Traceback" not in full.err
    assert full.out.splitlines()[-1].startswith("8 runs: ")
    small_disk()
    assert command(*sweep).code == 0
    same(tmp_path / "quiet", workplace / "runs", 8)


@pytest.mark.slow
def test_a_night_of_it(workplace, tmp_path, capsys):
    """The full form: 24 runs, two launchers with two joblib workers each, 30 kills or more, files cut."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    sweep = words(6, 400)
    assert command(*sweep, f"runs={tmp_path}/quiet").code == 0
    storm = Storm(workplace, [*sweep, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], kills=30, pause=4.0)
    storm.rage(3000)
    with capsys.disabled():
        print(f" [killed {storm.killed}: {storm.counts}] ", end="")
    assert storm.counts["workers"] and storm.counts["launchers"]
    assert command(*sweep).out == "24 runs: 24 done; nothing to do\n"
    same(tmp_path / "quiet", workplace / "runs", 24)
