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
        kept = helped[root, shard] if (root, shard) in helped else one.good | one.fill()[0]
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

    def fill(self) -> tuple[Kept, Kept]:
        """The records of the stale directories, and those of them that the cache does not hold.

        The shard is rewritten if enough of it was read.
        """
        root, shard, _ = self.task
        fresh = {name: (key, read(f"{root}/{name}")) for name, key in self.stale.items()}
        lasting = {name: kept for name, kept in fresh.items() if cache.lasting(*kept)}
        much = sum(cache.size(key) for key, _ in lasting.values()) >= WORTH
        if much and cache.save(root, shard, self._still() | lasting):
            return fresh, {name: kept for name, kept in fresh.items() if name not in lasting}
        return fresh, fresh

    def cached(self, wanted: Wanted) -> Kept:
        """The records of the stale directories that the cache holds by now."""
        root, shard, _ = self.task
        return _valid(cache.load(root, shard, wanted), self.stale)

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
    good = _valid(kept, keys)
    return Look((root, shard, names), good, {name: key for name, key in keys.items() if name not in good})


def _valid(kept: Kept, keys: dict[str, Key]) -> Kept:
    """The cached records whose directories have these keys."""
    return {name: kept[name] for name, key in keys.items() if name in kept and kept[name][0] == key}


def _helped(looks: list[Look], wanted: Wanted) -> dict[tuple[str, int], Kept]:
    """The results of the tasks that helper processes completed; tasks of a helper that died are missing."""
    count = min(HELPERS, len(cores()))
    if count < 2:
        return {}
    parts = [looks[i::count] for i in range(count)]
    results: dict[tuple[str, int], Kept] = {}
    with ThreadPoolExecutor(count) as pool:
        for done in pool.map(lambda part: dict(_ask(part, wanted)), parts):
            results |= done
    return results


def _ask(looks: list[Look], wanted: Wanted) -> Iterator[tuple[tuple[str, int], Kept]]:
    """The records of the tasks that a helper process read, by (folder, shard): from the cache, or from the helper."""
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
                pipe.write(json.dumps([one.task for one in looks]).encode())
            for one in looks:
                data = helper.stdout.read(int.from_bytes(helper.stdout.read(8), "big"))
                fresh = one.cached(wanted) | unpack(io.BytesIO(data), cache.CODE, wanted)
                if fresh.keys() >= one.stale.keys():  # else another process has replaced the file since
                    yield one.task[:2], one.good | fresh
        except Exception:  # it was killed or has no memory: this process does the rest
            return


@interpreter.paused_gc()
def help_out() -> None:
    """The helper process: reads tasks from standard input and fills the cache. For each task it writes the records that
    the cache does not hold, after their length (8 bytes)."""
    for task in json.load(sys.stdin):
        _, rest = look(*task).fill()
        data = pack(rest, cache.CODE)
        sys.stdout.buffer.write(len(data).to_bytes(8, "big") + data)
