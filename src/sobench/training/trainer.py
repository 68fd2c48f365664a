"""The one training loop of the project, and everything that it moves; what is kept of that: see sobench.training.snapshot."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sobench.config import registry
from sobench.config.run import Run
from sobench.objective.parameter_space import ParameterSpace
from sobench.results.rundir import Metrics
from sobench.system import environment
from sobench.training.budget import Budget
from sobench.training.clock import Clock
from sobench.training.instruments import make_instrument
from sobench.training.problem import Problem
from sobench.training.requirements import check_requirements, make_optimizer
from sobench.training.schedule import make_schedule

Report = Callable[[int, int | None, dict[str, float]], None]
"""progress(step, steps or None, last row)"""


class Trainer:
    """Everything that a run's loop moves: problem, optimizer, schedule, clock.

    Raises UsageError for settings the machine or the data cannot meet, Unsupported for an optimizer that asks what the
    problem cannot answer. Neither writes anything.
    """

    def __init__(self, run: Run):
        settings = run.config
        self.settings = settings
        if settings["threads"]:
            torch.set_num_threads(settings["threads"])
        torch.set_flush_denormal(
            True
        )  # what decays in a dead unit ends in denormal numbers: 100 times slower to multiply
        self.device = environment.device(settings["device"])
        cls = registry.load("optimizers", settings["optimizer"]["name"])
        requires = frozenset(getattr(cls, "requires", {"closure"}))
        check_requirements(requires, settings["loss"])
        torch.manual_seed(run.seed)
        self.problem = Problem(settings, self.device)
        check_requirements(requires, settings["loss"], self.problem, self.device)
        self.optimizer = make_optimizer(cls, settings["optimizer"], self.problem.model.parameters())
        if validate := getattr(self.optimizer, "validate_parameters", None):
            validate(ParameterSpace(self.problem.model.named_parameters()))
        self.schedule = make_schedule(self.optimizer, settings["schedule"], self.problem.steps_per_epoch)
        self.commits = "closure" not in requires
        self.clock = Clock(self.device)
        self.instrument = make_instrument(self.problem, self.clock, settings)
        self.step = 0
        self.warm_start_seconds = 0.0
        self.shared = settings["gpu"].get("shared", False)  # a lease says so, see sobench.system.leases
        self.final: dict[str, float] = {}
        self.still = 0
        self.budget = Budget(settings, self.problem.steps_per_epoch)

    def train(self, record: Metrics, save: Callable[[Trainer], None], progress: Report) -> str | None:
        """Train until the budget is spent. Returns the reason if the run diverged, else None."""
        if self.step == 0:
            if reason := self._evaluate(record):
                return reason
            self._warm_start()
            self.instrument.begin()
        losses, due = [], self.budget.next_due(self.step)
        self.clock.start()
        for self.step, f in self.problem.objectives(after=self.step):
            with self.instrument.around(self.step, f):
                losses.append(self.optimizer.step(f))
                if self.commits:
                    f.commit()
            self.schedule(self.step)
            if self.step < due and not self.budget.out_of_time(self.clock):
                continue
            self.clock.stop()
            row, reason = self._record_losses(record, losses)
            losses, due = [], self.budget.next_due(self.step)
            over = self.budget.spent(self.step, self.clock)
            if reason is None and (over or self.budget.evaluates(self.step)):
                reason = self._evaluate(record)
            progress(self.step, self.budget.limit, row)
            if reason or over or self.converged:
                return reason
            save(self)
            self.clock.start()

    def _warm_start(self) -> None:
        """What an optimizer estimates before its first step: its work is metered, its time is kept apart."""
        if warm_start := getattr(self.optimizer, "warm_start", None):
            clock = Clock(self.device)
            clock.start()
            warm_start(self.problem.first_objective())
            clock.stop()
            self.warm_start_seconds = clock.seconds

    @property
    def converged(self) -> bool:
        """Whether the training loss has stood still for as many evaluations as `convergence` asks."""
        return self.still >= self.settings["convergence"]["evaluations"]

    def _record_losses(self, record: Metrics, losses: list) -> tuple[dict, str | None]:
        """One row for the steps since the last; and the reason, if one of their losses is not finite."""
        if any(loss is None for loss in losses):
            raise TypeError("the optimizer's step(f) returned None: it must return the loss, as torch's do")
        values = torch.stack([torch.as_tensor(loss) for loss in losses]).tolist()
        bad = next((i for i, value in enumerate(values) if not math.isfinite(value)), None)
        row = {"kind": "train", **self.position(), "loss": math.fsum(values) / len(values)}
        diagnostics = {k: _number(v) for k, v in getattr(self.optimizer, "diagnostics", {}).items()}
        row = diagnostics | self.instrument.readings() | row
        record.append(row)
        if bad is None:
            return row, None
        return row, f"mini-batch loss is {values[bad]} at step {self.step - len(values) + 1 + bad}"

    def _evaluate(self, record: Metrics) -> str | None:
        """One row of metrics; and the reason, if the training loss is not finite."""
        metrics = self.problem.evaluate()
        record.append({**self.instrument.at_evaluation(), "kind": "eval", **self.position(), **metrics})
        loss, change = metrics["train_loss"], self.settings["convergence"]["change"]
        if self.final and change is not None:
            self.still = self.still + 1 if abs(loss - self.final["train_loss"]) < change else 0
        self.final = metrics
        return None if math.isfinite(loss) else f"training loss is {loss} after step {self.step}"

    def position(self) -> dict[str, float]:
        """Where the run is, on every x axis."""
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
    return value.item() if isinstance(value, Tensor) else value
