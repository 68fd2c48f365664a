"""The instrument `descent`: the change that each step makes in the loss of its own batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from sobench.objective import Objective
from sobench.training.clock import Clock
from sobench.training.instruments.base import Instrument
from sobench.training.problem import Problem


class Descent(Instrument):
    """The change that each step makes in the loss of its own batch: the loss after the step minus the loss before it.

    Reading: `batch_change`, the largest change of the steps since the last row: the largest rise, or the smallest fall.
    """

    def __init__(self, problem: Problem, clock: Clock, settings: dict[str, Any]):
        super().__init__(problem, clock, settings)
        self._changes: list[Tensor] = []

    @contextmanager
    def around(self, step: int, f: Objective) -> Iterator[None]:
        with self._off_the_clock():
            beside = self._beside(step, f)
            before = beside.loss()
        yield
        with self._off_the_clock():
            self._changes.append(beside.loss() - before)

    def readings(self) -> dict[str, float]:
        changes, self._changes = self._changes, []
        return {"batch_change": torch.stack(changes).max().item()} if changes else {}
