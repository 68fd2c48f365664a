"""Instruments: what is measured beside the training, off its clock and its meter, without moving it.

    with instrument.around(step, f):          the loop, once a step
        optimizer.step(f)
    row |= instrument.readings()              the loop, once a row of the record
    row |= instrument.at_evaluation()         the loop, at every evaluation, the first of which is before step 1

The trajectory is the same bits with an instrument as without: an instrument asks its own objective of the same batch
(`_beside`), and whatever it does to the model is undone (`_undone`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from sobench.objective import Objective
from sobench.objective.cost import Cost
from sobench.training.clock import Clock
from sobench.training.problem import Problem

_NOTHING = nullcontext()


class Instrument:
    """The instrument that measures nothing, and what others are made of. settings: those of the run."""

    def __init__(self, problem: Problem, clock: Clock, settings: dict[str, Any]):
        self.problem, self.clock = problem, clock

    def begin(self) -> None:
        """Before the first step of a run; the clock does not run yet."""

    def around(self, step: int, f: Objective) -> AbstractContextManager[None]:
        """The context of one step, on the batch of f; the clock runs."""
        return _NOTHING

    def at_evaluation(self) -> dict[str, float]:
        """What is found at an evaluation, for its row; the clock does not run."""
        return {}

    def readings(self) -> dict[str, float]:
        """What was found since the last call, for the record."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass

    # What others are made of

    def _beside(self, step: int, f: Objective) -> Objective:
        """f with a meter and random streams of its own, which draw what f will draw."""
        return self._unmetered(f.on(f.batch, self.problem.streams.at(step)))

    @staticmethod
    def _unmetered(f: Objective) -> Objective:
        f.cost = Cost()
        return f

    @contextmanager
    def _off_the_clock(self) -> Iterator[None]:
        self.clock.stop()
        yield
        self.clock.start()

    @contextmanager
    def _undone(self) -> Iterator[None]:
        """At the end parameters, `.grad`, buffers and torch's global random state are put back."""
        model = self.problem.model
        tensors = [*model.parameters(), *model.buffers()]
        values, grads = [t.detach().clone() for t in tensors], [p.grad for p in model.parameters()]
        devices = [tensors[0].device] if tensors[0].is_cuda else []
        with torch.random.fork_rng(devices):
            yield
        with torch.no_grad():
            for t, value in zip(tensors, values):
                t.copy_(value)
        for p, grad in zip(model.parameters(), grads):
            p.grad = grad
