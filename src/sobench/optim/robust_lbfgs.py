"""Multi-batch L-BFGS: its gradient differences are of samples that two batches in a row have in common.

A. S. Berahas, J. Nocedal, M. Takac, A Multi-Batch L-BFGS Method for Machine Learning (NIPS 2016), a baseline of Kernel SGD
(section 4.1, history 10):

    S_k = O_{k-1} + N_k + O_k                             the sample of step k; O_k is in S_{k+1} too
    s_k = w_{k+1} - w_k                                   y_k = grad F_{O_k}(w_{k+1}) - grad F_{O_k}(w_k)
    w_{k+1} = w_k - lr H_k grad F_{S_k}(w_k)              H_k: L-BFGS of the last pairs, gamma = s'y / y'y of the latest

A pair is skipped unless s'y >= cautious ||s||^2 (their rule where the loss is not convex) and s'y > 0. H_1 = I.

Here N_k + O_k is the batch of m samples that step k is given, and O_k is its last round(overlap m) samples, so S_k has m samples
and those kept from the batch before. Its gradient is the mean of three passes, weighted by their samples, of which those over O
make y: m + |O_{k-1}| samples a step, no more. O_k has at least two samples, and is all of the batch where N_k would be a single
one: BatchNorm, which normalises in each pass by the samples of that pass, cannot do with one; y is the difference of one
function all the same. Dropout draws its masks anew in every step, so there y has their noise. The loss that a step returns is
that of N_k + O_k, the new samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sobench.linalg.quasi_newton import Scaled
from sobench.objective import Objective
from sobench.optim.base import SecondOrderOptimizer


class RobustLBFGS(SecondOrderOptimizer):
    """history: pairs kept; overlap: |O_k| / m; cautious: the least s'y / s's of a pair.

    State: `H`, of which 2 history P numbers are pairs; `theta` w_k [P], `gradient` grad F_{O_k}(w_k) [P], and `inputs` and
    `targets`, O_k. diagnostics: `pair_taken`, 1 or 0; the first step has no pair.
    """

    requires = frozenset({"value_and_grad"})

    def __init__(self, params, lr: float = 0.1, history: int = 10, overlap: float = 0.25, cautious: float = 1e-8):
        super().__init__(params, lr=lr, history=history, overlap=overlap, cautious=cautious)

    def initialize(self, f: Objective) -> None:
        self.shared["H"] = Scaled.start(1.0, f.space.get(), self.hyperparameters["history"]).state

    def step(self, f: Objective) -> Tensor:
        k, theta, H = self.begin(f), f.space.get(), Scaled(self.shared["H"])
        batch = self.split(f)
        passes = [(len(part), *part.value_and_grad()) for part in batch]
        loss = mean([(n, loss) for n, loss, _ in passes])
        max(batch, key=len).commit()  # the loop's own commit is of f, and no pass was made on f itself
        known = passes[-1]
        if k > 1:
            passes.append(self.learn(f, H, theta))
        g = mean([(n, g) for n, _, g in passes])
        self.shared.update(
            theta=theta, gradient=known[2], inputs=batch[-1].batch.inputs, targets=batch[-1].batch.targets
        )
        self.descend(f, H @ g)
        return loss

    def split(self, f: Objective) -> list[Objective]:
        """[N_k, O_k] of the batch; [O_k] where O_k is all of it."""
        inputs, targets = f.batch.inputs, f.batch.targets
        first = len(f) - max(2, round(self.hyperparameters["overlap"] * len(f)))
        if first < 2:
            return [f.with_batch((inputs.clone(), targets.clone()))]
        return [
            f.with_batch((inputs[:first], targets[:first])),
            f.with_batch((inputs[first:].clone(), targets[first:].clone())),
        ]

    def learn(self, f: Objective, H: Scaled, theta: Tensor) -> tuple[int, Tensor, Tensor]:
        """The pass over O_{k-1} at w_k = theta: (its samples, loss, gradient); and H <- H+ with the pair that it completes."""
        kept = f.with_batch((self.shared["inputs"], self.shared["targets"]))
        loss, g = kept.value_and_grad()
        s, y = theta - self.shared["theta"], g - self.shared["gradient"]
        taken = s @ y >= self.hyperparameters["cautious"] * (s @ s)
        H.update_(s, torch.where(taken, y, 0.0))
        self.diagnostics = {"pair_taken": taken}
        return len(kept), loss, g


def mean(weighted: list[tuple[int, Tensor]]) -> Tensor:
    """The mean of tensors of one shape, each with its number of samples."""
    total = sum(n for n, _ in weighted)
    return sum(n / total * x for n, x in weighted)
