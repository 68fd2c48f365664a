"""The training clock: wall and CPU time of the steps alone, with the device synchronised at both ends."""

from __future__ import annotations

import time

import torch


class Clock:
    """A stopwatch: `seconds` of wall time and `process_seconds` of CPU time between `start` and `stop`, summed."""

    def __init__(self, device: torch.device, seconds: float = 0.0, process_seconds: float = 0.0):
        self.device = device
        self.seconds, self.process_seconds = seconds, process_seconds

    def start(self) -> None:
        """Wait for the device, then start."""
        self._synchronise()
        self._wall, self._process = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """Wait for the device, then stop."""
        self._synchronise()
        self.seconds += time.perf_counter() - self._wall
        self.process_seconds += time.process_time() - self._process

    def running(self) -> float:
        """Wall seconds up to now, while the clock runs. Work that is still queued on the device is not included."""
        return self.seconds + time.perf_counter() - self._wall

    def _synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
