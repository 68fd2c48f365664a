"""Learning-rate schedules: torch's schedulers, advanced once an epoch or, as `every` says, after every step.

Four of them act at every step i = 0, 1, ..., T - 1 of the budget's T steps. The learning rate is lr times a factor,
which rises over the first w = round(warmup T) steps:

    i < w              (i + 1) / w
    warmup             1 afterwards
    linear             1 - (1 - final) (i - w) / (T - w)
    warmup_cosine      final + (1 - final) (1 + cos(pi (i - w) / (T - w))) / 2                       (1)
    wsd                1 until the last d = round(decay T) steps, then                               (2)
                       1 - (1 - final) s((i - T + d) / d),  s(x) = x (shape linear) or sqrt(x) (shape sqrt)

(1) I. Loshchilov and F. Hutter, SGDR (2017), equation 5, without restarts; the warm-up of P. Goyal et al., Accurate,
Large Minibatch SGD (2017), section 2.2. (2) S. Hu et al., MiniCPM (2024), section 4; s(x) = sqrt(x) is "1-sqrt" of A.
Haegele et al., Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations (2024).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import lr_scheduler

from sobench.config import registry, signature
from sobench.errors import UsageError


class Schedule:
    """Advances a scheduler of torch after every `period` steps. scheduler None: the learning rate stays constant."""

    def __init__(self, scheduler: lr_scheduler.LRScheduler | None, period: int):
        self._scheduler, self._period = scheduler, period

    def __call__(self, step: int) -> None:
        """To be called after every step, with the number of the step."""
        if self._scheduler is not None and step % self._period == 0:
            self._scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """The scheduler's state; empty for a constant learning rate."""
        return {} if self._scheduler is None else self._scheduler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state that `state_dict` returned."""
        if self._scheduler is not None:
            self._scheduler.load_state_dict(state)


def constant(optimizer: torch.optim.Optimizer) -> None:
    """No scheduler."""


def step(optimizer: torch.optim.Optimizer, period: int, gamma: float) -> lr_scheduler.LRScheduler:
    """The learning rate times `gamma` after every `period` epochs."""
    return lr_scheduler.StepLR(optimizer, period, gamma)


def cosine(optimizer: torch.optim.Optimizer, epochs: int) -> lr_scheduler.LRScheduler:
    """The learning rate falls to zero over `epochs` epochs along half a cosine."""
    return lr_scheduler.CosineAnnealingLR(optimizer, epochs)


def warmup(optimizer: torch.optim.Optimizer, total_steps: int | None, warmup: float) -> lr_scheduler.LRScheduler:
    """The learning rate rises over the first share `warmup` of the steps, and stays."""
    return _after_warmup(optimizer, total_steps, warmup, lambda i, w, T: 1.0)


def linear(
    optimizer: torch.optim.Optimizer, total_steps: int | None, warmup: float, final: float
) -> lr_scheduler.LRScheduler:
    """After the warm-up the learning rate falls along a line to `final` times itself."""
    return _after_warmup(optimizer, total_steps, warmup, lambda i, w, T: 1 - (1 - final) * (i - w) / (T - w))


def warmup_cosine(
    optimizer: torch.optim.Optimizer, total_steps: int | None, warmup: float, final: float
) -> lr_scheduler.LRScheduler:
    """After the warm-up the learning rate falls along half a cosine to `final` times itself."""
    return _after_warmup(
        optimizer,
        total_steps,
        warmup,
        lambda i, w, T: final + (1 - final) * (1 + math.cos(math.pi * (i - w) / (T - w))) / 2,
    )


def wsd(
    optimizer: torch.optim.Optimizer, total_steps: int | None, warmup: float, decay: float, shape: str, final: float
) -> lr_scheduler.LRScheduler:
    """Warm-up, stable, decay: the learning rate falls over the last share `decay` of the steps to `final` times itself.

    Raises UsageError if warm-up and decay are longer than the run.
    """
    if warmup + decay > 1:
        raise UsageError(f"schedule.decay: got {decay:g} with schedule.warmup={warmup:g}; allowed: a sum of at most 1")

    def factor(i: int, w: int, T: int) -> float:
        d = max(1, round(decay * T))
        share = max(0, i - T + d) / d
        return 1 - (1 - final) * (math.sqrt(share) if shape == "sqrt" else share)

    return _after_warmup(optimizer, total_steps, warmup, factor)


def _after_warmup(
    optimizer: torch.optim.Optimizer, T: int | None, warmup: float, factor: Callable[[int, int, int], float]
) -> lr_scheduler.LRScheduler:
    """The scheduler of `factor(i, w, T)` for the steps i = w, ..., T - 1 after the w of the warm-up; see above.

    Raises UsageError for a budget of seconds alone, which has no T.
    """
    if T is None:
        raise UsageError("schedule: takes the number of steps of the run; allowed: with budget.epochs or budget.steps")
    w = min(round(warmup * T), T - 1)
    return lr_scheduler.LambdaLR(optimizer, lambda i: (i + 1) / w if i < w else factor(min(i, T), w, T))


def make_schedule(
    optimizer: torch.optim.Optimizer, settings: dict[str, Any], steps_per_epoch: int, steps: int | None
) -> Schedule:
    """The schedule that the settings choose by `name`; their other keys are parameters of the function that makes it.

    steps: those of the run; None if only seconds limit it. The parameter `total_steps` of the function is the number
    of times that the scheduler advances in a run. Raises UsageError for a plug-in that fails or returns something else
    than a scheduler.
    """
    name = settings["name"]
    options = {key: value for key, value in settings.items() if key not in signature.RESERVED["schedule"]}
    period = 1 if settings.get("every") == "step" else steps_per_epoch
    given = {"total_steps": None if steps is None else math.ceil(steps / period)}
    scheduler = signature.call("schedule", name, given, options, optimizer)
    if scheduler is not None and not _advances_by_itself(scheduler):
        raise UsageError(
            f"{registry.named('schedules', name)} returned {type(scheduler).__name__}; allowed: a scheduler of "
            "torch.optim.lr_scheduler whose step() needs no argument, or None"
        )
    return Schedule(scheduler, period)


def _advances_by_itself(scheduler: object) -> bool:
    if not isinstance(scheduler, lr_scheduler.LRScheduler):
        return False
    required = [p for p in inspect.signature(scheduler.step).parameters.values() if p.default is p.empty]
    return not any(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) for p in required)
