"""The signs that other work on the machine slowed a run down, and the judgement: quiet, contended, or unknown.

There are four signs. Each costs nothing during a step.

waited   The time of the steps, relative to what it would have been if a core had always been free. Wall time that
         exceeds process time, and on Linux the time that the main thread spent in the scheduler's queue.
speed    The time of a fixed kernel, relative to the fastest time ever seen on this machine. The kernel is a mix of
         float32 products and elementwise operations, and is timed at evaluations while the training clock stands still.
         A reading is a median of short passes, so that it sees a slow core (shared caches, hyperthreads, a lower
         frequency) and not the queue.
stopped  Whether the process was stopped (SIGSTOP, Ctrl-Z) and continued. Its clock went on meanwhile.
beside   The cores on which other processes compute: those in the run queue, or those leased by other runs.

A run that was stopped, or that started although the cores that it needs are leased by other runs, is contended,
whatever the other signs say. Otherwise the slowdown of the run decides, which is waited times speed. The fastest time
ever seen is a valid yardstick only if some reading was made while nothing else ran; without one, a run beside other
work is `unknown` unless its slowdown shows by itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from sobench.system.environment import processor
from sobench.system.files import parse_json, write_atomically
from sobench.system.processes import run_periodically

LIMIT = 1.2
"""The slowdown above which a run is contended: its times are more than 20 % too long."""
SHARE = 0.01
"""The largest part of the training time that readings may take; the first two are always made."""
TICK = 0.1
"""Seconds between two looks of the thread that notices stops."""
GAP = 0.5
"""Seconds without a look before a SIGCONT that are a stop. Some systems send SIGCONT to processes that run."""
PASSES = 5
"""Passes of the kernel in a reading. One pass takes about 1 ms."""
KERNEL = 2
"""The version of the kernel, to be raised with each change of it: times of different versions are not compared."""


@dataclass
class Signs:
    """What is known about one run.

    kernel: seconds of one pass, a number a reading. beside: the cores at work for others, a number a reading. ran,
    queued: seconds that the main thread ran and waited for a core; 0 where the system does not tell. crowded: whether
    this run and those with leases used more cores than there are, at any reading. stopped: whether the process was
    stopped for longer than GAP.
    """

    kernel: list[float] = field(default_factory=list)
    beside: list[int] = field(default_factory=list)
    ran: float = 0.0
    queued: float = 0.0
    crowded: bool = False
    stopped: bool = False


def judge(
    signs: Signs, seconds: float, process_seconds: float | None, fastest: float | None, idle: bool
) -> dict[str, Any]:
    """The judgement: `quality` (quiet, contended or unknown), `factor` (the slowdown), and the signs behind them.

    seconds, process_seconds: of the steps; process_seconds is None on a GPU, where the process waits for the device.
    fastest: the fastest time of the kernel on this machine, None if unknown. idle: whether a reading was ever made
    there while nothing else ran.
    """
    queued = (signs.ran + signs.queued) / signs.ran if signs.ran else 1.0
    slept = seconds / process_seconds if process_seconds else 1.0
    waited = max(1.0, queued, slept)
    speed = max(1.0, statistics.median(signs.kernel) / fastest) if signs.kernel and fastest else 1.0
    beside = statistics.median(signs.beside) if signs.beside else 0
    factor = waited * speed
    contended = factor > LIMIT or signs.crowded or signs.stopped
    quality = "contended" if contended else "quiet" if signs.kernel and (idle or not beside) else "unknown"
    numbers = {"factor": factor, "waited": waited, "speed": speed}
    return {"quality": quality, **{key: round(number, 3) for key, number in numbers.items()}, "beside": beside}


class Watch:
    """Collects the signs of one run.

    folder: where the fastest times of the machine are kept. leased: the number of cores leased by other runs, now.
    cores: the number of cores of the machine, for a run on the CPU; None for one on a GPU.
    """

    def __init__(self, folder: Path, leased: Callable[[], int], cores: int | None = None):
        self.signs = Signs()
        self._leased, self._cores, self._spent = leased, cores, 0.0
        self._folder = folder
        self._queue = _queue()

    def read(self, seconds: float) -> None:
        """Time the kernel and count the other work, unless readings have taken their share of `seconds` of training.

        The caller's clock stands still. Random streams and the run's tensors are left alone.
        """
        if len(self.signs.kernel) > 1 and self._spent > SHARE * seconds:
            return
        began = time.perf_counter()
        leased, own = self._leased(), torch.get_num_threads()
        self.signs.beside.append(max(leased, running() - own))
        self.signs.crowded |= self._cores is not None and leased + own > self._cores
        self.signs.kernel.append(kernel_seconds())
        self._spent += time.perf_counter() - began

    @contextmanager
    def noticing_stops(self) -> Iterator[None]:
        """Inside, a stop of this process is one of the signs. Without effect in a thread other than the main one.

        A stopped process runs no thread, so the first look after SIGCONT is late by the time of the stop. A library's
        call that keeps all threads waiting makes a look late too, but brings no SIGCONT.
        """
        if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCONT"):
            yield
            return
        last, late = time.monotonic(), False

        def look() -> float:
            nonlocal last, late
            now = time.monotonic()
            last, late = now, late or now - last > GAP
            return TICK

        def continued(number: int, frame: object) -> None:
            """It may run before the late look or after it."""
            self.signs.stopped |= late or time.monotonic() - last > GAP

        before = signal.signal(signal.SIGCONT, continued)
        try:
            with run_periodically(look, TICK, "stops"):
                yield
        finally:
            signal.signal(signal.SIGCONT, before)

    def judgement(self, seconds: float, process_seconds: float | None) -> dict[str, Any]:
        """The judgement of the run up to now, see `judge`. Keeps the machine's fastest time of the kernel."""
        self._advance()
        yardstick = Yardstick(self._folder)
        yardstick.learn(self.signs)
        return judge(self.signs, seconds, process_seconds, yardstick.fastest, yardstick.idle)

    def state_dict(self) -> dict[str, Any]:
        """The signs up to now, for a checkpoint."""
        self._advance()
        return asdict(self.signs)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the signs of a checkpoint; {} for one that was made before there were any."""
        self.signs = Signs(**state)

    def _advance(self) -> None:
        """Add the main thread's time in the scheduler's queue since the last call."""
        before, self._queue = self._queue, _queue()
        if before and self._queue:
            self.signs.ran += self._queue[0] - before[0]
            self.signs.queued += self._queue[1] - before[1]


class Yardstick:
    """The fastest time of this kernel on machines of this processor, with this torch and number of threads.

    fastest: seconds, None if nothing is known. idle: whether a reading was made while nothing else ran.
    """

    def __init__(self, folder: Path):
        key = [processor(), torch.__version__, torch.get_num_threads(), KERNEL]
        self._key = key
        self._path = folder / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:12]}.json"
        self.fastest: float | None = None
        self.idle = False
        with suppress(OSError, ValueError, KeyError, TypeError):
            kept = parse_json(self._path.read_bytes())
            if (fastest := float(kept["fastest"])) > 0:  # 0 was written where a clock stood still
                self.fastest, self.idle = fastest, bool(kept["idle"])

    def learn(self, signs: Signs) -> None:
        """Take the readings into account, and keep what is new. A folder that cannot be written changes nothing.

        A reading of no time, by a clock that stands still, says nothing.
        """
        before = self.fastest, self.idle
        readings = [seconds for seconds in signs.kernel if seconds > 0]
        self.fastest = min([*readings, *([] if self.fastest is None else [self.fastest])], default=None)
        self.idle = self.idle or 0 in signs.beside
        if (self.fastest, self.idle) == before:
            return
        kept = {"machine": self._key, "fastest": self.fastest, "idle": self.idle}
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, json.dumps(kept).encode(), sync=False)


@torch.no_grad()
def kernel_seconds() -> float:
    """The median time of a pass of the kernel on the CPU, with the present number of threads.

    A pass allocates nothing. Memory that the run has just given back to the system comes with page faults: one pass
    took up to 1.4 times as long with them, which was no slow core.
    """
    matrix = torch.linspace(-1 / 16, 1 / 16, 256 * 256).reshape(256, 256)
    vector = torch.linspace(-1, 1, 1 << 18)
    first, second, elements = torch.empty_like(matrix), torch.empty_like(matrix), torch.empty_like(vector)
    times = []
    for _ in range(PASSES + 1):
        began = time.perf_counter()
        torch.mm(matrix, matrix, out=first).tanh_()
        torch.mm(first, matrix, out=second).tanh_()
        torch.mul(vector, 0.9, out=elements).add_(vector, alpha=0.1).square_().sqrt_()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])  # the first pass fetches the tensors


def running() -> int:
    """The processes and threads on this machine that compute or wait for a core now; elsewhere than on Linux, their
    mean over the last minute."""
    try:
        return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return round(os.getloadavg()[0])


def _queue() -> tuple[float, float] | None:
    """Seconds that this thread has run, and has waited for a core; None where the system does not tell."""
    try:
        ran, queued, _ = Path("/proc/thread-self/schedstat").read_text().split()
        return int(ran) / 1e9, int(queued) / 1e9
    except (OSError, ValueError):
        return None
