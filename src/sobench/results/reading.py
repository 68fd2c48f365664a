"""Reads many run directories (`records`): from the cache where it is valid, by several processes if there is much to
read.

The helper processes are commands of their own: multiprocessing would import the user's main script again.
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

WORTH = 1 << 18  # bytes of metrics.jsonl without a valid record, from which a shard of the cache is rewritten
SHARED = 1 << 26  # the same of all shards, from which helper processes read them
HELPERS = 4  # at most, and one for each core

Task = tuple[str, int, list[str]]
"""Folder of the runs, shard, and names of the run directories in it: <cell>/<seed>."""
_HELP = "from sobench.results.reading import help_out; help_out()"


@interpreter.paused_gc()
def records(directories: Sequence[Path | str], wanted: Wanted = everything) -> list[Record]:
    """The record of each directory, in their order, with at least the wanted columns of its rows."""
    places = _places(directories)
    tasks: dict[tuple[str, int], list[str]] = {}
    for root, name in dict.fromkeys(places):
        tasks.setdefault((root, cache.shard_of(name)), []).append(name)
    looks = [look(root, shard, names, wanted) for (root, shard), names in tasks.items()]
    much = sum(one.size for one in looks) >= SHARED
    helped = _helped([one for one in looks if one.stale], wanted) if much else {}
    by_place: dict[tuple[str, str], Record] = {}
    for one in looks:
        root, shard, _ = one.task
        kept = helped[root, shard] if (root, shard) in helped else one.complete()
        for name, (_, record) in kept.items():
            by_place[root, name] = record
    return [by_place[place] for place in places]


def _places(directories: Sequence[Path | str]) -> list[tuple[str, str]]:
    """The folder of the runs and the name <cell>/<seed> of each directory."""
    split = [os.path.split(directory) for directory in directories]
    cells = {parent: os.path.split(os.path.abspath(parent)) for parent in {parent for parent, _ in split}}
    return [(cells[parent][0], f"{cells[parent][1]}/{seed}") for parent, seed in split]


@dataclass(frozen=True)
class Look:
    """The cached part of a task: its valid records (good), and the keys of the directories to be read (stale)."""

    task: Task
    good: Kept
    stale: dict[str, Key]

    @property
    def size(self) -> int:
        """Bytes of metrics.jsonl of the directories to be read."""
        return sum(map(cache.size, self.stale.values()))

    def complete(self) -> Kept:
        """All records of the task. The shard is rewritten if enough of it was read."""
        root, shard, names = self.task
        fresh = {name: (key, read(Path(root, name))) for name, key in self.stale.items()}
        lasting = {name: kept for name, kept in fresh.items() if cache.lasting(*kept)}
        if sum(cache.size(key) for key, _ in lasting.values()) >= WORTH:
            cache.save(root, shard, self._still() | lasting)
        return self.good | fresh

    def _still(self) -> Kept:
        """The records of the shard that remain valid, with all columns."""
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
    """The results of the tasks that helper processes completed; tasks of a helper that died are missing."""
    count = min(HELPERS, len(cores()))
    if count < 2:
        return {}
    parts = [[one.task for one in looks[i::count]] for i in range(count)]
    results: dict[tuple[str, int], Kept] = {}
    with ThreadPoolExecutor(count) as pool:
        for done in pool.map(lambda tasks: dict(_ask(tasks, wanted)), parts):
            results |= done
    return results


def _ask(tasks: list[Task], wanted: Wanted) -> Iterator[tuple[tuple[str, int], Kept]]:
    """The records of the tasks from a helper process, by (folder, shard)."""
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
            assert helper.stdin is not None and helper.stdout is not None  # pipes
            with helper.stdin as pipe:
                pipe.write(json.dumps(tasks).encode())
            for root, shard, _ in tasks:
                data = helper.stdout.read(int.from_bytes(helper.stdout.read(8), "big"))
                yield (root, shard), unpack(io.BytesIO(data), cache.CODE, wanted)
        except Exception:  # it was killed or has no memory: this process does the rest
            return


@interpreter.paused_gc()
def help_out() -> None:
    """The helper process: reads tasks from standard input, writes their records, each after its length (8 bytes)."""
    for task in json.load(sys.stdin):
        data = pack(look(*task).complete(), cache.CODE)
        sys.stdout.buffer.write(len(data).to_bytes(8, "big") + data)
