"""Subsampled Gauss-Newton and natural gradient, exactly damped and inverted by the Sherman-Morrison-Woodbury formula.

Y. Ren, thesis, chapter 5, algorithm 23. At every step, on a batch S1 of N1 samples and a random part S2 of it of N2:

    g  = 1/N1 sum_{S1} grad f_n + l2 theta                                                      line 4
    B  = J^T H J / N2 + l2 I               Gauss-Newton (5.2): rows of J are d z_nc / d theta, H the loss's Hessian in z
       = J^T J / N2 + l2 I                 natural gradient (5.3): rows are grad f_n, of the batch's own labels
    p  = -(B + lambda I)^-1 g              lambda = damping + tau; by (5.6) and (5.7), see linalg/woodbury      line 5
    rho = (f(theta) - f(theta + p)) / (-g'p / 2),   f the mean over S1                          (5.5)
    damping <- boost damping  if rho < 1/4;  drop damping  if rho > 3/4                         section 5.2.3, line 6
    theta <- theta + lr p                                                                       line 7

rho is of p whatever lr is, as line 6 says, and a step that raises the loss is still taken. -g'p / 2 is the reduction
that the damped model predicts, p being its minimiser. Section 5.2.3 writes the model without lambda; the experiments
ran with this one. With J scaled by a root of H it has two positive terms,  -g'p = p'(B + lambda I) p = ||J p||^2 / N2
+ (lambda + l2) ||p||^2.

Neither J nor g is formed. A row is represented by its gradients at the layers' outputs, and so are g and p; p is put
together once (`objective.layers.rows`). NG needs no pass beyond the gradient's own. GN makes one more pass, as far as
the layers' outputs, for all columns of R at once, H = R R^T. SMW-NG-BD keeps the diagonal blocks of J^T J, one for
each layer (section 5.8).

Where the thesis is silent. A Linear or Conv2d layer is a block, weight and bias together. Other parameters
(BatchNorm's) have no record to make rows from: their columns of J are taken as zero, and their p is -g / (lambda +
l2). Where samples interact (BatchNorm in training mode) a row is that sample's part of the gradient, as in K-FAC. The
l2 I of the penalty is in B exactly. A batch of at most N2 samples is used whole. A rho that is NaN counts as a
failure.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import torch
from torch import Tensor

from sobench.config.rules import OPTIMIZER_RULES
from sobench.errors import UsageError
from sobench.linalg.trust_region import levenberg_marquardt, reduction_ratio
from sobench.linalg.woodbury import inner_solve
from sobench.objective import Objective
from sobench.objective.layers.records import LayerRecord, recorded_output_grads
from sobench.objective.layers.rows import LayerRows
from sobench.objective.torch_private import multi_div_
from sobench.optim.base import SecondOrderOptimizer
from sobench.optim.subsample import subsample


class SMWNG(SecondOrderOptimizer):
    """Natural gradient. damping: lambda_LM before the first step; curvature_batch: N2, None for the whole batch."""

    requires = frozenset({"record", "propagate", "accumulate", "loss"})
    rules = OPTIMIZER_RULES["smw_ng"]
    by_layer = False

    def __init__(
        self,
        params,
        lr: float = 0.1,
        damping: float = 1.0,
        tau: float = 0.001,
        boost: float = 1.01,
        drop: float = 0.99,
        curvature_batch: int | None = 30,
    ):
        super().__init__(
            params, lr=lr, damping=damping, tau=tau, boost=boost, drop=drop, curvature_batch=curvature_batch
        )
        if damping + tau == 0:
            raise UsageError(f"damping, tau: got {damping} and {tau}, allowed: a sum above 0")

    def initialize(self, f: Objective) -> None:
        self.global_state["damping"] = f.space.get().new_full((), self.hyperparameters["damping"])

    @torch.no_grad()
    def step(self, f: Objective) -> Tensor:
        self.begin(f)
        hp, damping = self.hyperparameters, self.global_state["damping"]
        lam, minus_p = damping + (hp["tau"] + f.l2), damping.new_empty(f.space.size)
        with f.record() as layers:
            loss = f.propagate(rest=minus_p)  # line 4: g, at the layers' outputs
            S2 = subsample(f, hp["curvature_batch"])
            J = LayerRows(f.matrices, layers, self.rows(f, layers, S2), S2)
        penalty = f.l2 * f.space.get() if f.l2 else None
        d = self._inner(J, penalty, lam)  # line 5: D d = J g, -p = (g - J'd / N2) / lambda
        h = J.subtracted(d / J.samples)
        multi_div_(
            [*h.values(), *f.matrices.others(minus_p)], lam
        )  # numbers of the order of samples, not of parameters
        f.accumulate(layers, h, out=minus_p)
        if penalty is not None:
            minus_p.add_(penalty / lam)
        predicted = (d.square().sum() / J.samples + lam * minus_p.dot(minus_p)) / 2
        f.space.add_(minus_p, alpha=-1)  # theta + p, where rho looks
        rho = reduction_ratio(loss, f.loss(), predicted)
        self.global_state["damping"] = levenberg_marquardt(damping, rho, boost=hp["boost"], drop=hp["drop"])  # line 6
        f.space.add_(minus_p, alpha=1 - hp["lr"])  # line 7: back to theta + lr p
        self.diagnostics = {"damping": damping, "rho": rho}
        return loss

    def rows(self, f: Objective, layers: Mapping[str, LayerRecord], S2: Tensor | None) -> dict[str, Tensor]:
        """Rows of J times a root of H, as gradients at the layers' outputs: {layer: [N2, K, ...]}."""
        used = {l: layers[l] for l in f.matrices.names if layers[l].is_differentiated}
        grads = {l: recorded_output_grads(record) for l, record in used.items()}
        return {l: (h if S2 is None else h[S2]).unsqueeze(1) * len(f) for l, h in grads.items()}

    def _inner(self, J: LayerRows, penalty: Tensor | None, lam: Tensor) -> Tensor:
        """The solution d = -J p of D d = J g, [1, N2 K], or [L, N2 K] with a D for each layer."""
        K, Jg = J.gram(), J.against_gradient()
        if penalty is not None:
            Jg = [a + b for a, b in zip(Jg, J @ penalty)]
        K, Jg = (
            (torch.stack(K), torch.stack(Jg))
            if self.by_layer
            else (reduce(torch.add, K)[None], reduce(torch.add, Jg)[None])
        )
        return inner_solve(K.div_(J.samples), Jg, lam)


class SMWNGBD(SMWNG):
    """Block-diagonal natural gradient: a Fisher matrix of each layer's own, inverted by its own formula."""

    rules = OPTIMIZER_RULES["smw_ng_bd"]
    by_layer = True


class SMWGN(SMWNG):
    """Generalised Gauss-Newton: N2 C rows, C the outputs."""

    requires = SMWNG.requires | {"propagate_roots"}
    rules = OPTIMIZER_RULES["smw_gn"]

    def rows(self, f: Objective, layers: Mapping[str, LayerRecord], S2: Tensor | None) -> dict[str, Tensor]:
        roots = f.propagate_roots()
        return {l: (h if S2 is None else h[:, S2]).transpose(0, 1) for l, h in roots.items() if l in f.matrices.names}
