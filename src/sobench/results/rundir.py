"""The directory of one run: who holds it, what is written to it and how it survives being cut off. No torch.

Whole files are written beside their place and moved there, so a reader sees the old one or the new one. metrics.jsonl alone
grows in place: a checkpoint remembers how long it was, and a resumed run cuts it back to that length.
"""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sobench.config.run import Run
from sobench.errors import Failure
from sobench.results.state import FINISHED, KEEPS, State, state
from sobench.system import heartbeat
from sobench.system.files import write_atomically

PARTS = ".*.[0-9]*"
"""What a process that was killed left half written; see write_atomically."""


class Held(Failure):
    """Another process works on this run."""


class RunDirectory:
    """runs/<dataset>_<model>_<optimizer>_<cell>/seed-<seed>/"""

    def __init__(self, run: Run, root: Path | str):
        self.run = run
        self.path = run.directory(root)

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def state(self) -> State:
        return state(self.path)

    def finished(self) -> State | None:
        """The state of a run whose result stands and whose record is as long as it was, else None."""
        found = self.state()
        return found if found.status in KEEPS and not self._cut(found) else None

    def damage(self) -> str | None:
        """What is wrong with the result that is there, if something is."""
        found = self.state()
        return (
            f"metrics.jsonl is not as long as it was when the run was {found.status}"
            if self._cut(found)
            else (None if found.finished else found.reason)
        )

    def _cut(self, found: State) -> bool:
        return found.summary.get("metrics_bytes", self._length()) != self._length()

    def _length(self) -> int:
        return self.metrics.stat().st_size if self.metrics.exists() else 0

    def mend(self) -> bool:
        """Write run.json of a finished run again if it cannot be read; whether that was needed."""
        try:
            if json.loads((self.path / "run.json").read_bytes())["id"] == self.run.id:
                return False
        except (OSError, ValueError, KeyError, TypeError):
            pass
        self._identify()
        return True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the run against every other process, here by a lock, elsewhere by a heartbeat. Raises Held, naming who has it;
        Failure if it cannot be written."""
        said, lock = self.path / "holder.json", self.path / "lock"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with FileLock(lock, timeout=0.2):  # a reader may look at it for an instant
                if other := heartbeat.elsewhere(said):
                    raise Held(self._held_by(other))
                self.write(said.name, heartbeat.who())
                try:
                    with heartbeat.beating(said):
                        yield
                finally:
                    for leftover in (said, *self.path.glob(PARTS)):
                        leftover.unlink(missing_ok=True)
        except Timeout:
            raise Held(self._held_by(heartbeat.holder(said, lock) or heartbeat.Holder())) from None
        except OSError as error:
            raise Failure(f"runs: cannot write {error.filename or self.path}: {error.strerror or error}") from error

    def taken(self) -> bool:
        """Whether another process is at work on it now."""
        return heartbeat.holder(self.path / "holder.json", self.path / "lock") is not None

    def _held_by(self, holder: heartbeat.Holder) -> str:
        return f"{self.run.name} is being run by {'process ' if holder.pid else ''}{holder}: {self.path}"

    def describe(self, environment: Mapping[str, Any]) -> None:
        """Write what the run is and where it runs, and clear what an earlier, failed attempt said of its end."""
        from omegaconf import OmegaConf

        self._identify()
        write_atomically(self.path / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(self.run.config)).encode())
        self.write("environment.json", environment)
        for name in ("summary.json", "error.txt"):
            (self.path / name).unlink(missing_ok=True)

    def _identify(self) -> None:
        from sobench.config.identity import identity

        run = {"id": self.run.id, "cell": self.run.cell, "seed": self.run.seed, "config": identity(self.run.config)}
        self.write("run.json", run)

    def refuse(self, status: str, reason: str, error: BaseException | None = None) -> dict[str, Any]:
        """Write the result of a run that could not begin, and the traceback of what was in its way; its summary. Raises as
        `held` does."""
        summary = {"status": status, "reason": reason, "steps": 0, "final": {}}
        with self.held():
            self.describe({})
            if error:
                self.explain(error)
            self.finish(summary)
        return summary

    def explain(self, error: BaseException) -> None:
        """Write the traceback to error.txt."""
        (self.path / "error.txt").write_text("".join(traceback.format_exception(error)))

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the result: the run is over."""
        assert summary["status"] in FINISHED
        self.write("summary.json", {**summary, "metrics_bytes": self._length(), "finished": heartbeat.now()})

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        write_atomically(self.path / name, json.dumps(value, indent=1).encode())


class Metrics:
    """metrics.jsonl, open for appending at `offset` bytes; what lies beyond is cut off."""

    FLUSH = 1.0  # seconds: at most that much of the record is in memory only

    def __init__(self, path: Path, offset: int = 0):
        self._file = open(path, "ab")
        self._file.truncate(offset)
        self._flushed = time.monotonic()

    def append(self, row: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(row).encode() + b"\n")
        if time.monotonic() - self._flushed > self.FLUSH:
            self._file.flush()
            self._flushed = time.monotonic()

    def sync(self) -> int:
        """Force everything to the disk; the length in bytes, for a checkpoint."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


def whole_lines(path: Path, length: int) -> bool:
    """Whether the first `length` bytes of a record are there and are rows, every one of them."""
    try:
        with open(path, "rb") as file:
            start = file.read(length)
        return len(start) == length and all(isinstance(json.loads(line), dict) for line in start.splitlines())
    except (OSError, ValueError):
        return False
