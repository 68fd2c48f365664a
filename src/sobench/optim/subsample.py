"""The part of a batch that curvature is estimated on."""

from __future__ import annotations

import torch
from torch import Tensor

from sobench.objective import Objective


def subsample(f: Objective, count: int | None) -> Tensor | None:
    """`count` different samples of the batch by their numbers, [count], drawn anew at each step; None for all of them, which is
    also what a batch of no more than `count` gives."""
    if count is None or count >= len(f):
        return None
    device = f.space.parameters[0].device
    return torch.randperm(len(f), generator=f.generator("probe"), device=device)[:count]
