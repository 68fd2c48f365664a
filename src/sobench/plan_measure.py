"""A few real steps of a run, timed in a process of its own, off the record: what `sobench plan` reckons with. No torch here."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from typing import Any

from sobench.background import clean_processes
from sobench.errors import described
from sobench.run import Run

STEPS, MOST = 5, 50
"""Steps after the first: as many as the longest period of the method, so that what it does rarely is seen, within these."""
SECONDS = 5.0
"""After which no further step is begun."""
PATIENCE = 300.0
"""Seconds after which a cell is given up."""
PRELOAD = ["torch._dynamo", "sobench.train"]
"""What every measuring process has at once; an optimizer's first step imports the former."""


@dataclass(frozen=True)
class Measured:
    """Of one run: seconds of its first step and of each further one, of one evaluation, and of all that comes before the first;
    how many it will make; peak bytes on the host and on the device (None: none)."""

    first: float
    step: float
    evaluation: float
    start: float
    steps: int
    evaluations: int
    host: int
    device: int | None

    @property
    def seconds(self) -> float:
        return self.start + self.first + (self.steps - 1) * self.step + self.evaluations * self.evaluation


def measure(run: Run) -> Measured | str:
    """The measurement, or why there is none. Whatever the run does to its process, it does to no other."""
    context = clean_processes(PRELOAD)
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(theirs, run, dict(os.environ)), daemon=True)
    child.start()
    theirs.close()
    try:
        return ours.recv() if ours.poll(PATIENCE) else f"no answer within {PATIENCE:.0f} s"
    except EOFError:
        child.join()
        return f"its process ended with {child.exitcode}: killed, or out of memory"
    finally:
        child.kill()
        child.join()


def _child(answer, run: Run, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    try:
        found: Measured | str = _measured(run)
    except Exception as error:  # a result like any: the plan says it
        found = described(error)
    answer.send(found)


class _Stamps:
    """Takes a record's place: its rows, and when each came."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, dict[str, Any]]] = []

    def append(self, row: dict[str, Any]) -> None:
        self.rows.append((time.perf_counter(), row))


def _measured(run: Run) -> Measured:
    from sobench import machine

    _train(run, 1)  # what a process pays once, imports and the reading of the data, is no run's
    began = time.perf_counter()
    trainer, limit, rows, start = _train(run, _few(run.config["optimizer"]))
    memory = machine.peak_memory(trainer.device)
    times = [row["seconds"] for _, row in rows if row["kind"] == "train"]
    first, step = times[0], (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else times[0]
    stamps = [began, *(stamp for stamp, _ in rows)]
    evaluation = [stamps[i + 1] - stamps[i] for i, (_, row) in enumerate(rows) if row["kind"] == "eval"][-1]
    steps = _steps(limit, run.config["budget"]["seconds"], step)
    return Measured(first, step, evaluation, start + trainer.warm_start_seconds, steps, trainer.budget.evaluations(steps),
                    memory["peak_host_bytes"], memory["peak_device_bytes"])


def _train(run: Run, steps: int) -> tuple[Any, int | None, list, float]:
    """The trainer after at most so many steps, the steps of the whole run, the stamped rows, and the seconds before the first."""
    from sobench import machine
    from sobench.train import Trainer

    began = time.perf_counter()
    trainer = Trainer(run)
    start, limit, record = time.perf_counter() - began, trainer.budget.limit, _Stamps()
    machine.reset_peak_memory(trainer.device)
    trainer.budget.limit, trainer.budget.seconds, trainer.budget.log_every = min(steps, limit or MOST), SECONDS, 1
    trainer.train(record, lambda _: None, lambda *_: None)
    return trainer, limit, record.rows, start


def _few(optimizer: dict[str, Any]) -> int:
    """How many steps to look at: the first, and a whole period of whatever the method does periodically."""
    periods = [value for key, value in optimizer.items() if key.endswith("_period") and isinstance(value, int)]
    return 1 + min(MOST, max(STEPS, *periods, 0))


def _steps(limit: int | None, seconds: float | None, step: float) -> int:
    by_time = math.inf if seconds is None else math.ceil(seconds / step)
    return max(1, int(min(limit or math.inf, by_time)))
