"""The one training loop of the project, and everything that it moves."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sobench import machine, registry
from sobench.clock import Clock
from sobench.instruments import make_instrument
from sobench.problem import Problem
from sobench.results.rundir import Metrics
from sobench.run import Run
from sobench.schedule import make_schedule
from sobench.serve import check_requirements, make_optimizer
from sobench.space import ParameterSpace

Report = Callable[[int, int | None, dict[str, float]], None]
"""progress(step, steps or None, last row)"""


class Trainer:
    """Everything that a run's loop moves: problem, optimizer, schedule, clock; and what a checkpoint saves of them.

    Raises UsageError for settings the machine or the data cannot meet, Unsupported for an optimizer that asks what the
    problem cannot answer. Neither writes anything.
    """

    def __init__(self, run: Run):
        settings = run.config
        self.settings = settings
        if settings["threads"]:
            torch.set_num_threads(settings["threads"])
        torch.set_flush_denormal(True)  # what decays in a dead unit ends in denormal numbers: 100 times slower to multiply
        self.device = machine.device(settings["device"])
        cls = registry.load("optimizers", settings["optimizer"]["name"])
        requires = frozenset(getattr(cls, "requires", {"closure"}))
        check_requirements(requires, settings["loss"])
        torch.manual_seed(run.seed)
        self.problem = Problem(settings, self.device)
        check_requirements(requires, settings["loss"], self.problem, self.device)
        self.optimizer = make_optimizer(cls, settings["optimizer"], self.problem.model.parameters())
        if fits := getattr(self.optimizer, "fits", None):
            fits(ParameterSpace(self.problem.model.named_parameters()))
        self.schedule = make_schedule(self.optimizer, settings["schedule"], self.problem.steps_per_epoch)
        self.commits = "closure" not in requires
        self.clock = Clock(self.device)
        self.instrument = make_instrument(self.problem, self.clock, settings)
        self.step = 0
        self.warm_start_seconds = 0.0
        self.shared = settings["gpu"].get("shared", False)  # a lease says so, see sobench.slots
        self.final: dict[str, float] = {}
        self.still = 0
        self.limit = self._step_limit()
        evaluate = settings["evaluate"]
        self._evaluation_periods = [evaluate["every"] * self.problem.steps_per_epoch]
        self._evaluation_periods += [] if evaluate["steps"] is None else [evaluate["steps"]]

    def _step_limit(self) -> int | None:
        budget = self.settings["budget"]
        epochs = budget["epochs"]
        by_epochs = None if epochs is None else max(1, round(epochs * self.problem.steps_per_epoch))
        limits = [limit for limit in (budget["steps"], by_epochs) if limit is not None]
        return min(limits, default=None)

    # The loop

    def train(self, record: Metrics, save: Callable[[Trainer], None], progress: Report) -> str | None:
        """Train until the budget is spent. Returns the reason if the run diverged, else None."""
        if self.step == 0:
            if reason := self._evaluate(record):
                return reason
            self._warm_start()
            self.instrument.begin()
        losses, due = [], self._next_due()
        self.clock.start()
        for self.step, f in self.problem.objectives(after=self.step):
            with self.instrument.around(self.step, f):
                losses.append(self.optimizer.step(f))
                if self.commits:
                    f.commit()
            self.schedule(self.step)
            if self.step < due and not self._out_of_time():
                continue
            self.clock.stop()
            row, reason = self._record_losses(record, losses)
            losses, due = [], self._next_due()
            over = self._spent()
            if reason is None and (over or self._evaluation_due()):
                reason = self._evaluate(record)
            progress(self.step, self.limit, row)
            if reason or over or self._converged():
                return reason
            save(self)
            self.clock.start()

    def _warm_start(self) -> None:
        """What an optimizer estimates before its first step: its work is metered, its time is kept apart."""
        if warm_start := getattr(self.optimizer, "warm_start", None):
            clock = Clock(self.device)
            clock.start()
            warm_start(self.problem.beforehand())
            clock.stop()
            self.warm_start_seconds = clock.seconds

    def _next_due(self) -> int:
        """The next step after which there is something to do besides stepping."""
        periods = [self.settings["log"]["every"], *self._evaluation_periods]
        following = [(self.step // period + 1) * period for period in periods]
        return min(following if self.limit is None else [*following, self.limit])

    def _evaluation_due(self) -> bool:
        return any(self.step % period == 0 for period in self._evaluation_periods)

    def evaluations(self, steps: int) -> int:
        """How many evaluations a run of so many steps makes, with those before the first step and after the last."""
        due = {step for period in self._evaluation_periods for step in range(period, steps + 1, period)}
        return 1 + len(due | {steps})

    def _out_of_time(self) -> bool:
        seconds = self.settings["budget"]["seconds"]
        return seconds is not None and self.clock.running() >= seconds

    def _spent(self) -> bool:
        seconds = self.settings["budget"]["seconds"]
        return self.step == self.limit or (seconds is not None and self.clock.seconds >= seconds)

    def _converged(self) -> bool:
        """Whether the training loss has stood still for as many evaluations as `convergence` asks."""
        return self.still >= self.settings["convergence"]["evaluations"]

    def _record_losses(self, record: Metrics, losses: list) -> tuple[dict, str | None]:
        """One row for the steps since the last; and the reason, if one of their losses is not finite."""
        if any(loss is None for loss in losses):
            raise TypeError("the optimizer's step(f) returned None: it must return the loss, as torch's do")
        values = torch.stack([torch.as_tensor(loss) for loss in losses]).tolist()
        bad = next((i for i, value in enumerate(values) if not math.isfinite(value)), None)
        row = {"kind": "train", **self._position(), "loss": math.fsum(values) / len(values)}
        diagnostics = {k: _number(v) for k, v in getattr(self.optimizer, "diagnostics", {}).items()}
        row = diagnostics | self.instrument.readings() | row
        record.append(row)
        if bad is None:
            return row, None
        return row, f"mini-batch loss is {values[bad]} at step {self.step - len(values) + 1 + bad}"

    def _evaluate(self, record: Metrics) -> str | None:
        """One row of metrics; and the reason, if the training loss is not finite."""
        metrics = self.problem.evaluate()
        record.append({**self.instrument.at_evaluation(), "kind": "eval", **self._position(), **metrics})
        loss, change = metrics["train_loss"], self.settings["convergence"]["change"]
        if self.final and change is not None:
            self.still = self.still + 1 if abs(loss - self.final["train_loss"]) < change else 0
        self.final = metrics
        return None if math.isfinite(loss) else f"training loss is {loss} after step {self.step}"

    def _position(self) -> dict[str, float]:
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

    # What is saved

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on, and the clock and the meter."""
        return {
            "step": self.step,
            "clock": [self.clock.seconds, self.clock.process_seconds],
            "warm_start_seconds": self.warm_start_seconds,
            "shared": self.shared,
            "cost": self.problem.cost.counts(),
            "model": self.problem.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "instrument": self.instrument.state_dict(),
            "final": self.final,
            "still": self.still,
            "random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where `state()` was taken."""
        self.step = state["step"]
        self.clock.seconds, self.clock.process_seconds = state["clock"]
        self.warm_start_seconds = state["warm_start_seconds"]
        self.shared = self.shared or state.get("shared", False)  # as is the clock's time up to here
        vars(self.problem.cost).update(state["cost"])
        self.problem.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.instrument.load_state_dict(state.get("instrument", {}))
        self.final = state["final"]
        self.still = state.get("still", 0)
        torch.set_rng_state(state["random"].cpu())
        if state["cuda_random"] is not None:
            torch.cuda.set_rng_state(state["cuda_random"].cpu(), self.device)

    def summary(self, status: str, reason: str | None) -> dict[str, Any]:
        parameters = [p.detach() for p in self.problem.model.parameters()]
        position = self._position()
        return {
            "status": status,
            "reason": reason,
            "steps": self.step,
            "epochs": position["epoch"],
            "converged": self._converged(),
            **{key: position[key] for key in ("seconds", "process_seconds", "work")},
            "warm_start_seconds": self.warm_start_seconds,
            "shared": self.shared,
            **machine.peak_memory(self.device),
            "state_bytes": tensor_bytes(self.optimizer.state_dict()["state"]),
            "parameters": sum(p.numel() for p in parameters),
            "parameters_sha256": sha256(parameters),
            "final": self.final,
        }


def tensor_bytes(state: Any) -> int:
    """Bytes of all tensors in nested dicts, lists and tuples."""
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, (list, tuple)) else ()
    return sum(tensor_bytes(part) for part in parts)


def sha256(tensors: list[Tensor]) -> str:
    """One digest of the bits of all tensors."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) else value
