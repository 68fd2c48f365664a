"""K-FAC: the Fisher matrix of a layer as the Kronecker product of two small ones.

J. Martens and R. Grosse, Optimizing Neural Networks with Kronecker-factored Approximate Curvature (2015); as run by Y.
Ren, thesis, algorithm 7 (chapter 2), algorithm 12 (chapters 3 and 4) and section 5.8 (chapter 5). For a layer with
gradient DW [I, D], inputs a_t [D] and gradients Dh_t [I] of its outputs at the locations t in T:

    Omega <- beta Omega + (1 - beta) E_n [sum_t a_t a_t']              every stats_period steps (T1)
    Gamma <- beta Gamma + (1 - beta) E_n [1/|T| sum_t Dh_t Dh_t']      with labels sampled from the model (fisher: true)
    H_Omega = (Omega + pi sqrt(lambda) I)^-1,  H_Gamma = (Gamma + sqrt(lambda) / pi I)^-1    every inverse_period (T2)
    m <- momentum m + (1 - dampening) g
    W <- W - lr (H_Gamma M H_Omega + weight_decay W)

Omega and Gamma start as means over the training set, and the first step uses them as they are. BatchNorm's parameters
follow m (section 3.7.2). A batch whose loss does not depend on a layer leaves the layer's factors as they are.

T contains the positions of a sequence, the pixels of a convolution, and all calls of a layer that the network uses
several times. sharing (R. Eschenhagen et al., Kronecker-Factored Approximate Curvature for Modern Neural Network
Architectures, 2023, sections 3.2 and 3.3; see `layers.sharing`): `expand` takes each location as an independent sample,
by the formulas above. `reduce` takes E_n[a a'] and E_n[Dh Dh'] of a = mean_t a_t and Dh = sum_t Dh_t.

split: the division of the damping between the two factors. `balanced`: pi = sqrt(tr(Omega x I) / tr(I x Gamma))
(algorithm 12, line 19); `equal`: pi = 1 (algorithm 7). fisher: `empirical` takes Dh_t for the labels of the batch
(KFAC-EF, section 4.7.3). lambda = damping + tau. With damping_rule `levenberg_marquardt` the first of the two adapts
(section 5.2.3):

    rho = (f(theta) - f(theta - p)) / ((g - m/2)'p)          on the batch of the step, p the direction without lr
    damping <- boost damping if rho < 1/4, drop damping if rho > 3/4

Decisions and deviations. A step updates the factors before it moves, with the forward pass that gave the gradient; the
algorithm boxes make another pass after the move. Both see the parameters of the step: ours with its own batch, theirs
with the batch before. This saves one forward pass. early_inverses: each of the first T2 steps whose factors are new
forms the inverses again (algorithm 7, line 10). (g - m/2)'p is the decrease g'p - p'Bp/2 of the quadratic model with B
p = m; without momentum, as in chapter 5, it is g'p/2. A factor that is not positive definite makes its layer's
direction NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sobench.config.rules import OPTIMIZER_RULES
from sobench.linalg.dense import spd_inverse
from sobench.linalg.kronecker import balance, mode_products
from sobench.linalg.trust_region import levenberg_marquardt, reduction_ratio
from sobench.objective import Objective
from sobench.objective.layers.matrices import grad_factor, input_factor
from sobench.objective.layers.records import LayerRecord, check_used, used
from sobench.objective.layers.sharing import SHARING
from sobench.optim.base import SecondOrderOptimizer


class KFAC(SecondOrderOptimizer):
    """damping: the thesis's lambda (lambda_LM); stats_decay: its beta; stats_period, inverse_period: its T1, T2."""

    requires = frozenset(
        {"value_and_grad", "record", "propagate", "sampled", "batches", "dense_inputs", "dense_outputs"}
    )
    rules = OPTIMIZER_RULES["kfac"]

    def __init__(
        self,
        params,
        lr: float = 0.03,
        damping: float = 1.0,
        momentum: float = 0.9,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        stats_decay: float = 0.9,
        stats_period: int = 1,
        inverse_period: int = 20,
        early_inverses: bool = True,
        fisher: str = "true",
        split: str = "balanced",
        damping_rule: str = "fixed",
        boost: float = 1.01,
        drop: float = 0.99,
        tau: float = 0.0,
        sharing: str = "expand",
    ):
        super().__init__(
            params,
            lr=lr,
            damping=damping,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            stats_decay=stats_decay,
            stats_period=stats_period,
            inverse_period=inverse_period,
            early_inverses=early_inverses,
            fisher=fisher,
            split=split,
            damping_rule=damping_rule,
            boost=boost,
            drop=drop,
            tau=tau,
            sharing=sharing,
        )

    @property
    def factors(self) -> dict[str, dict[str, Tensor]]:
        """{layer: {"Omega": [D, D], "Gamma": [I, I], "H_Omega", "H_Gamma"}}."""
        return self.global_state.setdefault("factors", {})

    @torch.no_grad()
    def initialize(self, f: Objective) -> None:
        counts = dict.fromkeys(f.matrices.names, 0)
        for batch in f.batches():
            with batch.record() as layers:
                batch.sampled().propagate() if self.hyperparameters["fisher"] == "true" else batch.propagate()
            for l in used(layers, counts):
                counts[l] += 1
                self._accumulate(l, layers[l], decay=1 - 1 / counts[l])
        check_used(counts)

    @torch.no_grad()
    def step(self, f: Objective) -> Tensor:
        hp, k = self.hyperparameters, self.begin(f)
        due = k > 1 and k % hp["stats_period"] == 0
        with f.recorded(due) as layers:
            loss, g = f.value_and_grad()
            if due and hp["fisher"] == "true":
                f.sampled().propagate()
        if layers is not None:
            for l in used(layers, self.factors):
                self._accumulate(l, layers[l], hp["stats_decay"])
        if self.inverses_due(k, fresh=due):
            self._invert()
        m = self.update_momentum(g, hp["momentum"], hp["dampening"])
        M = f.matrices.join(m)
        P = {l: mode_products(M[l], (H["H_Gamma"], H["H_Omega"])) for l, H in self.factors.items()}
        p = f.matrices.write_(m.clone(), P)
        if hp["damping_rule"] == "levenberg_marquardt":
            self._adapt(f, loss, g, m, p)
        self.descend(f, p)
        return loss

    def _accumulate(self, l: str, record: LayerRecord, decay: float) -> None:
        """Omega and Gamma <- decay times the old + (1 - decay) times the batch's. With decay 0 there need be no old."""
        factor = self.factors.setdefault(l, {})
        record = SHARING[self.hyperparameters.get("sharing", "expand")](
            record
        )  # older checkpoints have no such setting
        factor["Omega"] = input_factor(record, factor.get("Omega"), alpha=1 - decay, beta=decay)
        factor["Gamma"] = grad_factor(record, factor.get("Gamma"), alpha=1 - decay, beta=decay)

    def _invert(self) -> None:
        """Form H_Omega and H_Gamma of every layer."""
        root = (self._damping() + self.hyperparameters["tau"]) ** 0.5
        for factor in self.factors.values():
            Omega, Gamma = factor["Omega"], factor["Gamma"]
            pi = 1.0
            if self.hyperparameters["split"] == "balanced":
                pi = balance((Omega.trace(), Gamma.trace()), (len(Omega), len(Gamma)))
            factor["H_Omega"], factor["H_Gamma"] = spd_inverse(Omega, pi * root), spd_inverse(Gamma, root / pi)

    def _damping(self) -> Tensor | float:
        """The setting, or its current value under the Levenberg-Marquardt rule."""
        return self.global_state.get("damping", self.hyperparameters["damping"])

    def _adapt(self, f: Objective, loss: Tensor, g: Tensor, m: Tensor, p: Tensor) -> None:
        """Adapt the damping of the next steps to how well the quadratic model predicts the step -p [P]."""
        hp = self.hyperparameters
        rho = reduction_ratio(loss, f.loss(f.space.get() - p), (g - m / 2) @ p)
        damping = torch.as_tensor(self._damping(), dtype=loss.dtype, device=loss.device)
        self.global_state["damping"] = levenberg_marquardt(damping, rho, boost=hp["boost"], drop=hp["drop"])
        self.diagnostics = {"rho": rho, "damping": self.global_state["damping"]}
