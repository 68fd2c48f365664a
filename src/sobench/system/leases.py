"""Leases on the CPU cores and GPUs of one machine, shared by all sweeps and processes on it.

The slots are lock files in a folder:

    <slots>/allocation      held for an instant by the process that looks for free slots, which takes all or nothing
    <slots>/cpu-3           a core
    <slots>/gpu-1f0c22ab.0  the first run on a GPU; .1 the second
    <slots>/cpu-3.json      the holder: pid, host, run, since, and its share; the time stamp is a heartbeat

The kernel frees a lock at once when its holder is killed, whatever the JSON file beside it says. Nothing is pinned:
runs do not disturb each other because the leases add up to no more than the machine has.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from sobench.errors import Failure, UsageError
from sobench.system import devices, environment, stopping
from sobench.system.files import parse_json
from sobench.system.heartbeat import STALE, beating, locked, who

POLL = 0.2
"""Seconds between two looks for free slots."""
_named: set[tuple[Any, Any]] = set()
"""The processes, by pid and host, of which this one has said that it starts beside them."""


@dataclass(frozen=True)
class ResourceRequest:
    """The cores that a run needs, and its share of one of the GPUs with these indices.

    Without a GPU the run needs all of its cores. With one it takes a core if one is free, and does not wait for it.
    waits: whether it waits until cores are free; for a GPU a run always waits.
    """

    device: str
    threads: int | None
    cores: int
    gpus: tuple[int, ...] = ()
    share: float = 1.0
    waits: bool = True

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> ResourceRequest:
        """The request of a run's configuration. Raises UsageError for more than the machine has."""
        device, threads, cores = config["device"], config["threads"], len(devices.units("cpu"))
        waits = stopping.in_sweep() if config["wait"] == "auto" else config["wait"]
        if threads and threads > cores:
            raise UsageError(
                f"threads: got {threads}, this machine has {_plural(cores)}; allowed: 1 to {cores}, or null"
            )
        if torch.get_num_threads() > cores:  # OMP_NUM_THREADS asks for more
            threads = threads or cores
        if device == "cpu":
            return cls(device, threads, threads or torch.get_num_threads(), waits=waits)
        count, index = len(devices.units("gpu")), device.partition(":")[2]
        if int(index or 0) >= count:
            raise environment.no_such_device(device, count)
        gpus = (int(index),) if index else tuple(range(count))
        return cls(device, threads, 1, gpus, 1 / round(1 / config["gpu"]["per_run"]))

    def __str__(self) -> str:
        """ "2 cores", "a GPU (0.33 of it)", "cuda:1" """
        if not self.gpus:
            return _plural(self.cores)
        part = f" ({self.share:.2g} of it)" if self.share < 1 else ""
        return (self.device if ":" in self.device else "a GPU") + part

    @property
    def files(self) -> list[str]:
        """The patterns of the slots that satisfy the request, one a GPU."""
        return [f"{_prefix(index)}*[0-9]" for index in self.gpus] or ["cpu-*[0-9]"]


@dataclass
class Lease:
    """The device and the number of threads (None: torch's own choice) of a run, while it holds the slots.

    shared: other processes compute on its GPU, or did during the run.
    """

    device: str
    threads: int | None
    shared: bool = False
    slots: list[Slot] = field(default_factory=list)

    def placed(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A run's configuration with the device and threads of this lease; the identity of the run does not change."""
        return {
            **config,
            "device": self.device,
            "threads": self.threads,
            "gpu": {**config["gpu"], "shared": self.shared},
        }


@contextmanager
def leased(config: Mapping[str, Any], name: str, say: Callable[[str], None]) -> Iterator[Lease]:
    """A lease on what a run of this configuration needs, for the time of the context.

    Waits until it is free, or starts beside the runs that have the cores where the request does not wait; `say` gets
    one line that names the holders. Of the runs of a sweep, the first that starts beside the same processes says so.
    name: the run, for that line in other processes.
    Raises UsageError for more than the machine has, Failure if the folder `slots` cannot be written, Stopped where the
    run was asked to stop while it waited.
    """
    request, folder = ResourceRequest.of(config), folder_at(config["slots"])
    about = {**who(), "run": name}
    try:
        lease = _wait(folder, request, about, say)
    except OSError as error:
        raise Failure(f"slots: cannot write {error.filename or folder}: {error.strerror or error}") from error
    try:
        lease.shared = request.share < 1 or is_shared(lease)
        with beating(*(slot.note for slot in lease.slots)):
            yield lease
        lease.shared = lease.shared or is_shared(lease)
    finally:
        for slot in lease.slots:
            slot.release()


def _wait(folder: Path, request: ResourceRequest, about: Mapping[str, Any], say: Callable[[str], None]) -> Lease:
    announced = False
    while True:
        with FileLock(folder / "allocation"):
            if lease := _take(folder, request, about):
                return lease
            held = holders(folder, request.files)
            if not (request.gpus or request.waits):
                if _are_new(held):
                    beside = described(held)
                    say(f"starting on a busy machine, so its times may count as contended ({beside}); wait=true waits")
                return Lease(request.device, request.threads, slots=_take_cores(folder, request.cores, about))
        if not announced:
            say(f"waiting for {request}: {described(held)}")
            announced = True
        if by := stopping.asked():
            raise stopping.Stopped(by)
        time.sleep(POLL)


def _are_new(held: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether any of the holders' processes has not been named yet; now all are."""
    processes = {(about.get("pid"), about.get("host")) for about in held.values()}
    new = processes - _named
    _named.update(new)
    return bool(new)


def _take(folder: Path, request: ResourceRequest, about: Mapping[str, Any]) -> Lease | None:
    """All that is requested, or nothing.

    The caller holds the lock `allocation`, so that no two processes wait for each other.
    """
    if not request.gpus:
        slots = _take_cores(folder, request.cores, about)
        if len(slots) == request.cores:
            return Lease(request.device, request.threads, slots=slots)
        for slot in slots:
            slot.release()
        return None
    used = {index: _used(folder, pattern) for index, pattern in zip(request.gpus, request.files, strict=True)}
    index = min(used, key=lambda gpu: used[gpu])
    if used[index] + request.share > 1 + 1e-9:
        return None
    gpu = _take_part(folder, index, {**about, "device": f"cuda:{index}", "share": request.share})
    return Lease(f"cuda:{index}", request.threads, slots=[gpu, *_take_cores(folder, request.cores, about)])


def _take_cores(folder: Path, count: int, about: Mapping[str, Any]) -> list[Slot]:
    """The free cores, at most `count`."""
    taken = []
    for name in devices.units("cpu"):
        if len(taken) == count:
            break
        slot = Slot(folder / f"cpu-{name}")
        if slot.take({**about, "share": 1.0}):
            taken.append(slot)
    return taken


def _take_part(folder: Path, gpu: int, about: Mapping[str, Any]) -> Slot:
    """The first free slot of a GPU."""
    place = 0
    while not (slot := Slot(folder / f"{_prefix(gpu)}{place}")).take(about):
        place += 1
    return slot


def _used(folder: Path, pattern: str) -> float:
    """The part of a GPU that is leased. A holder whose share is unknown counts as one with all of it."""
    return sum(about.get("share", 1.0) for about in holders(folder, [pattern]).values())


def is_shared(lease: Lease) -> bool:
    """Whether another process computes on the lease's GPU now, whether a run of sobench or not."""
    index = lease.device.partition(":")[2]
    return bool(index and devices.other_processes_on(devices.units("gpu")[int(index)]))


def _prefix(gpu: int) -> str:
    return f"gpu-{devices.units('gpu')[gpu]}."


def _plural(cores: int) -> str:
    return f"{cores} core{'' if cores == 1 else 's'}"


class Slot:
    """One slot: the lock file `path`, and beside it `note`, a JSON file about the holder."""

    def __init__(self, path: Path):
        self.note = path.with_name(f"{path.name}.json")
        self._path, self._lock = path, FileLock(path)

    def take(self, about: Mapping[str, Any]) -> bool:
        """Lock the slot and write `about` into its note; False if another process holds it."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        self.note.write_text(json.dumps(about) + "\n")
        return True

    def release(self) -> None:
        self.note.unlink(missing_ok=True)
        self._lock.release()

    def holder(self) -> dict[str, Any] | None:
        """The note of the holder, {} where it cannot be read; None if the slot is free."""
        if not locked(self._path):
            return None
        try:
            about = parse_json(self.note.read_text())
        except (OSError, ValueError):
            return {}
        return about if isinstance(about, dict) else {}


def holders(folder: Path, patterns: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The notes of the slots that are held and match any of the patterns, by the name of the slot."""
    slots = {path.name: Slot(path).holder() for pattern in patterns for path in sorted(folder.glob(pattern))}
    return {name: about for name, about in slots.items() if about is not None}


def cores_of_others(setting: str | None, name: str) -> int:
    """The number of cores that runs other than `name` have leased now; 0 where no leases can be read.

    It reads the notes and touches no lock, so that it never keeps another process from a slot.
    """
    count = 0
    try:
        notes = list(folder_at(setting).glob("cpu-*.json"))
    except Failure:
        return 0
    for note in notes:
        with suppress(OSError, ValueError):  # it was released, or is being written
            fresh = time.time() - note.stat().st_mtime < STALE
            count += fresh and parse_json(note.read_bytes()).get("run") != name
    return count


def described(held: Mapping[str, Mapping[str, Any]]) -> str:
    """ "process 71 on here has cpu-0, cpu-1 (digits_mlp_sgd_0a1b/seed-0, since 2026-01-31T10:00:00+0000)" """
    slots_of: dict[tuple[str, str], list[str]] = {}
    for name, about in held.items():
        known = {"pid", "host"} <= about.keys()
        process = f"process {about['pid']} on {about['host']}" if known else "another process"
        run = f" ({about['run']}, since {about['since']})" if {"run", "since"} <= about.keys() else ""
        slots_of.setdefault((process, run), []).append(name)
    return "; ".join(f"{process} has {', '.join(names)}{run}" for (process, run), names in slots_of.items())


def folder_at(setting: str | None) -> Path:
    """The folder of the slots, created if it is missing: the setting's, else one of this user in the temporary folder.

    Raises Failure if it cannot be used.
    """
    folder = Path(setting or Path(tempfile.gettempdir()) / f"sobench-slots-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if setting is None and folder.stat().st_uid != os.getuid():
            raise Failure(f"slots: {folder} belongs to another user; set slots (SOBENCH_SLOTS) to a folder of yours")
    except OSError as error:
        raise Failure(f"slots: cannot write {folder}: {error.strerror or error}") from error
    return folder
