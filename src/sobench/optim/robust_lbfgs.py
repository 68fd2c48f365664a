"""Multi-batch L-BFGS: gradient differences are taken over the samples that two successive batches have in common.

A. S. Berahas, J. Nocedal, M. Takac, A Multi-Batch L-BFGS Method for Machine Learning (NIPS 2016), a baseline of Kernel
SGD (section 4.1, history 10):

    S_k = O_{k-1} + N_k + O_k                             the sample of step k; O_k is in S_{k+1} too
    s_k = w_{k+1} - w_k                                   y_k = grad F_{O_k}(w_{k+1}) - grad F_{O_k}(w_k)
    w_{k+1} = w_k - lr H_k grad F_{S_k}(w_k)              H_k: L-BFGS of the last pairs, gamma = s'y / y'y of the latest

A pair is skipped unless s'y >= cautious ||s||^2 (their rule where the loss is not convex) and s'y > 0. H_1 = I.

Here N_k + O_k is the batch of m samples that step k is given, and O_k is its last round(overlap m) samples. So S_k has
those m samples and the ones kept from the batch before. Its gradient is the mean of three passes, weighted by their
samples; the passes over O_{k-1} and O_k give the y. A step costs m + |O_{k-1}| samples.

O_k has at least two samples, and is all of the batch where N_k would be a single one: BatchNorm normalises each pass
by the samples of that pass and cannot do with one. y is the difference of one function all the same. Dropout draws its
masks anew in every step, so there y has their noise. The loss that a step returns is that of N_k + O_k, the new
samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sobench.config.rules import OPTIMIZER_RULES
from sobench.linalg.quasi_newton import Scaled
from sobench.objective import Objective
from sobench.optim.base import SecondOrderOptimizer


class RobustLBFGS(SecondOrderOptimizer):
    """history: pairs kept; overlap: |O_k| / m; cautious: the least s'y / s's of a pair.

    State: `H`, with 2 history P numbers of pairs; `theta` w_k [P]; `gradient` grad F_{O_k}(w_k) [P]; `inputs` and
    `targets` of O_k. diagnostics: `pair_taken`, 1 or 0; the first step has no pair.
    """

    requires = frozenset({"value_and_grad"})
    rules = OPTIMIZER_RULES["robust_lbfgs"]

    def __init__(self, params, lr: float = 0.1, history: int = 10, overlap: float = 0.25, cautious: float = 1e-8):
        super().__init__(params, lr=lr, history=history, overlap=overlap, cautious=cautious)

    def initialize(self, f: Objective) -> None:
        self.global_state["H"] = Scaled.start(1.0, f.space.get(), self.hyperparameters["history"]).state

    def step(self, f: Objective) -> Tensor:
        k, theta, H = self.begin(f), f.space.get(), Scaled(self.global_state["H"])
        batch = self.split(f)
        passes = [(len(part), *part.value_and_grad()) for part in batch]
        loss = mean([(n, loss) for n, loss, _ in passes])
        max(batch, key=len).commit()  # the training loop commits f, and no pass was made on f itself
        known = passes[-1]
        if k > 1:
            passes.append(self.learn(f, H, theta))
        g = mean([(n, g) for n, _, g in passes])
        self.global_state.update(
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
        """Complete the pair of the step before by a pass over O_{k-1} at w_k = theta, and update H with it.

        Returns the samples, the loss and the gradient [P] of that pass.
        """
        overlap = f.with_batch((self.global_state["inputs"], self.global_state["targets"]))
        loss, g = overlap.value_and_grad()
        s, y = theta - self.global_state["theta"], g - self.global_state["gradient"]
        taken = s @ y >= self.hyperparameters["cautious"] * (s @ s)
        H.update_(s, torch.where(taken, y, 0.0))
        self.diagnostics = {"pair_taken": taken}
        return len(overlap), loss, g


def mean(weighted: list[tuple[int, Tensor]]) -> Tensor:
    """The mean of tensors of one shape, each with its number of samples."""
    total = sum(n for n, _ in weighted)
    return sum((n / total * x for n, x in weighted), start=torch.zeros_like(weighted[0][1]))
