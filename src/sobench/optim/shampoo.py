"""Shampoo: the gradient preconditioned along every mode of its tensor by an inverse root of that mode's second moment.

V. Gupta, T. Koren and Y. Singer, Shampoo: Preconditioned Stochastic Tensor Optimization (2018), as run by Y. Ren,
thesis, algorithm 16. For every tensor W [d_1, ..., d_k] with mini-batch gradient g:

    G_i <- beta G_i + (1 - beta) g^(i)                                     every stats_period steps (T1)
    H_i = (G_i + damping I)^(-1/(2k))                                      every inverse_period steps (T2)
    m <- momentum m + g
    W <- W - lr (m x_1 H_1 ... x_k H_k + weight_decay W)

A moving average takes the place of the sum in the paper of 2018. `tensors` says how it starts and when H is formed.
The damping is the thesis's epsilon, whole on every mode.

roots: `newton` is the thesis's coupled Newton iteration with tolerance 1e-6 and at most 100 iterations. Where it does
not converge the eigenvalues give the root, and diagnostics["root_failures"] counts such roots since the first step.
`eigen` takes the eigenvalues at once, which gives the same matrix to rounding. `auto`, the default, does so on a CPU,
where it is several times faster. `linalg.roots` has the test of convergence.
"""

from __future__ import annotations

from torch import Tensor

from sobench.config.rules import OPTIMIZER_RULES
from sobench.linalg.roots import inverse_roots
from sobench.objective import Objective
from sobench.optim.tensors import TensorOptimizer


class Shampoo(TensorOptimizer):
    """damping: the thesis's epsilon; stats_decay: its beta; stats_period, inverse_period: its T1, T2."""

    requires = frozenset({"value_and_grad", "batches", "dense_modes"})
    rules = OPTIMIZER_RULES["shampoo"]

    def __init__(
        self,
        params,
        lr: float = 3e-4,
        damping: float = 3e-4,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        stats_decay: float = 0.9,
        stats_period: int = 1,
        inverse_period: int = 20,
        early_inverses: bool = True,
        roots: str = "auto",
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
            roots=roots,
        )

    def statistic(self, f: Objective, g: Tensor | None = None) -> Tensor:
        return f.value_and_grad()[1] if g is None else g

    def invert(self) -> None:
        """H_i = (G_i + damping I)^(-1/(2k))."""
        G = [G for factor in self.factors.values() for G in factor["G"]]
        powers = [2 * len(factor["G"]) for factor in self.factors.values() for _ in factor["G"]]
        roots = inverse_roots(G, powers, self.hyperparameters["damping"], method=self.hyperparameters["roots"])
        root = iter(roots.X)
        for factor in self.factors.values():
            factor["H"] = [next(root) for _ in factor["G"]]
        self.global_state["root_failures"] = self.global_state.get("root_failures", 0) + roots.failures
        self.diagnostics = {"root_failures": self.global_state["root_failures"]}
