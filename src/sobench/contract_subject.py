"""One optimizer on a small real problem, which the checks of its contract look at."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import torch
from torch import Tensor

from sobench.grid import expand
from sobench.run import Run
from sobench.train import Trainer

BASE = ("dataset=digits", "model=mlp", "model.widths=[4]", "model.activation=tanh", "dtype=float64", "batch_size=32",
        "budget.steps=1000", "threads=1")
STEPS = 12
"""In which a hyperparameter has to show, and an oracle to be used."""


class Broken(AssertionError):
    """The optimizer breaks its contract; the text says how."""


class Subject:
    """One optimizer, made anew for every check. `settings` are overrides that a plug-in needs (a value without default)."""

    def __init__(self, name: str, settings: tuple[str, ...] = ()):
        self.name = name
        self.run: Run = expand([*BASE, f"optimizer={name}", *settings])[0]
        self.hyperparameters = {k: v for k, v in self.run.config["optimizer"].items() if k != "name"}

    def trainer(self, seed: int = 0, **hyperparameters: Any) -> Trainer:
        config = copy.deepcopy(self.run.config) | {"seed": seed}
        config["optimizer"].update(hyperparameters)
        return Trainer(Run.of(config))


def advance(trainer: Trainer, steps: int) -> list[float]:
    """Train that many steps more; the losses."""
    losses = []
    for trainer.step, f in itertools.islice(trainer.problem.objectives(after=trainer.step), steps):
        losses.append(float(trainer.optimizer.step(f)))
    return losses


def theta(trainer: Trainer) -> Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.problem.model.parameters()])


def same_bits(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.view(torch.int64), b.view(torch.int64))
