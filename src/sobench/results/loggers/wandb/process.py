"""`logger=wandb`: starts the mirror process and tells it which runs to copy. Imports no wandb.

A thread is not enough: what wandb starts in a process delays the end of that process for as long as the server hangs.
One mirror process copies all runs of this process, one after another. It prints its own warnings, has a time limit for
everything that can hang, and if this process dies, it finishes the current run and exits.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from sobench.config.registry import warn
from sobench.results.loggers.base import Logger

REPORTED = 3
"""Exit code of the mirror process after it has printed why it gave up."""
MARGIN = 5.0
"""Seconds beyond the time-out after which the mirror process is killed."""


class Wandb(Logger):
    """Sends the run's directory to the mirror process, which reads the record there."""

    def start(self) -> None:
        if self.settings["mode"] != "disabled":
            run = self.directory.run
            mirror_process(self.settings, run.config["runs"]).add(
                {"directory": str(self.directory.path), "name": run.name}
            )


def command(settings: Mapping[str, Any], runs: Path | str, action: str) -> dict[str, Any]:
    """The arguments of Popen for a mirror process. It writes below runs/.wandb only, and inherits wandb's key.

    settings: those of the logger. runs: the root of the runs. action: a key of `actions.ACTIONS`.
    """
    folder = Path(runs).absolute() / ".wandb"
    about = {key: settings[key] for key in ("mode", "project", "entity", "timeout")} | {
        "folder": str(folder),
        "action": action,
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


class Process:
    """The mirror process of this process, and a pipe to it whose writes never block."""

    def __init__(self, settings: Mapping[str, Any], runs: Path | str):
        self.limit = settings["timeout"] + MARGIN
        self._process = subprocess.Popen(**command(settings, runs, "follow"), stdout=subprocess.DEVNULL)
        assert self._process.stdin is not None  # a pipe, see `command`
        self._pipe = self._process.stdin
        os.set_blocking(self._pipe.fileno(), False)

    def add(self, message: Mapping[str, Any]) -> None:
        """Send a message, unless the mirror process has given up. Raises BlockingIOError if it stopped reading."""
        with suppress(BrokenPipeError):
            os.write(self._pipe.fileno(), json.dumps(message).encode() + b"\n")

    def close(self) -> None:
        """Let it finish the messages it has, within its time-out. Warns if it did not, unless it has printed why."""
        try:
            self._pipe.close()
            code = self._process.wait(self.limit)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self._process.kill()
            self._process.wait()
            warn(
                "logger: wandb had not mirrored every run when the time was up; `sobench wandb sync` mirrors the others"
            )
            return
        if code not in (0, REPORTED):
            warn(f"logger: wandb's process ended with exit code {code}; `sobench wandb sync` mirrors what is missing")


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
