"""Learning-rate schedules: torch's own, stepped once an epoch."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import lr_scheduler


class Schedule:
    """Called after every step; moves torch's scheduler at the end of each epoch. None: a constant learning rate."""

    def __init__(self, scheduler: lr_scheduler.LRScheduler | None, steps_per_epoch: int):
        self._scheduler, self._steps_per_epoch = scheduler, steps_per_epoch

    def __call__(self, step: int) -> None:
        if self._scheduler is not None and step % self._steps_per_epoch == 0:
            self._scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        return {} if self._scheduler is None else self._scheduler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._scheduler is not None:
            self._scheduler.load_state_dict(state)


SCHEDULES = {
    "constant": lambda optimizer: None,
    "step": lambda optimizer, period, gamma: lr_scheduler.StepLR(optimizer, period, gamma),
    "cosine": lambda optimizer, epochs: lr_scheduler.CosineAnnealingLR(optimizer, epochs),
}


def make_schedule(optimizer: torch.optim.Optimizer, settings: dict[str, Any], steps_per_epoch: int) -> Schedule:
    """The schedule of conf/schedule/<name>.yaml."""
    options = {k: v for k, v in settings.items() if k != "name"}
    return Schedule(SCHEDULES[settings["name"]](optimizer, **options), steps_per_epoch)
