"""Faults at random moments of a sweep, all drawn from one seed: kills, stops, a failing disk, jumping clocks.

World   the faults inside a process: its disk, its clock, and the name of its machine. It is installed in a launcher,
        and through the environment in every program that the launcher starts
Storm   one sweep under faults: two launchers at the same time, killed and stopped and started again with their workers,
        until so many faults are counted. Then an undisturbed sweep makes what is left

Every fault is a line of faults.log, whichever process it hits. This module imports the standard library only, as each
program of the sweep imports it at its start.
"""

from __future__ import annotations

import errno
import io
import json
import math
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

VARIABLE = "SOBENCH_TEST_WORLD"
STALE = 1.0
"""Seconds without a heartbeat after which a process on the other machine is believed to be dead, in a World."""
STOPS = (0.01, 0.1, 2 * STALE)
"""The longest times for which a process is stopped."""
ORPHANS = 30.0
"""Seconds after the death of the launchers in which their workers have to end."""
DAY = 86400.0


@dataclass(frozen=True)
class World:
    """The faults inside a process, and the machine that it believes to be on.

    disk, read, clock: the probability of a fault at each change of a file below `folder`, at each read of one, and at
    each look at the clock.
    log: the file of the faults. host: processes of one host see each other's locks, and not those of another.
    """

    seed: str
    folder: str
    log: str
    host: str = "a"
    disk: float = 0.0
    read: float = 0.0
    clock: float = 0.0

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which the programs that a process starts are in the same world."""
        site = Path(self.log).parent / "site"
        site.mkdir(exist_ok=True)
        (site / "sitecustomize.py").write_text("import deaths\ndeaths.World.of_environment()()\n")
        path = [str(site), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        return {VARIABLE: json.dumps(asdict(self)), "PYTHONPATH": os.pathsep.join(filter(None, path))}

    @classmethod
    def of_environment(cls) -> World:
        """The world of a program that a process of the sweep has started."""
        world = cls(**json.loads(os.environ[VARIABLE]))
        return replace(world, seed=f"{world.seed} {os.getpid()}")

    def __call__(self) -> None:
        """Install the faults in this process and those forked from it."""
        chance = random.Random(self.seed)
        os.register_at_fork(after_in_child=lambda: chance.seed(f"{self.seed} {os.getpid()}"))
        on_host(self.host, STALE)
        if self.disk or self.read:
            _Disk(self, chance).install()
        if self.clock:
            _Clock(self, chance).install()


def note(log: str | Path, kind: str, about: str = "") -> None:
    """Add a fault to the log, in one write, so that no process cuts the line of another."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, f"{kind}\t{os.getpid()}\t{about}\n".encode())
    os.close(file)


def on_host(name: str, stale: float) -> None:
    """Let this process believe to be on a machine of this name, which does not see the locks of others.

    It believes a process of another machine to be dead after `stale` seconds without a heartbeat.
    """
    import socket

    import filelock

    from sobench.execution import sweep
    from sobench.system import heartbeat

    true, locked = filelock.FileLock, heartbeat.locked
    here = lambda path: path.with_name(f"{path.name}-{name}") if Path(path).name == "lock" else path
    FileLock = lambda path, *args, **more: true(here(path), *args, **more)
    socket.gethostname = lambda: name
    heartbeat.HEARTBEAT, heartbeat.STALE = stale / 4, stale
    heartbeat.locked = lambda path: locked(here(path))
    filelock.FileLock = FileLock
    for module in [one for key, one in sys.modules.items() if key.startswith("sobench.")]:  # imported before
        for key, value in (("FileLock", FileLock), ("STALE", stale), ("locked", heartbeat.locked)):
            if key in vars(module):
                setattr(module, key, value)
    sweep.POLL = 0.02


class _Disk:
    """A disk that is full, or broken, at random operations on files below a folder."""

    WRITE = (*["short write"] * 6, "ENOSPC", "EIO")
    """What a write may meet, twice as often as another change. A short one writes a part of the data, and finds the
    disk full then. Opening, renaming and forcing to the disk meet ENOSPC and EIO."""

    def __init__(self, world: World, chance: random.Random):
        self.world, self.chance = world, chance

    def fault(self, path: Any, *kinds: str, operation: str) -> str | None:
        """The fault of this operation, logged; None for most."""
        probability = {"read": self.world.read, "write": 2 * self.world.disk}.get(operation, self.world.disk)
        if not self.concerns(path) or self.chance.random() >= probability:
            return None
        kind = self.chance.choice(kinds)
        note(self.world.log, kind, f"{operation} {path}")
        return kind

    def concerns(self, path: Any) -> bool:
        return isinstance(path, (str, os.PathLike)) and os.path.abspath(path).startswith(self.world.folder)

    def meet(self, path: Any, *kinds: str, operation: str) -> None:
        """Raises OSError if the operation meets a fault."""
        if kind := self.fault(path, *kinds, operation=operation):
            raise error(kind, path)

    def install(self) -> None:
        import builtins

        builtins.open = io.open = self.opening(io.open)
        os.open = self.opening_descriptor(os.open)
        os.fsync = self.fsync
        for name, kinds in OPERATIONS.items():
            setattr(os, name, self.failing(getattr(os, name), name, *kinds))

    def opening(self, true_open: Callable) -> Callable:
        disk = self

        class File(io.FileIO):
            def write(self, data: Any) -> int | None:
                kind = disk.fault(self.name, *disk.WRITE, operation="write")
                if kind == "short write":
                    super().write(memoryview(data).cast("B")[: memoryview(data).nbytes // 2])
                if kind:
                    raise error(kind, self.name)
                return super().write(data)

            def readinto(self, buffer: Any) -> int | None:
                disk.meet(self.name, READ, operation="read")
                return super().readinto(buffer)

            def readall(self) -> bytes:
                disk.meet(self.name, READ, operation="read")
                return super().readall()

        def open_(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
            if not disk.concerns(file):
                return true_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
            writes = set(mode) & set("wax+")
            if writes:
                disk.meet(file, "ENOSPC", operation="open")
            raw = File(os.fspath(file), mode.replace("b", "").replace("t", ""))
            if buffering == 0:
                return raw
            buffered = io.BufferedRandom if "+" in mode else io.BufferedWriter if writes else io.BufferedReader
            whole = buffered(raw)
            return whole if "b" in mode else io.TextIOWrapper(whole, encoding, errors, newline)

        return open_

    def opening_descriptor(self, true_open: Callable) -> Callable:
        """A lock, or a temporary file."""

        def open_(path, flags, *args, **more):
            if flags & os.O_CREAT:
                self.meet(path, "ENOSPC", "EIO", operation="open")
            return true_open(path, flags, *args, **more)

        return open_

    def fsync(self, file: int) -> None:
        """A process that dies loses nothing that the system has: the true fsync would only take time."""
        path = os.readlink(f"/proc/self/fd/{file}") if Path("/proc/self/fd").exists() else self.world.folder
        self.meet(path, "ENOSPC", "EIO", operation="fsync")

    def failing(self, true: Callable, operation: str, *kinds: str) -> Callable:
        def call(path, *args, **more):
            self.meet(path, *kinds, operation=operation)
            return true(path, *args, **more)

        return call


READ = "EIO on read"
OPERATIONS = {
    "replace": ("ENOSPC", "EIO"),
    "rename": ("ENOSPC", "EIO"),
    "mkdir": ("ENOSPC", "EIO"),
    "unlink": ("EIO",),
}
"""Functions of `os` that change a file, and what they may meet."""


def error(kind: str, path: Any) -> OSError:
    number = errno.EIO if kind in ("EIO", READ) else errno.ENOSPC
    return OSError(number, os.strerror(number), os.fspath(path))


class _Clock:
    """A clock that jumps by up to a day, in both directions. The monotonic clocks go on, as they do everywhere."""

    def __init__(self, world: World, chance: random.Random):
        self.world, self.chance, self.offset = world, chance, 0.0

    def install(self) -> None:
        true_time, true_utime = time.time, os.utime

        def now() -> float:
            if self.chance.random() < self.world.clock:
                self.offset = self.chance.uniform(-DAY, DAY)
                note(self.world.log, "clock", f"{self.offset:+.0f} s")
            return true_time() + self.offset

        def utime(path, times=None, **more):
            """A system stamps files with its own clock."""
            true_utime(path, times if times or more else (now(), now()), **more)

        time.time, os.utime = now, utime
        time.time_ns = lambda: int(now() * 1e9)


@dataclass
class Storm:
    """Start launchers of a sweep in `folder`, and disturb them until `faults` are counted or every run is over.

    command: the words of `sobench` that make the sweep. worlds: by turns, those of the launchers, with more words.
    """

    folder: Path
    command: list[str]
    seed: str
    faults: int
    worlds: list[tuple[Mapping[str, Any], list[str]]]
    pause: float = 0.2
    launchers: dict[Any, int] = field(default_factory=dict)
    stopped: dict[int, float] = field(default_factory=dict)
    started: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.chance = random.Random(self.seed)
        self.outside = self.folder.with_name(f"{self.folder.name}-outside")
        self.outside.mkdir()
        self.log = self.outside / "faults.log"
        self.log.touch()

    @property
    def counts(self) -> Counter[str]:
        return Counter(line.partition("\t")[0] for line in self.log.read_text().splitlines())

    def rage(self, seconds: float = 600) -> None:
        """Raises AssertionError if it is not over in time. Then too no process is left."""
        from harness import PATIENCE

        end = time.monotonic() + seconds * PATIENCE
        try:
            while self.counts.total() < self.faults and not self.over():
                assert time.monotonic() < end, self.described(f"not over after {seconds} s")
                self.launch()
                time.sleep(self.chance.uniform(0, self.pause))
                self.strike()
        finally:
            self.calm()

    def over(self) -> bool:
        """Whether a launcher has ended well: no run is left."""
        for one in [one for one in self.launchers if not one.is_alive()]:
            del self.launchers[one]
            if one.exitcode == 0:
                return True
            assert one.exitcode in (1, -signal.SIGKILL), self.described(f"a launcher ended with code {one.exitcode}")
        return False

    def launch(self) -> None:
        """Start the launcher of each world that has none."""
        from harness import process

        for place in set(range(len(self.worlds))) - set(self.launchers.values()):
            settings, words = self.worlds[place]
            world = World(f"{self.seed} {self.started}", str(self.folder / "runs"), str(self.log), **settings)
            variables = world.environment | {"SOBENCH_SLOTS": str(self.outside / f"slots-{world.host}"), **self.mark}
            one = process(*self.command, *words, folder=self.folder, prepare=world, **variables)
            self.launchers[one], self.started = place, self.started + 1

    @property
    def mark(self) -> dict[str, str]:
        """A variable of every program of the sweep."""
        return {"STORM_OF_TEST": str(self.folder)}

    def strike(self) -> None:
        """Kill or stop a launcher or a worker; let those go on that have been stopped for their time.

        The signals wait for the faults inside the processes: on a busy machine no process would get anywhere.
        """
        self.go_on(time.monotonic())
        counts, kinds = self.counts, list(SHARES)
        struck = {kind: sum(counts[f"{kind} of a {who}"] for who in WORKERS_FIRST) for kind in kinds}
        kinds = [kind for kind in kinds if struck[kind] <= SHARES[kind] * counts.total()]
        targets = self.targets()
        if not (kinds and targets):
            return
        kind = self.chance.choice(kinds)
        who = next(
            (who for who, share in WORKERS_FIRST.items() if who in targets and self.chance.random() < share), None
        )
        if who is None:
            return
        pid = self.chance.choice(sorted(targets[who]))
        if kind == "SIGSTOP" and pid in self.stopped:
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.Signals[kind])
            note(self.log, f"{kind} of a {who}", str(pid))
            if kind == "SIGSTOP":
                self.stopped[pid] = time.monotonic() + self.chance.choice(STOPS) * self.chance.random()

    def targets(self) -> dict[str, set[int]]:
        """The processes to strike, by what they are: where runs are made, and seldom any other, which only begins."""
        launchers, programs, makers = {one.pid for one in self.launchers}, {*self.marked()}, self.makers()
        workers = programs - launchers
        if self.chance.random() < 0.95:
            workers &= makers
            launchers = launchers if workers else launchers & makers
        return {who: pids for who, pids in (("launcher", launchers), ("worker", workers)) if pids}

    def go_on(self, now: float) -> None:
        for pid in [pid for pid, until in self.stopped.items() if until <= now]:
            del self.stopped[pid]
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def makers(self) -> set[int]:
        """The processes that hold a run. Some may have died."""
        found = set()
        for file in self.folder.glob("runs/*/*/holder.json"):
            with suppress(OSError, ValueError, KeyError, TypeError):
                found.add(int(json.loads(file.read_text())["pid"]))
        return found

    def marked(self) -> dict[int, str]:
        """The programs of the sweep that run, beside the launchers."""
        return marked("=".join(*self.mark.items()).encode())

    def calm(self) -> None:
        """Kill the launchers. Asserts that no process of theirs is left soon after."""
        from harness import PATIENCE

        self.go_on(math.inf)
        for one in self.launchers:
            if one.is_alive():
                one.kill()
                note(self.log, "SIGKILL of a launcher", str(one.pid))
            one.join()
        self.launchers.clear()
        end = time.monotonic() + ORPHANS * PATIENCE
        while (left := self.marked()) and time.monotonic() < end:
            time.sleep(0.05)
        assert not left, self.described(f"processes are left: {left}")

    @patch("sobench.system.heartbeat.STALE", 0)  # the processes on the other machines are dead
    def finish(self, quiet: Path, count: int) -> None:
        """Make what is left, and assert the runs in `quiet`, each once, and nothing else in the folder."""
        from harness import command, directories, result, summary

        runs = self.folder / "runs"
        last = command(*self.command, f"runs={runs}")
        assert last.code == 0, self.described(f"the last sweep ended with code {last.code}\n{last.out}\n{last.err}")
        names = [path.relative_to(quiet) for path in directories(quiet)]
        assert [path.relative_to(runs) for path in directories(runs)] == names, self.described("other runs")
        assert len(names) == count
        for name in names:
            assert summary(runs / name)["status"] == "done", self.described(f"{name} is not done")
            assert result(runs / name) == result(quiet / name), self.described(f"{name} has other results")
        assert not (runs / ".old").exists() or self.counts[READ], self.described("a run was put away")
        assert command("gc", "--yes", "--older-than=0.001s", f"runs={runs}").code == 0
        left = {
            str(file.relative_to(runs))
            for file in runs.rglob("*")
            if not file.is_dir() and file.relative_to(runs).parts[0] != ".cache"
        } - {str(name / file) for name in names for file in FILES}
        assert not left, self.described(f"files are left: {sorted(left)}")
        intact = command("verify", f"runs={runs}")
        assert intact.code == 0 and not intact.err, self.described(intact.out + intact.err)

    def described(self, what: str) -> str:
        """A failure in words, and how to repeat its faults: in the same order, but at moments of the machine."""
        log, settings = self.log.read_text().splitlines(), (self.seed, self.faults, self.worlds)
        lines = [
            f"fault {len(log)} of Storm(..., seed, faults, worlds={settings}): {what}",
            "the last faults:",
            *log[-30:],
        ]
        with suppress(OSError):
            lines += ["the output:", *(self.folder / "out.txt").read_text().splitlines()[-40:]]
        return "\n".join(lines)


SHARES = {"SIGSTOP": 0.25, "SIGKILL": 0.15}
"""Of all faults, the part that each signal has."""

WORKERS_FIRST = {"worker": 0.85, "launcher": 1.0}
"""In this order, the probability that one of them is struck. A launcher with workers takes long to start again."""

KINDS = (
    *("SIGKILL of a launcher", "SIGKILL of a worker", "SIGSTOP of a launcher", "SIGSTOP of a worker"),
    *("ENOSPC", "EIO", READ, "short write", "clock"),
)
"""The kinds of faults, as they stand in faults.log."""

FILES = ("config.yaml", "environment.json", "metrics.jsonl", "run.json", "summary.json", "lock", "lock-a", "lock-b")
"""The files of a run that is done."""


def marked(mark: bytes) -> dict[int, str]:
    """The programs that run with the marker, "NAME=value", in their environment, by process id."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark + b"\0" in (folder / "environ").read_bytes():
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # another user's, or it has ended
            continue
    return found
