"""The directory of one run: its lock, its files, and their repair after an interruption. No torch.

Whole files are replaced atomically, so that a reader sees either the old or the new one. Only metrics.jsonl grows in
place: a checkpoint records its length, and a resumed run truncates the file to that length.
"""

from __future__ import annotations

import hashlib
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
from sobench.results import digests
from sobench.results.state import DAMAGED, FINISHED, KEEPS, State, result, state
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
        self._digests: dict[str, str] = {}
        """Of the files that this process has written."""

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def state(self) -> State:
        return state(self.path)

    def finished(self) -> State | None:
        """The state of a run that has a result, else None."""
        state = self.state()
        return state if state.status in KEEPS else None

    def damaged(self) -> bool:
        """Whether the files of the run are not what they were at its end, whichever process has the lock."""
        ended = result(self.path)
        return ended is not None and ended.status == DAMAGED

    def mend(self) -> list[str]:
        """Rewrite run.json and config.yaml of a run with a result, if nothing else is damaged. Returns their names.

        Both follow from the run's settings. Raises as `held`.
        """
        names = self._to_mend(self.state())
        if names:
            with self.held():
                for name in names:
                    REWRITES[name](self)
                self.amend()
        return names

    def _to_mend(self, state: State) -> list[str]:
        if state.status == DAMAGED:
            return [*state.damaged] if REWRITES.keys() >= {*state.damaged} else []
        if state.status not in KEEPS:
            return []
        try:
            named = json.loads((self.path / "run.json").read_bytes())["id"] == self.run.id
        except (OSError, ValueError, KeyError, TypeError):
            named = False
        return [] if named else ["run.json"]

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
        self._identify()
        self._configure()
        self.write("environment.json", environment)
        for name in ("summary.json", "error.txt"):
            (self.path / name).unlink(missing_ok=True)

    def _identify(self) -> None:
        from sobench.config.identity import identity

        run = {"id": self.run.id, "cell": self.run.cell, "seed": self.run.seed, "config": identity(self.run.config)}
        self.write("run.json", run)

    def _configure(self) -> None:
        from omegaconf import OmegaConf

        self._write("config.yaml", OmegaConf.to_yaml(OmegaConf.create(self.run.config)).encode())

    def environment(self) -> dict[str, Any]:
        """The contents of environment.json; empty where it cannot be read."""
        try:
            found = json.loads((self.path / "environment.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def refuse(self, status: str, reason: str, error: BaseException | None = None) -> dict[str, Any]:
        """Write the result of a run that could not begin, with its traceback; the summary. Raises as `held`.

        A result that stands is kept: then its summary is returned. A run that can resume keeps its environment.
        """
        summary = {"status": status, "reason": reason, "steps": 0, "final": {}}
        with self.held():
            if standing := self.finished():
                return standing.summary
            self.describe(self.environment())
            if error:
                self.explain(error)
            self.finish(summary)
        return summary

    def explain(self, error: BaseException) -> None:
        """Write the traceback to error.txt."""
        (self.path / "error.txt").write_text("".join(traceback.format_exception(error)))

    def finish(self, summary: Mapping[str, Any], chain: str | None = None) -> None:
        """Write the result. The run is over. chain: the digest of the record (default: as it is on the disk now)."""
        assert summary["status"] in FINISHED
        self._write(digests.SUMMARY, self.sealed({**summary, "finished": heartbeat.now()}, chain))

    def sealed(self, summary: Mapping[str, Any], chain: str | None = None) -> bytes:
        """The contents of summary.json: the summary, with the length of the record and the digests of the files."""
        length = self.metrics.stat().st_size if self.metrics.exists() else 0
        files = digests.of_files(self.path) | self._digests | ({digests.RECORD: chain} if chain else {})
        return digests.sealed({**summary, "metrics_bytes": length, "digests": files})

    def amend(self, **changes: Any) -> None:
        """Change keys of the summary on the disk, and the digests of what this process has written since."""
        summary = json.loads((self.path / digests.SUMMARY).read_bytes())
        if digests.has_digests(summary):
            summary["digests"] |= self._digests
        summary.pop("sha256", None)
        self._write(digests.SUMMARY, digests.sealed(summary | changes))

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        self._write(name, json.dumps(value, indent=1).encode())

    def _write(self, name: str, data: bytes) -> None:
        write_atomically(self.path / name, data)
        if name in digests.FILES:
            self._digests[name] = digests.sha256(data)


REWRITES = {"run.json": RunDirectory._identify, "config.yaml": RunDirectory._configure}
"""The files that follow from the settings of a run, and the methods that write them."""


class Metrics:
    """metrics.jsonl, open for appending at `offset` bytes; the file is truncated there.

    `chain` is the digest of all bytes that were kept and appended, whatever the disk has made of them.
    """

    FLUSH = 1.0  # seconds between two flushes

    def __init__(self, path: Path, offset: int = 0):
        self._file = open(path, "ab")  # noqa: SIM115 (closed by `close`)
        self._file.truncate(offset)
        self._chain = hashlib.sha256(path.read_bytes())
        self._flushed = -math.inf  # the first row is on record at once: the run has begun

    def append(self, row: Mapping[str, Any]) -> None:
        line = json.dumps(row).encode() + b"\n"
        self._file.write(line)
        self._chain.update(line)
        if time.monotonic() - self._flushed > self.FLUSH:
            self._file.flush()
            self._flushed = time.monotonic()

    @property
    def chain(self) -> str:
        return self._chain.hexdigest()

    def sync(self) -> int:
        """Force the file to the disk; its length in bytes, for a checkpoint."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


def whole_lines(path: Path, length: int, chain: str | None = None) -> bool:
    """Whether the record has at least `length` bytes, and these are complete rows, with this digest if it is known."""
    try:
        with open(path, "rb") as file:
            start = file.read(length)
        if len(start) != length or chain not in (None, digests.sha256(start)):
            return False
        return all(isinstance(json.loads(line), dict) for line in start.splitlines())
    except (OSError, ValueError):
        return False
