"""AdaHessian: Adam with the diagonal of the Hessian in place of the gradient's squares.

Z. Yao, A. Gholami, S. Shen, M. Mustafa, K. Keutzer, M. W. Mahoney, ADAHESSIAN: An Adaptive Second Order Optimizer for
Machine Learning (AAAI 2021), a baseline of Kernel SGD (section 4.1):

    D <- | mean over the probes of z * (H z) |             z = +-1 with equal chances: E[z * H z] = diag(H) (Hutchinson)
    D <- the mean of D over the spatial dimensions         of a convolution kernel; every other parameter keeps its own
    m <- beta1 m + (1 - beta1) g                           v <- beta2 v + (1 - beta2) D^2
    theta <- theta - lr (m / (1 - beta1^k) / (sqrt(v / (1 - beta2^k))^hessian_power + eps) + weight_decay theta)

H is the Hessian of the mini-batch loss, including the penalty of `l2`. With one probe, as published, D = |H z|. Three
details that the paper leaves out follow the authors' code: the absolute value is taken before the mean over a kernel,
eps stands outside the root, and the power acts on the root.

One version of that code also averages the rows of matrices. Here only kernels are averaged: the parameters of three or
more dimensions, (out, in, *spatial). With curvature_period > 1 the steps between two products use the last D again for
v, so D is kept in the state.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sobench.config.rules import OPTIMIZER_RULES
from sobench.objective import Objective
from sobench.objective.parameter_space import ParameterSpace
from sobench.optim.base import SecondOrderOptimizer

BITS = 31
"""Random bits of one int32: `random_` draws from 0 to 2^31 - 1."""


class AdaHessian(SecondOrderOptimizer):
    """betas: beta1 and beta2; probes: Hessian products for one D; curvature_period: steps from one D to the next.

    State, all [P]: `momentum` m, `v`, and, with curvature_period > 1, `D2`, which is D^2.
    """

    requires = frozenset({"hessian", "value_and_grad"})
    rules = OPTIMIZER_RULES["adahessian"]

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
        D2 = self.squared_diagonal(f) if (k - 1) % period == 0 else self.global_state["D2"]
        if period > 1:
            self.global_state["D2"] = D2
        loss, g = f.value_and_grad()
        m = self.update_momentum(g, beta1, dampening=beta1)
        v = self.global_state["v"] if k > 1 else torch.zeros_like(g)
        self.global_state["v"] = v.mul_(beta2).add_(D2, alpha=1 - beta2)
        root = (v / (1 - beta2**k)).sqrt_()
        if hp["hessian_power"] != 1:
            root.pow_(hp["hessian_power"])
        self.descend(f, torch.div(m, root.add_(hp["eps"]).mul_(1 - beta1**k), out=root))
        return loss

    def squared_diagonal(self, f: Objective) -> Tensor:
        """D^2, [P], from `probes` products with the Hessian."""
        H, generator = f.hessian(), f.generator("probe")
        D = f.space.parameters[0].new_zeros(f.space.size)
        for _ in range(self.hyperparameters["probes"]):
            z = signs(f.space, generator)
            D = torch.mul(z, H @ z, out=z).add_(D)
        D.mul_(1 / self.hyperparameters["probes"])
        for kernel in f.space.unflatten(D):
            if kernel.dim() > 2:
                kernel.copy_(kernel.abs_().mean(tuple(range(2, kernel.dim())), keepdim=True))
        return D.square_()


def signs(space: ParameterSpace, generator: torch.Generator | None) -> Tensor:
    """+1 or -1 with equal chances, [P], in the dtype and on the device of the parameters.

    Each random integer gives 31 of them.
    """
    p = space.parameters[0]
    words = torch.empty(-(-space.size // BITS), 1, dtype=torch.int32, device=p.device).random_(generator=generator)
    bits = (words >> torch.arange(BITS, dtype=torch.int32, device=p.device)).bitwise_and_(1)
    return bits.flatten()[: space.size].to(p.dtype).mul_(2).sub_(1)
