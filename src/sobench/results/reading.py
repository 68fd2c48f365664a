"""`records`: what many run directories hold: from the cache where it holds, read by several processes where it is much.

The helpers are commands of their own, and not of multiprocessing, which would run a user's script once more.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sobench.results import cache
from sobench.results.packing import Kept, Key, pack, unpack
from sobench.results.record import Record, Wanted, everything, read
from sobench.system import interpreter
from sobench.system.devices import cores

WORTH = 1 << 18  # bytes of metrics.jsonl read anew: from there on a shard of the cache is written again
SHARED = 1 << 26  # and of all shards: from there on helpers read them
HELPERS = 4  # at most, and one a core

Task = tuple[str, int, list[str]]
"""Folder of the runs, shard, names of run directories in it: <cell>/<seed>."""
_HELP = "from sobench.results.reading import help_out; help_out()"


@interpreter.paused_gc()
def records(directories: Sequence[Path | str], wanted: Wanted = everything) -> list[Record]:
    """The record of each directory, in their order; of its rows at least the columns that are wanted."""
    places = _places(directories)
    tasks: dict[tuple[str, int], list[str]] = {}
    for root, name in dict.fromkeys(places):
        tasks.setdefault((root, cache.shard_of(name)), []).append(name)
    looks = [look(root, shard, names, wanted) for (root, shard), names in tasks.items()]
    much = sum(found.size for found in looks) >= SHARED
    helped = _helped([found for found in looks if found.stale], wanted) if much else {}
    found: dict[tuple[str, str], Record] = {}
    for seen in looks:
        root, shard, _ = seen.task
        fresh = helped[root, shard] if (root, shard) in helped else seen.complete()
        found |= {(root, name): record for name, (_, record) in fresh.items()}
    return [found[place] for place in places]


def _places(directories: Sequence[Path | str]) -> list[tuple[str, str]]:
    """(folder of the runs, name) of each."""
    split = [os.path.split(directory) for directory in directories]
    cells = {parent: os.path.split(os.path.abspath(parent)) for parent in {parent for parent, _ in split}}
    return [(cells[parent][0], f"{cells[parent][1]}/{seed}") for parent, seed in split]


@dataclass(frozen=True)
class Look:
    """What the cache has for a task. good: the kept records that hold; stale: the keys of the directories to be read; size:
    bytes of their metrics.jsonl."""

    task: Task
    good: Kept
    stale: dict[str, Key]

    @property
    def size(self) -> int:
        return sum(map(cache.size, self.stale.values()))

    def complete(self) -> Kept:
        """All records of the task; the shard is written again where that is worth it."""
        root, shard, names = self.task
        fresh = {name: (key, read(Path(root, name))) for name, key in self.stale.items()}
        lasting = {name: kept for name, kept in fresh.items() if cache.lasting(*kept)}
        if sum(cache.size(key) for key, _ in lasting.values()) >= WORTH:
            cache.save(root, shard, self._still() | lasting)
        return self.good | fresh

    def _still(self) -> Kept:
        """What the shard has that still holds, with all columns."""
        root, shard, names = self.task
        gone = {name for name in names if name not in self.good}
        return {
            name: kept
            for name, kept in cache.load(root, shard).items()
            if name not in gone and os.path.isdir(f"{root}/{name}")
        }


def look(root: str, shard: int, names: list[str], wanted: Wanted = everything) -> Look:
    kept = cache.load(root, shard, wanted)
    keys = {name: cache.key(f"{root}/{name}") for name in names}
    good = {name: kept[name] for name in names if name in kept and kept[name][0] == keys[name]}
    return Look((root, shard, names), good, {name: keys[name] for name in names if name not in good})


def _helped(looks: list[Look], wanted: Wanted) -> dict[tuple[str, int], Kept]:
    """The tasks that helpers have done; all that one did not come to before it ended are left out."""
    count = min(HELPERS, len(cores()))
    if count < 2:
        return {}
    parts = [[found.task for found in looks[i::count]] for i in range(count)]
    with ThreadPoolExecutor(count) as pool:
        return {
            place: kept for done in pool.map(lambda tasks: list(_ask(tasks, wanted)), parts) for place, kept in done
        }


def _ask(tasks: list[Task], wanted: Wanted) -> Iterator[tuple[tuple[str, int], Kept]]:
    """Have a helper do the tasks: (folder, shard), records."""
    here = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))}
    with subprocess.Popen(
        [sys.executable, "-P", "-c", _HELP],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as helper:
        try:
            with helper.stdin as words:
                words.write(json.dumps(tasks).encode())
            for root, shard, _ in tasks:
                data = helper.stdout.read(int.from_bytes(helper.stdout.read(8), "big"))
                yield (root, shard), unpack(io.BytesIO(data), cache.CODE, wanted)
        except Exception:  # it was killed, it has no memory: what it left undone is done here
            return


@interpreter.paused_gc()
def help_out() -> None:
    """In a helper: tasks from standard input, their records to standard output, each behind its length in 8 bytes."""
    for task in json.load(sys.stdin):
        data = pack(look(*task).complete(), cache.CODE)
        sys.stdout.buffer.write(len(data).to_bytes(8, "big") + data)
