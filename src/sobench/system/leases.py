"""Leases on what one machine computes with, its cores and its GPUs, shared by every sweep and every process on it.

    <slots>/allocation      held for an instant by whoever looks for free slots and takes them: all that it wants, or none
    <slots>/cpu-3           a core
    <slots>/gpu-1f0c22ab.0  the first run on a GPU; .1 the second
    <slots>/cpu-3.json      who has it: pid, host, run, since, and its share of the unit; the time stamp is a heartbeat

Nothing is pinned: runs keep out of each other's way because the leases add up to no more than there is.

The files behind `sobench.system.leases`: one a slot, locked by its holder, and beside it a line that says who that is.

A lock is the kernel's: it is free at once when its holder is killed, whatever the line beside it still says. No torch.
"""

from __future__ import annotations

import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from sobench.errors import Failure, UsageError
from sobench.system import devices, environment, stopping
from sobench.system.heartbeat import beating, locked, who

POLL = 0.2  # seconds between two looks for free slots


@dataclass
class Lease:
    """Where a run trains, and with how many threads (None: torch's own choice). shared: others compute on its GPU, or did."""

    device: str
    threads: int | None
    shared: bool = False
    slots: list[Slot] = field(default_factory=list)

    def placed(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A run's configuration with the device and threads of this lease; what identifies the run stays as it was."""
        return {
            **config,
            "device": self.device,
            "threads": self.threads,
            "gpu": {**config["gpu"], "shared": self.shared},
        }


@dataclass(frozen=True)
class Wish:
    """What a run asks for: cores, and a share of one of the GPUs of these indices. Without a GPU it needs all of its cores;
    with one it takes a core if one is free, and does not wait for it."""

    device: str
    threads: int | None
    cores: int
    gpus: tuple[int, ...] = ()
    share: float = 1.0

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Wish:
        """Raises UsageError for more than the machine has."""
        device, threads, cores = config["device"], config["threads"], len(devices.units("cpu"))
        if threads and threads > cores:
            raise UsageError(
                f"threads: got {threads}, this machine has {_plural(cores)}; allowed: 1 to {cores}, or null"
            )
        if torch.get_num_threads() > cores:  # OMP_NUM_THREADS asks for more
            threads = threads or cores
        if device == "cpu":
            return cls(device, threads, threads or torch.get_num_threads())
        count, index = len(devices.units("gpu")), device.partition(":")[2]
        if int(index or 0) >= count:
            raise environment.no_such_device(device, count)
        gpus = (int(index),) if index else tuple(range(count))
        return cls(device, threads, 1, gpus, 1 / round(1 / config["gpu"]["per_run"]))

    def __str__(self) -> str:
        part = f" ({self.share:.2g} of it)" if self.share < 1 else ""
        return (self.device if ":" in self.device else "a GPU") + part if self.gpus else _plural(self.cores)

    @property
    def files(self) -> list[str]:
        """Patterns of the slots that would do."""
        return [f"{_prefix(index)}*[0-9]" for index in self.gpus] or ["cpu-*[0-9]"]


@contextmanager
def leased(config: Mapping[str, Any], name: str, say: Callable[[str], None]) -> Iterator[Lease]:
    """What a run of this configuration asks for, as long as the context lasts; waits until it is free, and says once for whom.

    Raises UsageError for what the machine does not have, Failure if the folder `slots` cannot be written.
    """
    wish, folder = Wish.of(config), folder_at(config["slots"])
    about = {**who(), "run": name}
    try:
        lease = _wait(folder, wish, about, say)
    except OSError as error:
        raise Failure(f"slots: cannot write {error.filename or folder}: {error.strerror or error}") from error
    try:
        lease.shared = wish.share < 1 or _crowded(lease)
        with beating(*(slot.note for slot in lease.slots)):
            yield lease
        lease.shared = lease.shared or _crowded(lease)
    finally:
        for slot in lease.slots:
            slot.give_back()


def _wait(folder: Path, wish: Wish, about: Mapping[str, Any], say: Callable[[str], None]) -> Lease:
    said = False
    while True:
        with FileLock(folder / "allocation"):
            if lease := _take(folder, wish, about):
                return lease
            held = holders(folder, wish.files)
        if not said:
            say(f"waiting for {wish}: {described(held)}")
            said = True
        if by := stopping.asked():
            raise stopping.Stopped(by)
        time.sleep(POLL)


def _take(folder: Path, wish: Wish, about: Mapping[str, Any]) -> Lease | None:
    """All that is wished for, or nothing. Who calls it holds the allocation, and so no two wait for each other."""
    if not wish.gpus:
        slots = _take_cores(folder, wish.cores, about)
        if len(slots) == wish.cores:
            return Lease(wish.device, wish.threads, slots=slots)
        for slot in slots:
            slot.give_back()
        return None
    taken = {index: _taken(folder, pattern) for index, pattern in zip(wish.gpus, wish.files, strict=True)}
    index = min(taken, key=taken.get)
    if taken[index] + wish.share > 1 + 1e-9:
        return None
    slots = (Slot(folder / f"{_prefix(index)}{place}") for place in itertools.count())
    slot = next(slot for slot in slots if slot.take({**about, "device": f"cuda:{index}", "share": wish.share}))
    return Lease(f"cuda:{index}", wish.threads, slots=[slot, *_take_cores(folder, wish.cores, about)])


def _take_cores(folder: Path, count: int, about: Mapping[str, Any]) -> list[Slot]:
    """As many cores as are free, and no more than `count`."""
    slots = (Slot(folder / f"cpu-{name}") for name in devices.units("cpu"))
    return list(itertools.islice((slot for slot in slots if slot.take({**about, "share": 1.0})), count))


def _taken(folder: Path, pattern: str) -> float:
    """How much of a GPU is leased; who does not say how much has all of it."""
    return sum(about.get("share", 1.0) for about in holders(folder, [pattern]).values())


def _crowded(lease: Lease) -> bool:
    """Whether another process computes on the lease's GPU now, one of ours or not."""
    index = lease.device.partition(":")[2]
    return bool(index and devices.strangers(devices.units("gpu")[int(index)]))


def _prefix(gpu: int) -> str:
    return f"gpu-{devices.units('gpu')[gpu]}."


def _plural(cores: int) -> str:
    return f"{cores} core{'' if cores == 1 else 's'}"


class Slot:
    """One slot, <folder>/<name>: `take` it, `give_back`."""

    def __init__(self, path: Path):
        self.note = path.with_name(f"{path.name}.json")
        self._path, self._lock = path, FileLock(path)

    def take(self, about: Mapping[str, Any]) -> bool:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        self.note.write_text(json.dumps(about) + "\n")
        return True

    def give_back(self) -> None:
        self.note.unlink(missing_ok=True)
        self._lock.release()

    def holder(self) -> dict[str, Any] | None:
        """What its holder says of itself ({}: nothing that can be read); None if it is free."""
        if not locked(self._path):
            return None
        try:
            found = json.loads(self.note.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def holders(folder: Path, patterns: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Those slots that are held, of the files that fit any of the patterns, by name: what their holders say."""
    slots = {path.name: Slot(path).holder() for pattern in patterns for path in sorted(folder.glob(pattern))}
    return {name: about for name, about in slots.items() if about is not None}


def described(held: Mapping[str, Mapping[str, Any]]) -> str:
    """ "process 71 on here has cpu-0, cpu-1 (digits_mlp_sgd_0a1b/seed-0, since 2026-01-31T10:00:00+0000)" """
    names: dict[str, list[str]] = {}
    for name, about in held.items():
        says = f"process {about['pid']} on {about['host']}" if {"pid", "host"} <= about.keys() else "another process"
        run = f" ({about['run']}, since {about['since']})" if {"run", "since"} <= about.keys() else ""
        names.setdefault(f"{says} has {{}}{run}", []).append(name)
    return "; ".join(text.format(", ".join(of)) for text, of in names.items())


def folder_at(setting: str | None) -> Path:
    """The folder of the slots, made if it is not there: the setting's, or this user's own among the temporary files. Raises
    Failure if it cannot be used."""
    folder = Path(setting or Path(tempfile.gettempdir()) / f"sobench-slots-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if setting is None and folder.stat().st_uid != os.getuid():
            raise Failure(f"slots: {folder} belongs to another user; set slots (SOBENCH_SLOTS) to a folder of yours")
    except OSError as error:
        raise Failure(f"slots: cannot write {folder}: {error.strerror or error}") from error
    return folder
