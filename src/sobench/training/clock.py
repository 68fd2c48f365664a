"""The training clock: wall and CPU time of the steps alone, with the device synchronised at both ends."""

from __future__ import annotations

import time

import torch


class Clock:
    """A stopwatch: `seconds` of wall time and `process_seconds` of CPU time between `start` and `stop`, summed.

    `paused_seconds` is the wall time between `pause` and `resume`, which counts in neither of the two.
    """

    def __init__(self, device: torch.device, seconds: float = 0.0, process_seconds: float = 0.0):
        self.device = device
        self.seconds, self.process_seconds, self.paused_seconds = seconds, process_seconds, 0.0
        self._runs = False
        self._paused: float | None = None

    def start(self) -> None:
        """Wait for the device, then start."""
        self._synchronise()
        self._wall, self._process, self._runs = time.perf_counter(), time.process_time(), True

    def stop(self) -> None:
        """Wait for the device, then stop."""
        self._synchronise()
        self.seconds += time.perf_counter() - self._wall
        self.process_seconds += time.process_time() - self._process
        self._runs = False

    def pause(self) -> None:
        """Stop, if it runs, until `resume`."""
        if self._runs:
            self.stop()
            self._paused = time.perf_counter()

    def resume(self) -> None:
        """Start again, if it is paused."""
        if self._paused is not None:
            self.paused_seconds += time.perf_counter() - self._paused
            self._paused = None
            self.start()

    def running(self) -> float:
        """Wall seconds up to now, while the clock runs. Work that is still queued on the device is not included."""
        return self.seconds + time.perf_counter() - self._wall

    def _synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
