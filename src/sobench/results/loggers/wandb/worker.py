"""What the process that mirrors to wandb is: its messages from stdin, its lines, and the clock that ends it."""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from sobench.config.secrets import hide
from sobench.results.loggers.wandb.process import MARGIN, SAID

POLL = 0.5
"""Seconds between two looks at a record that grows."""


class Worker:
    """Whatever wandb prints goes nowhere. What goes wrong is one line on stderr; what took too long ends the process."""

    def __init__(self, settings: dict[str, Any]):
        self.settings = settings
        self._out, self._err = (os.fdopen(os.dup(fd), "w", buffering=1) for fd in (1, 2))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1), os.dup2(nowhere, 2)
        self._messages: queue.Queue[dict | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin.buffer:
            self._messages.put(json.loads(line))
        self._messages.put(None)

    def messages(self) -> Iterator[dict[str, Any]]:
        """Each message, until stdin ends."""
        while (message := self._messages.get()) is not None:
            yield message

    def more(self) -> bool:
        """Whether another message has come, or stdin has ended."""
        return not self._messages.empty()

    def say(self, line: str) -> None:
        print(hide(line), file=self._out)

    def warn(self, reason: str) -> None:
        line = (
            f"sobench: wandb: {reason}"
            if self.settings["verb"] != "follow"
            else (
                f"sobench: warning: logger: wandb: {reason}; the local record is whole, `sobench wandb sync` mirrors it"
            )
        )
        print(hide(line), file=self._err)

    def give_up(self, reason: str) -> NoReturn:
        """Say why, and end without wandb's own end, which waits for its server."""
        self.warn(reason)
        os._exit(SAID)

    @contextmanager
    def within(self, what: str) -> Iterator[None]:
        """The time that wandb has for `what`: its own time-out should come first."""
        seconds = self.settings["timeout"] + MARGIN / 2
        timer = threading.Timer(seconds, self.give_up, [f"{what} took more than {seconds:g} s"])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
