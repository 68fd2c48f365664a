"""Learning-rate schedules: torch's schedulers, advanced once an epoch."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch.optim import lr_scheduler

from sobench.config import registry, signature
from sobench.errors import UsageError


class Schedule:
    """Advances a scheduler of torch at the end of each epoch. scheduler None: the learning rate stays constant."""

    def __init__(self, scheduler: lr_scheduler.LRScheduler | None, steps_per_epoch: int):
        self._scheduler, self._steps_per_epoch = scheduler, steps_per_epoch

    def __call__(self, step: int) -> None:
        """To be called after every step, with the number of the step."""
        if self._scheduler is not None and step % self._steps_per_epoch == 0:
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


def make_schedule(optimizer: torch.optim.Optimizer, settings: dict[str, Any], steps_per_epoch: int) -> Schedule:
    """The schedule that the settings choose by `name`; their other keys are parameters of the function that makes it.

    Raises UsageError for a plug-in that fails or returns something else than a scheduler.
    """
    name, options = settings["name"], {k: v for k, v in settings.items() if k != "name"}
    scheduler = signature.call("schedule", name, {}, options, optimizer)
    if scheduler is not None and not _advances_by_itself(scheduler):
        raise UsageError(
            f"{registry.named('schedules', name)} returned {type(scheduler).__name__}; allowed: a scheduler of "
            "torch.optim.lr_scheduler whose step() needs no argument, or None"
        )
    return Schedule(scheduler, steps_per_epoch)


def _advances_by_itself(scheduler: object) -> bool:
    if not isinstance(scheduler, lr_scheduler.LRScheduler):
        return False
    required = [p for p in inspect.signature(scheduler.step).parameters.values() if p.default is p.empty]
    return not any(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) for p in required)
