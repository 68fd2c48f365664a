"""`logger=wandb`: starts the mirror process and tells it which runs to copy. Imports no wandb.

A thread is not enough: what wandb starts in a process delays the end of that process for as long as the server hangs.
One mirror process copies all runs of this process, one after another. It prints its own warnings, has a time limit for
everything that can hang, and if this process dies, it finishes the current run and exits. If the launcher of the sweep
dies, it has ORPHANED seconds for that.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from sobench.config.files import group_defaults
from sobench.config.registry import warn
from sobench.config.run import Run
from sobench.results import sweeps
from sobench.results.loggers.base import Logger
from sobench.results.loggers.wandb import receipts
from sobench.system import stopping
from sobench.system.heartbeat import locked
from sobench.system.parent import owner
from sobench.system.text import plural

REPORTED = 3
"""Exit code of the mirror process after it has printed why it gave up."""
ORPHANED = 7.0
"""Seconds that the mirror process has after the death of the owner of this process, or of this one without an owner."""
MARGIN = 5.0
"""Seconds beyond the time-out after which the mirror process is killed."""
POLL = 0.05
"""Seconds between two looks whether it has ended."""


class Wandb(Logger):
    """Sends the run's directory to the mirror process, which reads the record there."""

    def start(self) -> None:
        if self.settings["mode"] != "disabled":
            run = self.directory.run
            self._process = mirror_process(self.settings, run.config["runs"])
            self._process.add({"directory": str(self.directory.path), "name": sweeps.name_of(run), "id": run.id})

    def close(self) -> None:
        if self.settings["mode"] != "disabled":
            self._process.end_run(self.directory.path)

    @classmethod
    def incomplete(cls, runs: Sequence[Run]) -> str | None:
        config = runs[0].config
        settings, folder = config["logger"], wandb_folder(config["runs"])
        if settings["mode"] == "disabled":
            return None
        recorded = {run.id: _rows(run.directory(config["runs"])) for run in runs}
        stopped_by = stopping.received()
        receipts.wait(folder, recorded, settings["timeout"] + MARGIN, lambda: stopping.received() != stopped_by)
        short = sum(receipts.rows(folder, run_id) < rows for run_id, rows in recorded.items())
        if not short:
            return None
        advice = shlex.join(["sobench", "wandb", "sync", *_overrides(config)])
        return f"wandb: {short:,} of {plural(len(runs), 'run')} incomplete there; to complete: {advice}"


def _rows(directory: Path) -> int:
    """The number of rows of a run's record."""
    try:
        return (directory / "metrics.jsonl").read_bytes().count(b"\n")
    except OSError:
        return 0


def _overrides(config: Mapping[str, Any]) -> list[str]:
    """The settings of `sobench wandb` that select the folder of the runs and the place at wandb."""
    from omegaconf import OmegaConf

    logger, defaults = config["logger"], OmegaConf.create(group_defaults("logger", "wandb"))
    changed = [f"logger.{key}={logger[key]}" for key in ("mode", "project", "entity") if logger[key] != defaults[key]]
    return [*changed, *([f"runs={config['runs']}"] if config["runs"] != "runs" else [])]


def wandb_folder(runs: Path | str) -> Path:
    """The folder of everything that wandb writes, below that of the runs."""
    return Path(runs).absolute() / ".wandb"


def command(settings: Mapping[str, Any], runs: Path | str, action: str, lock: Path | None = None) -> dict[str, Any]:
    """The arguments of Popen for a mirror process. It writes below runs/.wandb only, and inherits wandb's key.

    settings: those of the logger. runs: the root of the runs. action: a key of `actions.ACTIONS`. lock: a file that
    the process deletes at its end.
    """
    folder = wandb_folder(runs)
    about = {key: settings[key] for key in ("mode", "project", "entity", "notes", "timeout")} | {
        "tags": _tags(settings["tags"]),
        "folder": str(folder),
        "action": action,
        "lock": lock and str(lock),
        "owner": lock and astuple(owner()),
    }
    environment = os.environ | {
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_CACHE_DIR": str(folder / "cache"),
        "WANDB_DATA_DIR": str(folder / "data"),
        "WANDB_CONFIG_DIR": str(folder / "config"),
    }
    return {
        "args": [sys.executable, "-m", "sobench.results.loggers.wandb.main", json.dumps(about)],
        "env": environment,
        "stdin": subprocess.PIPE,
        "start_new_session": True,  # Ctrl-C stops the run; the mirror process ends by itself
    }


def _tags(setting: Any) -> list[str]:
    """The tags of a setting: a list, or words with commas between them, as in WANDB_TAGS."""
    words = setting.split(",") if isinstance(setting, str) else setting or []
    return [word for one in words if (word := str(one).strip())]


class Process:
    """The mirror process of this process, and a pipe to it whose writes never block."""

    def __init__(self, settings: Mapping[str, Any], runs: Path | str):
        self.limit = settings["timeout"] + MARGIN
        self._folder = wandb_folder(runs)
        self._lock = self._folder / "locks" / f"{socket.gethostname()}-{os.getpid()}-{time.time_ns()}"
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        with open(self._lock, "w") as lock:  # the mirror process inherits the lock, and holds it as long as it lives
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._process = subprocess.Popen(
                **command(settings, runs, "follow", self._lock), stdout=subprocess.DEVNULL, pass_fds=[lock.fileno()]
            )
        assert self._process.stdin is not None  # a pipe, see `command`
        self._pipe = self._process.stdin
        os.set_blocking(self._pipe.fileno(), False)

    def add(self, message: Mapping[str, Any]) -> None:
        """Hand a run over, with an open receipt. Raises BlockingIOError if the mirror process stopped reading."""
        receipts.issue(self._folder, message["id"], self._lock)
        self._send(message)

    def end_run(self, directory: Path) -> None:
        """Say that the process has left this run, with or without a result. Raises as `add`."""
        self._send({"over": str(directory)})

    def _send(self, message: Mapping[str, Any]) -> None:
        """Send a message, unless the mirror process has given up."""
        with suppress(BrokenPipeError):
            os.write(self._pipe.fileno(), json.dumps(message).encode() + b"\n")

    def close(self) -> None:
        """Let it finish the messages it has, within its time-out. Warns if it did not, unless it has printed why."""
        with suppress(KeyboardInterrupt):
            self._pipe.close()
            end = time.monotonic() + self.limit
            while locked(self._lock) and time.monotonic() < end:
                time.sleep(POLL)
        if locked(self._lock):
            reason = "had not mirrored every run when the time was up"
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # it has left its parent, but not its session
        else:
            reason = "was killed"
        self._process.wait()
        if self._lock.exists():  # else the mirror process took it away at its orderly end
            self._lock.unlink(missing_ok=True)
            warn(f"logger: wandb's process {reason}; `sobench wandb sync` mirrors what is missing")


_processes: dict[tuple[int, str], Process] = {}
"""By process id and settings: a fork must not use the pipe of its parent."""


def mirror_process(settings: Mapping[str, Any], runs: Path | str) -> Process:
    """The mirror process for these settings, started at the first call and closed when this process ends."""
    key = (os.getpid(), json.dumps([settings, str(Path(runs).absolute())], sort_keys=True))
    if key not in _processes:
        if not any(pid == os.getpid() for pid, _ in _processes):
            Finalize(None, close, exitpriority=10)  # unlike atexit, also in children of multiprocessing
        _processes[key] = Process(settings, runs)
    return _processes[key]


def close() -> None:
    """Close every mirror process of this process; see Process.close."""
    for key in [key for key in _processes if key[0] == os.getpid()]:
        _processes.pop(key).close()
