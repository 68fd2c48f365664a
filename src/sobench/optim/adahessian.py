"""AdaHessian: Adam with the diagonal of the Hessian in place of the gradient's squares.

Z. Yao, A. Gholami, S. Shen, M. Mustafa, K. Keutzer, M. W. Mahoney, ADAHESSIAN: An Adaptive Second Order Optimizer for Machine
Learning (AAAI 2021), a baseline of Kernel SGD (section 4.1):

    D <- | mean over the probes of z * (H z) |             z = +-1 with equal chances: E[z * H z] = diag(H) (Hutchinson)
    D <- the mean of D over the spatial dimensions         of a convolution kernel; every other parameter keeps its own
    m <- beta1 m + (1 - beta1) g                           v <- beta2 v + (1 - beta2) D^2
    theta <- theta - lr (m / (1 - beta1^k) / (sqrt(v / (1 - beta2^k))^hessian_power + eps) + weight_decay theta)

H is the Hessian of the mini-batch loss, with the penalty of `l2`. With one probe, as published, D = |H z|. What the paper leaves
out is as in the authors' code: the absolute value comes before the mean over a kernel, eps stands outside the root, the power
acts on the root. One version of that code also averages the rows of matrices; here kernels alone are averaged: the parameters
of three or more dimensions, (out, in, *spatial). Between the products of curvature_period > 1 the last D enters v again, and is
kept for that.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sobench.config.rules import UNIT, Rule, check
from sobench.objective import Objective
from sobench.objective.parameter_space import ParameterSpace
from sobench.optim.base import SecondOrderOptimizer

BETAS = Rule((tuple, list), "two numbers in [0, 1)", lambda v: len(v) == 2 and all(UNIT.accepts(beta) for beta in v))
BITS = 31
"""Random bits that one int32 is sure to hold: `random_` draws from 0 to 2^31 - 1."""


class AdaHessian(SecondOrderOptimizer):
    """betas: beta1 and beta2; probes: products a step; curvature_period: steps from one D to the next.

    State, all [P]: `momentum` m, `v`, and `D2`, D^2, where curvature_period > 1.
    """

    requires = frozenset({"hessian", "value_and_grad"})

    def __init__(
        self,
        params,
        lr: float = 0.1,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-4,
        hessian_power: float = 1.0,
        probes: int = 1,
        weight_decay: float = 0.0,
        curvature_period: int = 1,
    ):
        check("betas", betas, BETAS)
        super().__init__(
            params,
            lr=lr,
            betas=betas,
            eps=eps,
            hessian_power=hessian_power,
            probes=probes,
            weight_decay=weight_decay,
            curvature_period=curvature_period,
        )

    def step(self, f: Objective) -> Tensor:
        hp, k = self.hyperparameters, self.begin(f)
        (beta1, beta2), period = hp["betas"], hp["curvature_period"]
        D2 = self.squared_diagonal(f) if (k - 1) % period == 0 else self.shared["D2"]
        if period > 1:
            self.shared["D2"] = D2
        loss, g = f.value_and_grad()
        m = self.averaged(g, beta1, dampening=beta1)
        v = self.shared["v"] if k > 1 else torch.zeros_like(g)
        self.shared["v"] = v.mul_(beta2).add_(D2, alpha=1 - beta2)
        root = (v / (1 - beta2**k)).sqrt_()
        if hp["hessian_power"] != 1:
            root.pow_(hp["hessian_power"])
        self.descend(f, torch.div(m, root.add_(hp["eps"]).mul_(1 - beta1**k), out=root))
        return loss

    def squared_diagonal(self, f: Objective) -> Tensor:
        """D^2, [P], of `probes` products with the Hessian."""
        H, generator = f.hessian(), f.generator("probe")
        D = 0.0
        for _ in range(self.hyperparameters["probes"]):
            z = signs(f.space, generator)
            D = torch.mul(z, H @ z, out=z).add_(D)
        D.mul_(1 / self.hyperparameters["probes"])
        for kernel in f.space.unflatten(D):
            if kernel.dim() > 2:
                kernel.copy_(kernel.abs_().mean(tuple(range(2, kernel.dim())), keepdim=True))
        return D.square_()


def signs(space: ParameterSpace, generator: torch.Generator | None) -> Tensor:
    """+1 or -1 with equal chances, [P], in the dtype and on the device of the parameters: 31 from each random integer."""
    p = space.parameters[0]
    words = torch.empty(-(-space.size // BITS), 1, dtype=torch.int32, device=p.device).random_(generator=generator)
    bits = (words >> torch.arange(BITS, dtype=torch.int32, device=p.device)).bitwise_and_(1)
    return bits.flatten()[: space.size].to(p.dtype).mul_(2).sub_(1)
