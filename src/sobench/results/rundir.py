"""The directory of one run: its lock, its files, and their repair after an interruption. No torch.

Whole files are replaced atomically, so that a reader sees either the old or the new one. Only metrics.jsonl grows in
place: a checkpoint records its length, and a resumed run truncates the file to that length.
"""

from __future__ import annotations

import json
import math
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
"""The temporary files that a killed process left behind; see write_atomically."""


class Held(Failure):
    """Another process makes this run."""


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
        """The state of a finished run with an intact record, else None."""
        state = self.state()
        return state if state.status in KEEPS and not self._cut(state) else None

    def damage(self) -> str | None:
        """The damage of the run's result, in words; None if there is none."""
        state = self.state()
        if self._cut(state):
            return f"metrics.jsonl is not as long as it was when the run was {state.status}"
        return None if state.finished else state.reason

    def _cut(self, state: State) -> bool:
        return state.summary.get("metrics_bytes", self._length()) != self._length()

    def _length(self) -> int:
        return self.metrics.stat().st_size if self.metrics.exists() else 0

    def mend(self) -> bool:
        """Rewrite run.json of a finished run if it is damaged; whether it was."""
        try:
            if json.loads((self.path / "run.json").read_bytes())["id"] == self.run.id:
                return False
        except (OSError, ValueError, KeyError, TypeError):
            pass
        self._identify()
        return True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Exclude every other process from the run: by a lock on this machine, by a heartbeat on others.

        Raises Held, which names the other process; Failure if the directory cannot be written.
        """
        holder, lock = self.path / "holder.json", self.path / "lock"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with FileLock(lock, timeout=0.2):  # readers lock it for an instant
                if other := heartbeat.elsewhere(holder):
                    raise Held(self._held_by(other))
                self.write(holder.name, heartbeat.who())
                try:
                    with heartbeat.beating(holder):
                        yield
                finally:
                    for leftover in (holder, *self.path.glob(PARTS)):
                        leftover.unlink(missing_ok=True)
        except Timeout:
            raise Held(self._held_by(heartbeat.holder(holder, lock) or heartbeat.Holder())) from None
        except OSError as error:
            raise Failure(f"runs: cannot write {error.filename or self.path}: {error.strerror or error}") from error

    def taken(self) -> bool:
        """Whether a process makes this run now."""
        return heartbeat.holder(self.path / "holder.json", self.path / "lock") is not None

    def _held_by(self, holder: heartbeat.Holder) -> str:
        return f"{self.run.name} is being run by {'process ' if holder.pid else ''}{holder}: {self.path}"

    def describe(self, environment: Mapping[str, Any]) -> None:
        """Write identity, configuration and environment of the run; remove the result of a failed attempt."""
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
        """Write the result of a run that could not begin, with its traceback; the summary. Raises as `held`."""
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
        """Write the result. The run is over."""
        assert summary["status"] in FINISHED
        self.write("summary.json", {**summary, "metrics_bytes": self._length(), "finished": heartbeat.now()})

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        write_atomically(self.path / name, json.dumps(value, indent=1).encode())


class Metrics:
    """metrics.jsonl, open for appending at `offset` bytes; the file is truncated there."""

    FLUSH = 1.0  # seconds between two flushes

    def __init__(self, path: Path, offset: int = 0):
        self._file = open(path, "ab")  # noqa: SIM115 (closed by `close`)
        self._file.truncate(offset)
        self._flushed = -math.inf  # the first row is on record at once: the run has begun

    def append(self, row: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(row).encode() + b"\n")
        if time.monotonic() - self._flushed > self.FLUSH:
            self._file.flush()
            self._flushed = time.monotonic()

    def sync(self) -> int:
        """Force the file to the disk; its length in bytes, for a checkpoint."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


def whole_lines(path: Path, length: int) -> bool:
    """Whether the record has at least `length` bytes, and these are complete rows."""
    try:
        with open(path, "rb") as file:
            start = file.read(length)
        return len(start) == length and all(isinstance(json.loads(line), dict) for line in start.splitlines())
    except (OSError, ValueError):
        return False
