"""The training loop: the one loop that makes every run's steps, and the Trainer that holds the run's moving parts.

`sobench.training.snapshot` turns a Trainer into a checkpoint and a summary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from sobench.config import groups, registry
from sobench.config.run import Run
from sobench.data import Store
from sobench.objective.parameter_space import ParameterSpace
from sobench.objective.torch_private import around_compilation
from sobench.system import devices, environment, leases
from sobench.system.contention import Watch
from sobench.training import random_state
from sobench.training.budget import Budget
from sobench.training.clock import Clock
from sobench.training.groups import optimizer_of
from sobench.training.instruments import make_instrument
from sobench.training.optimizer import ObjectiveOptimizer, has_modes, is_of_others
from sobench.training.problem import Problem
from sobench.training.rehearsal import rehearse
from sobench.training.requirements import check_declaration, check_problem, load_late_imports, requirements_of
from sobench.training.schedule import make_schedule

WITHOUT_LOSS = "the optimizer's step(f) returned None; allowed: the loss, `return loss`"

ProgressCallback = Callable[[int, int | None, dict[str, float]], None]
"""Called after each row of losses with (step, number of steps or None, the row)."""


class RowWriter(Protocol):
    """The record of a run, to which the loop appends rows: `sobench.results.rundir.Metrics`, or a list."""

    def append(self, row: dict[str, Any], /) -> None:
        """Add a row to the end of the record."""
        ...


class Trainer:
    """The moving parts of one run: problem, optimizer, schedule, instrument, clock and budget.

    Raises UsageError if the machine or the data cannot meet the settings, and Unsupported if the optimizer requires an
    oracle that the problem does not have. Nothing is written in either case.
    """

    def __init__(self, run: Run):
        settings = run.config
        self.settings = settings
        if settings["threads"]:
            torch.set_num_threads(settings["threads"])
        # Values that decay in a dead unit end as denormal numbers, which take 100 times as long to multiply.
        torch.set_flush_denormal(True)
        self.device = environment.device(settings["device"])
        self.clock = Clock(self.device)
        classes = {name: registry.load("optimizers", name) for name in groups.optimizers(settings["optimizer"])}
        required = {name: requirements_of(cls) for name, cls in classes.items()}
        requires = frozenset[str]().union(*required.values())
        check_declaration(requires, settings["loss"])
        random_state.seed(run.seed)
        self.problem = Problem(settings, self.device)
        check_problem(requires, self.problem, self.device, settings["longest_step"])
        for name in classes:
            load_late_imports(name, required[name])
        make = partial(optimizer_of, settings["optimizer"], self.problem.model)
        if any(registry.is_plugin("optimizer", name) and is_of_others(cls) for name, cls in classes.items()):
            compiling = Clock(self.device)
            with around_compilation(compiling.start, compiling.stop):
                rehearse(settings["optimizer"]["name"], make, self.problem)
            self.clock.paused_seconds = compiling.seconds
        optimizer = make()
        if validate := getattr(optimizer, "validate_parameters", None):
            validate(ParameterSpace(self.problem.model.named_parameters()))
        self.optimizer = cast(ObjectiveOptimizer, optimizer)
        per_epoch = self.problem.steps_per_epoch
        self.budget = Budget(settings, per_epoch)
        self.schedule = make_schedule(optimizer, settings["schedule"], per_epoch, self.budget.limit)
        self.commits = "closure" not in requires
        """Whether the loop commits BatchNorm's statistics after each step; the closure commits them by itself."""
        self.instrument = make_instrument(self.problem, self.clock, settings)
        self.step = 0
        self.warm_start_seconds = 0.0
        self.gpu_shared: bool = settings["gpu"].get("shared", False)
        """Whether another process computed on the run's GPU; the lease says so, see sobench.system.leases."""
        self.final: dict[str, float] = {}
        """The metrics of the latest evaluation."""
        self.stalled_evaluations = 0
        """Evaluations in a row in which the training loss changed by less than `convergence.change`."""
        folder = Store.default(settings["data"]["mirror"], settings["data"]["cache"]).cache / "yardsticks"
        cores = len(devices.units("cpu")) if self.device.type == "cpu" else None
        self.watch = Watch(folder, partial(leases.cores_of_others, settings["slots"], run.slug), cores)

    def train(self, record: RowWriter, save: Callable[[Trainer], None], progress: ProgressCallback) -> str | None:
        """Train until the budget is spent or the run has converged.

        record: receives every row. progress: called after each row of losses. save: called with this trainer after
        each row of losses but the last; a checkpoint may be written then. Returns the reason if the run diverged, else
        None.
        """
        if self.step == 0:
            if reason := self._evaluate(record):
                return reason
            self._warm_start()
            self.instrument.begin()
        with around_compilation(self.clock.pause, self.clock.resume):
            return self._make_steps(record, save, progress)

    def _make_steps(self, record: RowWriter, save: Callable[[Trainer], None], progress: ProgressCallback) -> str | None:
        """The loop of `train`."""
        losses, due = [], self.budget.next_due(self.step)
        self.clock.start()
        for step, f in self.problem.objectives(after=self.step):
            self.step = step
            with self.instrument.around(step, f):
                losses.append(self.optimizer.step(f))
                if self.commits:
                    f.commit()
            self.schedule(step)
            if step < due and not self.budget.out_of_time(self.clock):
                continue
            self.clock.stop()
            row, reason = self._record_losses(record, losses)
            losses, due = [], self.budget.next_due(step)
            over = self.budget.spent(step, self.clock)
            if reason is None and (over or self.budget.evaluates(step)):
                reason = self._evaluate(record)
            progress(step, self.budget.limit, row)
            if reason or over or self.converged:
                return reason
            save(self)
            self.clock.start()
        return None  # not reached: objectives() has no end

    def _warm_start(self) -> None:
        """Let the optimizer estimate its statistics before step 1. The work is metered; the time is recorded apart."""
        if warm_start := getattr(self.optimizer, "warm_start", None):
            clock = Clock(self.device)
            clock.start()
            warm_start(self.problem.first_objective())
            clock.stop()
            self.warm_start_seconds = clock.seconds

    @property
    def converged(self) -> bool:
        """Whether the training loss has stalled for `convergence.evaluations` evaluations in a row."""
        return self.stalled_evaluations >= self.settings["convergence"]["evaluations"]

    def _record_losses(self, record: RowWriter, losses: list[Tensor | float]) -> tuple[dict[str, Any], str | None]:
        """Append a row for the steps since the last row. Returns the row, and the reason if a loss is not finite."""
        if any(loss is None for loss in losses):
            raise TypeError(WITHOUT_LOSS)
        values = torch.stack([torch.as_tensor(loss) for loss in losses]).tolist()
        bad = next((i for i, value in enumerate(values) if not math.isfinite(value)), None)
        row = {"kind": "train", **self.position(), "loss": math.fsum(values) / len(values)}
        diagnostics = {k: _number(v) for k, v in getattr(self.optimizer, "diagnostics", {}).items()}
        row = diagnostics | self.instrument.readings() | row
        record.append(row)
        if bad is None:
            return row, None
        return row, f"mini-batch loss is {values[bad]} at step {self.step - len(values) + 1 + bad}"

    def _evaluate(self, record: RowWriter) -> str | None:
        """Append a row of metrics, in evaluation mode. Returns the reason if the training loss is not finite."""
        with self.evaluation_mode():
            metrics = self.problem.evaluate()
            readings = self.instrument.at_evaluation()
        record.append({**readings, "kind": "eval", **self.position(), **metrics})
        loss, change = metrics["train_loss"], self.settings["convergence"]["change"]
        if self.final and change is not None:
            stalled = abs(loss - self.final["train_loss"]) < change
            self.stalled_evaluations = self.stalled_evaluations + 1 if stalled else 0
        self.final = metrics
        self.watch.read(self.clock.seconds)
        return None if math.isfinite(loss) else f"training loss is {loss} after step {self.step}"

    @contextmanager
    def evaluation_mode(self) -> Iterator[None]:
        """The context in which the model is at the point where the optimizer is evaluated.

        An optimizer with `train` and `eval` is in evaluation mode there, and BatchNorm has the statistics of that
        point. At the end the model has its former bits, so that the steps do not depend on when a run is evaluated.
        Before the first step, and for every other optimizer, that point is the model's own.
        """
        optimizer = self.optimizer
        if self.step == 0 or not has_modes(optimizer):
            yield
            return
        with self.problem.undone():
            with torch.no_grad():
                optimizer.eval()
            try:
                self.problem.estimate_statistics()
                yield
            finally:
                with torch.no_grad():
                    optimizer.train()

    def timing(self) -> dict[str, Any]:
        """Whether other work on the machine slowed the steps down, see `sobench.system.contention.judge`."""
        waits = self.device.type == "cuda"  # for the device
        return self.watch.judgement(self.clock.seconds, None if waits else self.clock.process_seconds)

    def position(self) -> dict[str, float]:
        """The position of the run on every x-axis (steps, epochs, seconds, work), and the counters of the meter."""
        cost = self.problem.cost
        return {
            "step": self.step,
            "epoch": self.step / self.problem.steps_per_epoch,
            "seconds": self.clock.seconds,
            "process_seconds": self.clock.process_seconds,
            "work": cost.work(self.problem.samples),
            **cost.counts(),
        }


def _number(value: Any) -> Any:
    """The Python number of a tensor of one element; any other value as it is."""
    return value.item() if isinstance(value, Tensor) else value
