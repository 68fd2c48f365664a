"""`logger=wandb`: a process of its own that reads the run's directory and mirrors it, so that a run never waits for wandb.

A thread would not do: what wandb starts in a process holds up the end of that process for as long as its server hangs.
One process serves all the runs that this one makes, one after another; it lags behind without harm, as it reads files. It
prints its warning itself, it has a time limit for all that can hang, and when this process dies it ends what it was at.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from sobench.config.registry import warn
from sobench.results.loggers.base import Logger

SAID = 3
"""Exit code of the process after it has printed why it gave up."""
MARGIN = 5.0
"""Seconds over the time-out that the process has to end by itself."""


class Wandb(Logger):
    """Tells the process where the run's directory is: the process reads the record there."""

    def start(self) -> None:
        if self.settings["mode"] != "disabled":
            run = self.directory.run
            shared(self.settings, run.config["runs"]).add({"directory": str(self.directory.path), "name": run.name})


def command(settings: Mapping[str, Any], runs: Path | str, verb: str) -> dict[str, Any]:
    """Arguments of Popen for the process. Nothing of it is written outside of runs/.wandb; the key comes by the environment."""
    folder = Path(runs).absolute() / ".wandb"
    about = {key: settings[key] for key in ("mode", "project", "entity", "timeout")} | {
        "folder": str(folder),
        "verb": verb,
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
        "start_new_session": True,
    }  # Ctrl-C is for the run: the mirror ends by itself


class Process:
    """The process that mirrors the runs of this one, and a pipe to it that is never waited for."""

    def __init__(self, settings: Mapping[str, Any], runs: Path | str):
        self.limit = settings["timeout"] + MARGIN
        self._process = subprocess.Popen(**command(settings, runs, "follow"), stdout=subprocess.DEVNULL)
        os.set_blocking(self._process.stdin.fileno(), False)

    def add(self, message: Mapping[str, Any]) -> None:
        """Hand it a run. After it has given up, and said so, nothing happens. Raises BlockingIOError if it reads no more."""
        try:
            os.write(self._process.stdin.fileno(), json.dumps(message).encode() + b"\n")
        except BrokenPipeError:
            pass

    def close(self) -> None:
        """Let it mirror what it has, for as long as its time-out; say so if it did not and has not."""
        try:
            self._process.stdin.close()
            code = self._process.wait(self.limit)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self._process.kill()
            self._process.wait()
            warn(
                "logger: wandb had not mirrored every run when the time was up; `sobench wandb sync` mirrors the others"
            )
            return
        if code not in (0, SAID):
            warn(f"logger: wandb's process ended with exit code {code}; `sobench wandb sync` mirrors what is missing")


_processes: dict[tuple[int, str], Process] = {}


def shared(settings: Mapping[str, Any], runs: Path | str) -> Process:
    """The process for these settings; a fork has one of its own. It is closed when this process ends."""
    key = (os.getpid(), json.dumps([settings, str(Path(runs).absolute())], sort_keys=True))
    if key not in _processes:
        if not any(pid == os.getpid() for pid, _ in _processes):
            Finalize(None, close, exitpriority=10)  # unlike atexit, it is heeded in multiprocessing's children too
        _processes[key] = Process(settings, runs)
    return _processes[key]


def close() -> None:
    """End every process of ours; see Process.close."""
    for key in [key for key in _processes if key[0] == os.getpid()]:
        _processes.pop(key).close()
