"""Instruments: what is measured beside the training, off its clock and its meter, without moving it.

    with instrument.around(step, f):          the loop, once a step
        optimizer.step(f)
    row |= instrument.readings()              the loop, once a row of the record

The trajectory is the same bits with an instrument as without: an instrument asks its own objective of the same batch
(`_beside`), and whatever it does to the model is undone (`_undone`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from sobench import registry
from sobench.clock import Clock
from sobench.cost import Cost
from sobench.errors import UsageError
from sobench.models.free import FreeLinear
from sobench.objective import Objective
from sobench.problem import Problem
from sobench.serve import check_requirements, make_optimizer

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


class Directions(Instrument):
    """The directions in which other optimizers, the companions, would step from every point of the trajectory.

    companions: {label: settings of an optimizer}. Each has a state of its own, which it builds along the run's trajectory:
    it steps on the batch of the run, from the run's parameters, and they are put back. Readings, of the last step:
    cosine/<label>/<i>, i = 1, ..., L, between what the companion and the run's own optimizer did to the i-th layer, weights
    and bias together, in the model's order (Linear and Conv2d layers). NaN where one of them did not move it. Thesis,
    figure 4.1. Raises Unsupported for a companion that asks what the problem cannot answer.
    """

    def __init__(self, problem: Problem, clock: Clock, settings: dict[str, Any]):
        super().__init__(problem, clock, settings)
        self.companions: dict[str, torch.optim.Optimizer] = {}
        for label, companion in settings["instrument"]["companions"].items():
            cls = registry.load("optimizers", companion["name"])
            check_requirements(frozenset(getattr(cls, "requires", {"closure"})), settings["loss"], problem, clock.device)
            self.companions[label] = make_optimizer(cls, companion, problem.model.parameters())
        self._cosines: dict[str, Tensor] = {}

    def begin(self) -> None:
        for companion in self.companions.values():
            if warm_start := getattr(companion, "warm_start", None):
                with self._undone():
                    warm_start(self._unmetered(self.problem.beforehand()))

    @contextmanager
    def around(self, step: int, f: Objective) -> Iterator[None]:
        with self._off_the_clock():
            others = {label: self._move(companion, self._beside(step, f)) for label, companion in self.companions.items()}
            before = f.space.get()
        yield
        with self._off_the_clock():
            own = f.matrices.join(f.space.get() - before)
            for label, other in others.items():
                for i, (name, D) in enumerate(f.matrices.join(other).items(), 1):
                    self._cosines[f"cosine/{label}/{i}"] = (D * own[name]).sum() / (D.norm() * own[name].norm())

    def _move(self, companion: torch.optim.Optimizer, f: Objective) -> Tensor:
        """What a step of a companion adds to theta, [P]."""
        with self._undone():
            before = f.space.get()
            companion.step(f)
            return f.space.get() - before

    def readings(self) -> dict[str, float]:
        found, self._cosines = self._cosines, {}
        return dict(zip(found, torch.stack(list(found.values())).tolist())) if found else {}

    def state_dict(self) -> dict[str, Any]:
        return {label: companion.state_dict() for label, companion in self.companions.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for label, companion in self.companions.items():
            companion.load_state_dict(state[label])


class Descent(Instrument):
    """What each step did to the loss of its own batch. Reading: `batch_change`, the largest rise, or the smallest fall, of the
    steps since the last row of the record, after minus before."""

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
        found, self._changes = self._changes, []
        return {"batch_change": torch.stack(found).max().item()} if found else {}


class Trajectory(Instrument):
    """The way of a model's two free weights (model=free_mlp) over the landscape of the training loss.

    Readings: `weight/0`, `weight/1` after the last step; and once, with the first of them, `landscape/<u>/<v>`, the training
    loss where the two are u and v: a grid of `points` x `points` within `radius` of where they start, and `start/0`, `start/1`.
    Raises UsageError for a model without two free weights.
    """

    def __init__(self, problem: Problem, clock: Clock, settings: dict[str, Any]):
        super().__init__(problem, clock, settings)
        self._layer = next((m for m in problem.model.modules() if isinstance(m, FreeLinear)), None)
        if self._layer is None or len(self._layer.places) != 2:
            raise UsageError("instrument: trajectory is of two free weights; allowed: model=free_mlp model.free=2")
        self._points, self._radius = settings["instrument"]["points"], settings["instrument"]["radius"]
        self._once: dict[str, float] = {}

    @torch.no_grad()
    def begin(self) -> None:
        f, start = self._unmetered(self.problem.beforehand()).full(), self._layer.free().tolist()
        axes = [torch.linspace(w - self._radius, w + self._radius, self._points).tolist() for w in start]
        self._once = {"start/0": start[0], "start/1": start[1]}
        with self._undone():
            for u, v in itertools.product(*axes):
                self._layer.weight[tuple(self._layer.places.T)] = self._layer.weight.new_tensor([u, v])
                self._once[f"landscape/{u:.6g}/{v:.6g}"] = float(f.loss())

    def readings(self) -> dict[str, float]:
        found, self._once = self._once, {}
        u, v = self._layer.free().tolist()
        return {**found, "weight/0": u, "weight/1": v}

    def state_dict(self) -> dict[str, Any]:
        return {"once": self._once}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._once = state["once"]


INSTRUMENTS: dict[str, type[Instrument]] = {
    "none": Instrument, "directions": Directions, "descent": Descent, "trajectory": Trajectory}
"""By the names of conf/instrument/."""


def make_instrument(problem: Problem, clock: Clock, settings: dict[str, Any]) -> Instrument:
    """The instrument that the settings of a run choose."""
    return INSTRUMENTS[settings["instrument"]["name"]](problem, clock, settings)
