"""Tensor-normal training (TNT): the Fisher matrix of a tensor as the covariance of a tensor-normal distribution.

Y. Ren, thesis, chapter 4, algorithm 15. For every tensor W [d_1, ..., d_k] with mini-batch gradient g, and G the mean
over the batch of the gradients for labels sampled from the model (fisher: true):

    G_i <- beta G_i + (1 - beta) G^(i)                                     every stats_period steps (T1)
    U_i = G_i / (c_0^(k-1) prod_{j != i} d_j),  c_0 = (tr G_i / prod_j d_j)^(1/k)              (4.10)
    H_i = (U_i + damping I)^-1                                             every inverse_period steps (T2)
    m <- momentum m + g
    W <- W - lr (m x_1 H_1 ... x_k H_k + weight_decay W)                   (4.8)

U_1 x ... x U_k has the covariance's trace, and the U_i have one mean eigenvalue, c_0. The damping is the thesis's
epsilon, whole on every mode. fisher: `empirical` contracts g itself (TNT-EF, section 4.7.3). `tensors` says how the
contractions start and when H is formed.

Decisions. The backward pass with sampled labels shares the forward pass of g. The trace of (4.10) is the same for
every i up to rounding; that of i = 1 is taken. A tensor whose gradients have all been zero has U_i = 0, the limit of
(4.10), where the formula itself is 0/0. Where U_i + damping I is not positive definite in its precision, H_i is NaN.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sobench.config.rules import OPTIMIZER_RULES
from sobench.linalg.dense import spd_inverse
from sobench.objective import Objective
from sobench.optim.tensors import TensorOptimizer


class TNT(TensorOptimizer):
    """damping: the thesis's epsilon; stats_decay: its beta; stats_period, inverse_period: its T1, T2."""

    requires = frozenset({"value_and_grad", "sampled", "batches", "dense_modes"})
    rules = OPTIMIZER_RULES["tnt"]

    def __init__(
        self,
        params,
        lr: float = 1e-4,
        damping: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        stats_decay: float = 0.9,
        stats_period: int = 1,
        inverse_period: int = 20,
        early_inverses: bool = True,
        fisher: str = "true",
    ):
        super().__init__(
            params,
            lr=lr,
            damping=damping,
            momentum=momentum,
            weight_decay=weight_decay,
            stats_decay=stats_decay,
            stats_period=stats_period,
            inverse_period=inverse_period,
            early_inverses=early_inverses,
            fisher=fisher,
        )

    def statistic(self, f: Objective, g: Tensor | None = None) -> Tensor:
        if self.hyperparameters["fisher"] == "true":
            f = f.sampled()
        elif g is not None:
            return g
        return f.value_and_grad()[1]

    def invert(self) -> None:
        """H_i = (U_i + damping I)^-1."""
        for factor in self.factors.values():
            scales = covariance_scales(factor["G"])
            factor["H"] = [
                spd_inverse(scale * G, self.hyperparameters["damping"]) for scale, G in zip(scales, factor["G"])
            ]


def covariance_scales(G: list[Tensor]) -> list[Tensor]:
    """U_i / G_i = 1 / (c_0^(k-1) prod_{j != i} d_j), c_0 = (tr G_i / prod_j d_j)^(1/k) (4.10), scalars; 0 if G = 0."""
    k, sizes = len(G), [len(g) for g in G]
    size = math.prod(sizes)
    c = (G[0].trace() / size) ** (1 / k)
    power = torch.where(c == 0, 0.0, c ** (1 - k))
    return [power * (d / size) for d in sizes]
