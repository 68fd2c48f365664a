"""A random part of a batch, on which curvature is estimated."""

from __future__ import annotations

import torch
from torch import Tensor

from sobench.objective import Objective


def subsample(f: Objective, count: int | None) -> Tensor | None:
    """Indices [count] of different samples of the batch, drawn anew at each call.

    None stands for the whole batch: if count is None, or the batch has at most `count` samples.
    """
    if count is None or count >= len(f):
        return None
    device = f.space.parameters[0].device
    return torch.randperm(len(f), generator=f.generator("probe"), device=device)[:count]
