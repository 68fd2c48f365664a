"""SGD with momentum and decoupled weight decay.

    W <- W - lr (m + weight_decay W)          m as torch.optim.SGD's, from the gradient alone

I. Loshchilov and F. Hutter, Decoupled Weight Decay Regularization (2019), with their schedule multiplier in lr, as Y.
Ren runs it (thesis, sections 3.7.2 and 4.7.2: `the same modification is done for SGD-m`).
"""

from __future__ import annotations

import torch

from sobench.objective.torch_private import multi_mul_


class SGDW(torch.optim.SGD):
    """torch.optim.SGD with the same arguments, but weight_decay is decoupled. A parameter without `.grad` stays."""

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        decays = [group["weight_decay"] for group in self.param_groups]
        for group, decay in zip(self.param_groups, decays):
            if decay:
                multi_mul_([p for p in group["params"] if p.grad is not None], 1 - group["lr"] * decay)
            group["weight_decay"] = 0.0
        try:
            super().step()
        finally:
            for group, decay in zip(self.param_groups, decays):
                group["weight_decay"] = decay
        return loss
