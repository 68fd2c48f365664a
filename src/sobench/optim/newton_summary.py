"""NewtonSummary: Newton's method in the S step sizes of a partition, with an anisotropic cubic regularisation.

P. Wolinski, Gathering and Exploiting Higher-Order Information when Training Large Structured Models, algorithm 1 and
method 1. The parameters are parted into S groups; I_{S:P} sums over them. For a direction u, and U = diag(u),

    g      <- gradient on the mini-batch Z;   u <- u(g)            g, or the heavy-ball direction momentum u + g
    g_bar  <- D^(1)(u) = I_{S:P} U grad                            [S], on an independent mini-batch Z~, as the next two
    H_bar  <- D^(2)(u) = I_{S:P} U Hessian U I_{P:S}               [S, S]
    D      <- diag(|D^(3)(u)_sss|^(1/3))                           [S]
    eta    <- the solution of (H_bar + lambda_int / 2 ||D eta|| D^2) eta = g_bar with the largest ||D eta||
    theta  <- theta - lr U I_{P:S} eta                             lr: the paper's lambda_1

The discrete partition with lambda_int = 0, lr = 1 and u = g is Newton's method, the trivial one Cauchy's steepest
descent. The steps do not change when a group of parameters is scaled (section 5.2). `sobench.linalg.cubic` has the
solution and its branches, `Objective.summary` the derivatives.

These settings go beyond the paper's text, follow the author's training scripts, and are off by default: a refresh of
eta only every `curvature_period` steps; a moving average of eta, or of the terms (g_bar, H_bar and D^(3)), of decay
`stats_decay`, which starts at the first value; eta clipped at zero (`clip`; the average is of the unclipped values).
diagonal is the ablation of appendix K: H_bar without its off-diagonal part. eta is computed in double precision. Those
scripts also halve lr on a plateau, which is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sobench.config.rules import OPTIMIZER_RULES
from sobench.linalg.cubic import minimise_cubic
from sobench.objective import Objective
from sobench.objective.parameter_space import ParameterSpace
from sobench.objective.taylor.partition import Partition, make_partition
from sobench.optim.base import SecondOrderOptimizer


class NewtonSummary(SecondOrderOptimizer):
    """partition: canonical, trivial, discrete, kinds or depth, or {group: [names of tensors]} (see
    `sobench.objective.taylor.partition`); curvature_batch: samples of Z~, None for as many as Z has; average: eta or
    terms.

    State: `momentum` [P]; `eta` [S] before the clipping; `terms/0` to `terms/2` with average=terms; `taken` [4], the
    number of times that each branch of the cubic model was taken, which `diagnostics` reports. Raises UsageError for a
    partition with gaps or overlaps.
    """

    requires = frozenset({"value_and_grad", "summary", "independent_batch"})
    rules = OPTIMIZER_RULES["newton_summary"]

    def __init__(
        self,
        params,
        lr: float = 1.0,
        lambda_int: float = 1.0,
        momentum: float = 0.9,
        partition: str | Mapping[str, Sequence[str]] = "canonical",
        curvature_period: int = 1,
        curvature_batch: int | None = None,
        average: str = "eta",
        stats_decay: float = 0.0,
        clip: bool = False,
        diagonal: bool = False,
    ):
        super().__init__(
            params,
            lr=lr,
            lambda_int=lambda_int,
            momentum=momentum,
            partition=partition,
            curvature_period=curvature_period,
            curvature_batch=curvature_batch,
            average=average,
            stats_decay=stats_decay,
            clip=clip,
            diagonal=diagonal,
        )
        self._partition: Partition | None = None

    def validate_parameters(self, space: ParameterSpace) -> None:
        self._partition = make_partition(space, self.hyperparameters["partition"])

    def step(self, f: Objective) -> Tensor:
        hp, k = self.hyperparameters, self.begin(f)
        partition = self.partition(f)
        loss, g = f.value_and_grad()
        u = self.update_momentum(g, hp["momentum"])
        if (k - 1) % hp["curvature_period"] == 0:
            self._refresh(f.independent_batch(hp["curvature_batch"]), u, partition)
        eta = self.global_state["eta"].clamp(min=0) if hp["clip"] else self.global_state["eta"]
        self.descend(f, u * partition.spread(eta.to(u.dtype)))
        return loss

    def partition(self, f: Objective) -> Partition:
        """The partition of the parameters of f into S groups."""
        if self._partition is None:
            self._partition = make_partition(f.space, self.hyperparameters["partition"])
        return self._partition

    def _refresh(self, f: Objective, u: Tensor, partition: Partition) -> None:
        """Compute eta for the direction u [P], from the derivatives on the batch of f."""
        hp = self.hyperparameters
        g_bar, H_bar, third = (term.double() for term in f.summary(u, partition))
        if hp["average"] == "terms":
            g_bar, H_bar, third = (self._moving(f"terms/{i}", term) for i, term in enumerate((g_bar, H_bar, third)))
        if hp["diagonal"]:
            H_bar = H_bar.diag().diag()
        cubic = minimise_cubic(H_bar, g_bar, third.abs() ** (1 / 3), hp["lambda_int"])
        self.global_state["eta"] = self._moving("eta", cubic.eta) if hp["average"] == "eta" else cubic.eta
        taken = torch.stack(list(cubic.branches.values()))
        self.global_state["taken"] = self.global_state["taken"] + taken if "taken" in self.global_state else taken
        self.diagnostics = {
            **{f"branch/{name}": n for name, n in zip(cubic.branches, self.global_state["taken"])},
            "free": cubic.free,
            "cubic_norm": cubic.r,
            "smallest_eigenvalue": cubic.a_min,
            "smallest_eta": cubic.eta.min(),
            "largest_eta": cubic.eta.max(),
        }

    def _moving(self, name: str, term: Tensor) -> Tensor:
        """The moving average of a term, which is state."""
        if name in self.global_state:
            term = torch.lerp(term, self.global_state[name], self.hyperparameters["stats_decay"])
        self.global_state[name] = term
        return term
