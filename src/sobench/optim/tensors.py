"""The common part of TNT and Shampoo: a symmetric matrix for each mode of each tensor, from contracted gradients.

    G_i <- beta G_i + (1 - beta) G^(i)                     G^(i) = mat_i(G) mat_i(G)^T, for a gradient G [d_1, ..., d_k]
    P = M x_1 H_1 ... x_k H_k                              M the momentum, H_i [d_i, d_i] a function of the G_i

Y. Ren, thesis, algorithms 15 and 16. The tensors are the model's trained parameters: a bias or a BatchNorm vector is a
tensor of one mode, a parameter without dimensions is a vector of length 1, and a convolution's kernel has three modes:
output channels, input channels, and all of its pixels (section 4.7.2).

Both boxes order a step alike: gradient, momentum, statistics every T1 steps, H every T2, direction, weight decay. G
starts as the mean of the contractions over the batches of the training set (the thesis calls this a warm start), and
the first step uses it as it is.

Deviations. H is formed at the first step too, where the boxes have none before step T2. early_inverses: each of the
first T2 steps whose statistics are new forms H again, as in chapter 2 (algorithm 7, line 10). Without it the first H
lasts from the initial point to step T2, and TNT with the thesis's settings diverges on the MNIST autoencoder at step
18; with it, the loss after an epoch is within 1 % of the authors' own. G has the precision of a flat vector: at
least float32.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sobench.linalg.kronecker import contraction, mode_products
from sobench.objective import Objective
from sobench.objective.layers.modes import tensor_shapes
from sobench.optim.base import SecondOrderOptimizer


class TensorOptimizer(SecondOrderOptimizer):
    """Keeps G_i and H_i in `global_state`. A method defines the contracted gradient (`statistic`) and H as a function
    of G (`invert`)."""

    @property
    def factors(self) -> dict[str, dict[str, list[Tensor]]]:
        """{parameter: {"G": [G_1, ..., G_k], "H": [H_1, ..., H_k]}}, G_i and H_i [d_i, d_i]."""
        return self.global_state.setdefault("factors", {})

    def statistic(self, f: Objective, g: Tensor | None = None) -> Tensor:
        """The mean gradient [P] to contract; g [P] is the gradient of f, None if it is not known yet."""
        raise NotImplementedError

    def invert(self) -> None:
        """Form every H from its G."""
        raise NotImplementedError

    @torch.no_grad()
    def initialize(self, f: Objective) -> None:
        """G_i: means of the contractions over the batches of the training set, at the initial parameters."""
        for (name, shape), p in zip(tensor_shapes(f.network.model, f.space).items(), f.space.parameters):
            self.factors[name] = {"G": [torch.zeros(d, d, dtype=f.space.dtype, device=p.device) for d in shape]}
        for count, batch in enumerate(f.batches(), 1):
            self.accumulate(batch, self.statistic(batch), decay=1 - 1 / count)

    @torch.no_grad()
    def step(self, f: Objective) -> Tensor:
        hp, k = self.hyperparameters, self.begin(f)
        loss, g = f.value_and_grad()
        due = k > 1 and k % hp["stats_period"] == 0
        if due:
            self.accumulate(f, self.statistic(f, g), hp["stats_decay"])
        if self.inverses_due(k, fresh=due):
            self.invert()
        m = self.update_momentum(g, hp["momentum"])
        self.descend(f, self.preconditioned(f, m))
        return loss

    def accumulate(self, f: Objective, g: Tensor, decay: float) -> None:
        """G_i <- decay G_i + (1 - decay) G^(i) for the tensors of a flat gradient g [P]."""
        for factor, G in self._tensors(f, g):
            for mode, out in enumerate(factor["G"]):
                contraction(G, mode, out, alpha=1 - decay, beta=decay)

    def preconditioned(self, f: Objective, m: Tensor) -> Tensor:
        """M x_1 H_1 ... x_k H_k for every tensor M of m [P], as one vector [P]."""
        return f.space.flatten([mode_products(M, factor["H"]) for factor, M in self._tensors(f, m)])

    def _tensors(self, f: Objective, vector: Tensor) -> Iterator[tuple[dict[str, list[Tensor]], Tensor]]:
        """(factors, the view [d_1, ..., d_k] of a flat vector [P]) of every parameter."""
        for name, part in f.space.named(vector).items():
            factor = self.factors[name]
            yield factor, part.view([len(G) for G in factor["G"]])
