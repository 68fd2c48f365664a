"""Parts of small networks, their objectives, and the optimizers that take layer records."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sobench import Objective, load_optimizer
from sobench.losses import CrossEntropy

N, WIDTH, CLASSES = 6, 4, 3
LAYERED = ("kfac", "block_fisher", "kbfgs", "kbfgs_l", "kbfgs20", "smw_gn", "smw_ng", "smw_ng_bd")
"""Optimizers that take layer records."""


def square() -> nn.Linear:
    return nn.Linear(WIDTH, WIDTH)


def last() -> nn.Linear:
    return nn.Linear(WIDTH, CLASSES)


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make().double()


def objective(model: nn.Module) -> Objective:
    torch.manual_seed(1)
    return Objective(model, CrossEntropy(), (torch.randn(N, WIDTH).double(), torch.arange(N) % CLASSES))


def trained(optimizer: str, model: nn.Module) -> Tensor:
    """theta [P] after three steps on one batch."""
    method, f = load_optimizer(optimizer)(model.parameters()), objective(model)
    for seed in range(3):
        torch.manual_seed(seed)
        method.step(f.on(f.batch))
    return f.space.get()
