"""The directory of one run: its lock, its files, and their repair after an interruption. No torch.

Whole files are replaced atomically, so that a reader sees either the old or the new one. Only metrics.jsonl grows in
place: a checkpoint records its length and its digest.

Two processes never write one record. A process that holds a run has a number, larger than that of every holder before,
in holder.json. It writes its rows to a file of its own, which begins with the rows that it resumes from and replaces
metrics.jsonl: a predecessor that stood still, and is believed to be dead, goes on writing to a file without a name.
Before each flush of rows, checkpoint, result and clean-up a process checks that holder.json still names it. One that
has lost the run leaves.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sobench.config.run import Run
from sobench.errors import Failure
from sobench.results import digests
from sobench.results.state import DAMAGED, FINISHED, KEEPS, State, result, state
from sobench.system import heartbeat
from sobench.system.files import parse_json, replacing, write_atomically

WRITTEN = (
    "run.json",
    "config.yaml",
    "environment.json",
    "metrics.jsonl",
    "summary.json",
    "error.txt",
    "holder.json",
    "lock",
    "checkpoint.pt",
    "checkpoint-previous.pt",
    "metrics.csv",
)
"""The files of a run directory, those of loggers' folders apart."""


def parts(folder: Path) -> list[Path]:
    """The temporary files in a run directory that killed processes left behind; see write_atomically."""
    names = "|".join(map(re.escape, WRITTEN))
    return sorted(path for path in folder.glob(".*") if re.fullmatch(rf"\.({names})\.\d+", path.name))


class Held(Failure):
    """Another process makes this run."""


class Lost(Held):
    """Another process has taken the run over while this one stood still."""


class RunDirectory:
    """runs/<dataset>_<model>_<optimizer>_<cell>/seed-<seed>/"""

    def __init__(self, run: Run, root: Path | str):
        self.run = run
        self.path = run.directory(root)
        self._digests: dict[str, str] = {}
        """Of the files that this process has written."""
        self._hold: heartbeat.Hold | None = None

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
            named = parse_json((self.path / "run.json").read_bytes())["id"] == self.run.id
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
                last = self.environment().get("lease")
                hold = self._hold = heartbeat.Hold(holder, after=last if isinstance(last, int) else 0)
                try:
                    with heartbeat.beating(holder, stands=hold.stands):
                        yield
                finally:
                    self._hold = None
                    for leftover in (holder, *parts(self.path)) if hold.stands() else ():
                        leftover.unlink(missing_ok=True)
        except Timeout:
            raise Held(self._held_by(heartbeat.holder(holder, lock) or heartbeat.Holder())) from None
        except OSError as error:
            raise Failure(f"runs: cannot write {error.filename or self.path}: {error.strerror or error}") from error

    def check(self) -> None:
        """Raise Lost if this process held the run, and another has taken it over."""
        if self._hold and not self._hold.stands():
            other = heartbeat.holder(self.path / "holder.json", self.path / "lock")
            by = f"process {other}" if other and other.pid else "another process"
            raise Lost(f"{self.run.name} was taken over by {by} while this process stood still: {self.path}")

    def taken(self) -> bool:
        """Whether a process makes this run now."""
        return heartbeat.holder(self.path / "holder.json", self.path / "lock") is not None

    def _held_by(self, holder: heartbeat.Holder) -> str:
        return f"{self.run.name} is being run by {'process ' if holder.pid else ''}{holder}: {self.path}"

    def describe(self, environment: Mapping[str, Any]) -> None:
        """Write identity, configuration and environment of the run; remove the result of a failed attempt.

        The result goes first: it would have the digest of another environment.
        """
        self.check()
        for name in ("summary.json", "error.txt"):
            (self.path / name).unlink(missing_ok=True)
        self._identify()
        self._configure()
        self.write("environment.json", {**environment, **({"lease": self._hold.number} if self._hold else {})})

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
            found = parse_json((self.path / "environment.json").read_bytes())
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
        self.check()
        (self.path / "error.txt").write_text("".join(traceback.format_exception(error)))

    def finish(self, summary: Mapping[str, Any], chain: str | None = None) -> None:
        """Write the result. The run is over. chain: the digest of the record (default: as it is on the disk now)."""
        assert summary["status"] in FINISHED
        if chain and chain != digests.sha256(self.metrics.read_bytes()):
            self.check()
            raise Failure(f"{self.metrics} is not what this process wrote: another program, or the disk, changed it")
        self._write(digests.SUMMARY, self.sealed({**summary, "finished": heartbeat.now()}, chain))

    def sealed(self, summary: Mapping[str, Any], chain: str | None = None) -> bytes:
        """The contents of summary.json: the summary, with the length of the record and the digests of the files."""
        length = self.metrics.stat().st_size if self.metrics.exists() else 0
        files = digests.of_files(self.path) | self._digests | ({digests.RECORD: chain} if chain else {})
        return digests.sealed({**summary, "metrics_bytes": length, "digests": files})

    def amend(self, **changes: Any) -> None:
        """Change keys of the summary on the disk, and the digests of what this process has written since."""
        summary = parse_json((self.path / digests.SUMMARY).read_bytes())
        if digests.has_digests(summary):
            summary["digests"] |= self._digests
        summary.pop("sha256", None)
        self._write(digests.SUMMARY, digests.sealed(summary | changes))

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        self._write(name, json.dumps(value, indent=1).encode())

    def _write(self, name: str, data: bytes) -> None:
        write_atomically(self.path / name, data, before=self.check)
        if name in digests.FILES:
            self._digests[name] = digests.sha256(data)


REWRITES = {"run.json": RunDirectory._identify, "config.yaml": RunDirectory._configure}
"""The files that follow from the settings of a run, and the methods that write them."""


class Metrics:
    """metrics.jsonl, with its first `offset` bytes, open for appending: a new file, which replaces the one before.

    check: called before rows are flushed; it may raise.
    `chain` is the digest of all bytes that were kept and appended, whatever the disk has made of them.
    """

    FLUSH = 1.0  # seconds between two flushes

    def __init__(self, path: Path, offset: int = 0, check: Callable[[], None] = lambda: None):
        kept = path.read_bytes()[:offset] if offset else b""
        self._check = check
        with replacing(path, sync=False) as part:
            self._file = open(part, "wb")  # noqa: SIM115 (closed by `close`)
            try:
                self._file.write(kept)
                self._file.flush()
                os.fsync(self._file.fileno())  # a checkpoint counts on these rows
                check()
            except BaseException:
                self._file.close()
                raise
        self._chain = hashlib.sha256(kept)
        self._flushed = -math.inf  # the first row is on record at once: the run has begun

    def append(self, row: Mapping[str, Any]) -> None:
        line = json.dumps(row).encode() + b"\n"
        self._file.write(line)
        self._chain.update(line)
        if time.monotonic() - self._flushed > self.FLUSH:
            self._check()
            self._file.flush()
            self._flushed = time.monotonic()

    @property
    def chain(self) -> str:
        return self._chain.hexdigest()

    def sync(self) -> int:
        """Force the file to the disk; its length in bytes, for a checkpoint."""
        self._check()
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
        return all(isinstance(parse_json(line), dict) for line in start.splitlines())
    except (OSError, ValueError):
        return False
