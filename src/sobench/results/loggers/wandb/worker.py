"""Input, output and time limits of the mirror process. Imports no wandb."""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from sobench.config.secrets import hide
from sobench.results.loggers.wandb.process import MARGIN, ORPHANED, REPORTED
from sobench.system.parent import Owner

POLL = 0.5
"""Seconds between two reads of a growing record."""


class Worker:
    """Reads messages from standard input, discards what wandb prints, reports failures, and ends at a time limit."""

    def __init__(self, settings: dict[str, Any]):
        self.settings = settings
        self._out, self._err = (os.fdopen(os.dup(fd), "w", buffering=1) for fd in (1, 2))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        self._messages: queue.Queue[dict | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        if settings["owner"]:
            threading.Thread(target=self._end_after, args=(Owner(*settings["owner"]),), daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin.buffer:
            self._messages.put(json.loads(line))
        self._messages.put(None)

    def _end_after(self, owner: Owner) -> None:
        owner.wait()
        time.sleep(ORPHANED)
        self.give_up(f"its launcher is dead, and mirroring took more than {ORPHANED:g} s")

    def messages(self) -> Iterator[dict[str, Any]]:
        """The messages, until standard input ends."""
        while (message := self._messages.get()) is not None:
            yield message

    def more(self) -> bool:
        """Whether another message waits, or standard input has ended."""
        return not self._messages.empty()

    def say(self, line: str) -> None:
        print(hide(line), file=self._out)

    def warn(self, reason: str) -> None:
        if self.settings["action"] == "follow":
            advice = "the local record is whole, `sobench wandb sync` mirrors it"
            line = f"sobench: warning: logger: wandb: {reason}; {advice}"
        else:
            line = f"sobench: wandb: {reason}"
        print(hide(line), file=self._err)

    def give_up(self, reason: str) -> NoReturn:
        """Print the reason and exit at once: wandb's own exit handlers wait for the server."""
        self.warn(reason)
        self.end(REPORTED)

    def end(self, code: int) -> NoReturn:
        """Exit at once, and take away the lock that says that this process lives."""
        if self.settings["lock"]:
            Path(self.settings["lock"]).unlink(missing_ok=True)
        os._exit(code)

    @contextmanager
    def within(self, what: str) -> Iterator[None]:
        """End the process if the block, `what` in the message, takes longer than wandb's own time-out."""
        seconds = self.settings["timeout"] + MARGIN / 2
        timer = threading.Timer(seconds, self.give_up, [f"{what} took more than {seconds:g} s"])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
