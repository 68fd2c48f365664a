"""K-BFGS-20 and K-BFGS(L)-20: the methods of chapter 2, as settings of chapter 3's.

Y. Ren, thesis, algorithm 4. It differs from algorithm 9 in three points: double damping (algorithm 3) with H_G from I,
Hessian action with the moving average of A, and a gradient averaged as m <- beta m + (1 - beta) g. See `kbfgs` for the
formulas.
"""

from __future__ import annotations

from sobench.config.rules import OPTIMIZER_RULES
from sobench.optim.kbfgs import KBFGS, KBFGSL


class KBFGS20(KBFGS):
    """damping: the thesis's lambda, lambda_A = mu2 = sqrt(lambda). dampening 0: as chapter 3 runs it (table 3.3)."""

    rules = OPTIMIZER_RULES["kbfgs20"]

    def __init__(
        self,
        params,
        lr: float = 0.3,
        damping: float = 0.3,
        momentum: float = 0.9,
        dampening: float = 0.9,
        weight_decay: float = 0.0,
        stats_decay: float = 0.9,
        curvature_period: int = 1,
        mu1: float = 0.2,
        powell: str = "double",
        action: str = "average",
        start: str = "inverse",
        bias_input: str = "one",
        double_gradient: bool = False,
        sharing: str = "expand",
    ):
        super().__init__(
            params,
            lr,
            damping,
            momentum,
            dampening,
            weight_decay,
            stats_decay,
            curvature_period,
            mu1,
            powell,
            action,
            start,
            bias_input,
            double_gradient,
            sharing,
        )


class KBFGS20L(KBFGSL):
    """K-BFGS(L)-20: H_G by L-BFGS from I and the last `history` pairs (p)."""

    rules = OPTIMIZER_RULES["kbfgs20_l"]

    def __init__(
        self,
        params,
        lr: float = 0.3,
        damping: float = 0.3,
        momentum: float = 0.9,
        dampening: float = 0.9,
        weight_decay: float = 0.0,
        stats_decay: float = 0.9,
        curvature_period: int = 1,
        mu1: float = 0.2,
        powell: str = "double",
        action: str = "average",
        start: str = "inverse",
        bias_input: str = "one",
        double_gradient: bool = False,
        history: int = 100,
        sharing: str = "expand",
    ):
        super().__init__(
            params,
            lr,
            damping,
            momentum,
            dampening,
            weight_decay,
            stats_decay,
            curvature_period,
            mu1,
            powell,
            action,
            start,
            bias_input,
            double_gradient,
            history,
            sharing,
        )
