"""K-BFGS and K-BFGS(L): quasi-Newton updates of the two Kronecker factors of a layer's Hessian.

Y. Ren, thesis, algorithm 9 (chapter 3). A layer W [I, D] reads a_t [D] and gives h_t = W a_t [I] at the locations t in
T; its Hessian is taken as A x G, A = E_n [sum_t a_t a_t'], G = E_n [1/|T| sum_t d2f / dh_t^2] (equation 3.9). With
lambda_A = sqrt(|T| damping), lambda_G = sqrt(damping / |T|):

    m <- momentum m + (1 - dampening) g;   W <- W - lr (H_G M H_A + weight_decay W)             lines 8 to 10
    every curvature_period steps (T), on the same batch at the new W (marked +), means over samples and locations:
    s_A = H_A E[a],  y_A = A s_A + lambda_A s_A;   H_A <- BFGS(H_A; s_A, y_A)                       lines 16 and 17
    s <- beta s + (1 - beta) E[h+ - h],  y <- beta y + (1 - beta) E[Dh+ - Dh]                       line 19
    H_G <- BFGS or L-BFGS(H_G; damped(s, y))                                                        lines 20 and 21

BFGS is in `linalg.quasi_newton`. At the start s = y = 0 and H_A = (A + lambda_A I)^-1, with A the mean over the
training set.

Settings:

    powell           `lm`: damping by algorithm 8 with mu2 = lambda_G, and H_G starts as I / lambda_G.
                     `double`: damping by chapter 2's algorithm 3, and H_G starts as I (algorithm 4, line 3).
    action           `minibatch`: A s_A with A of the batch, which is never formed (3.15).
                     `average`: with chapter 2's A <- beta A + (1 - beta) A of the batch.
    start            `inverse`: H_A as above and in algorithm 4. `identity`: H_A = I, as the text of chapter 2 says.
    bias_input       the last entry of E[a] in s_A. `one`: by the thesis. `mean`: the mean of the other entries, as in
                     the first upload of the authors' public code of chapter 2; the next commits have the 1.
    double_gradient  the gradient after a second pass is averaged with the gradient of that pass (section 2.8.3).
    sharing          `expand`: the formulas above. `reduce`: they hold with |T| = 1 for a = mean_t a_t, h = mean_t h_t
                     and Dh = sum_t Dh_t, so that G is the Hessian in a common shift of all h_t. This transfers K-FAC's
                     two ways (`layers.sharing`) to K-BFGS; neither the thesis nor their paper has it.

With both improvements off, `double` and `average`, the method is K-BFGS-20 (table 3.8).

Decisions. y is of the loss alone, without l2 and weight_decay. A pair of either factor whose s'y is not positive and
finite is skipped; a dead layer gives 0. A Linear layer over a sequence counts its rows as |T|. BatchNorm's parameters
follow m / damping (section 3.4.3). A batch whose loss does not depend on a layer leaves its A, H_A and H_G as they are.

diagnostics, of the curvature steps: `yhy/<l>` is y'H_G y / s'y after damping for the layers l = 1, 2, ..., and
`yhy_ok/<l>` is 1 where that is at most 2 / mu1 (figure 2.1).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from sobench.config.rules import OPTIMIZER_RULES
from sobench.linalg.dense import spd_inverse
from sobench.linalg.kronecker import mode_products
from sobench.linalg.quasi_newton import Compact, Dense, Inverse, bfgs_, double_damping, lm_damping
from sobench.objective import Objective
from sobench.objective.layers.matrices import input_action, input_factor, locations, mean_input, output_grads, outputs
from sobench.objective.layers.records import LayerRecord, check_used, used
from sobench.objective.layers.sharing import SHARING
from sobench.optim.base import SecondOrderOptimizer

DAMPINGS = {"lm": lm_damping, "double": double_damping}


class KBFGS(SecondOrderOptimizer):
    """damping: the thesis's lambda; stats_decay: its beta; curvature_period: its T."""

    requires = frozenset({"value_and_grad", "record", "propagate", "batches", "loss", "dense_inputs", "dense_outputs"})
    rules = OPTIMIZER_RULES["kbfgs"]
    inverse: type[Dense] | type[Compact] = Dense

    def __init__(
        self,
        params,
        lr: float = 0.03,
        damping: float = 0.3,
        momentum: float = 0.9,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        stats_decay: float = 0.9,
        curvature_period: int = 1,
        mu1: float = 0.2,
        powell: str = "lm",
        action: str = "minibatch",
        start: str = "inverse",
        bias_input: str = "one",
        double_gradient: bool = False,
        sharing: str = "expand",
        **more: Any,
    ):
        super().__init__(
            params,
            lr=lr,
            damping=damping,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            stats_decay=stats_decay,
            curvature_period=curvature_period,
            mu1=mu1,
            powell=powell,
            action=action,
            start=start,
            bias_input=bias_input,
            double_gradient=double_gradient,
            sharing=sharing,
            **more,
        )

    @property
    def factors(self) -> dict[str, dict[str, Any]]:
        """{layer: {"H_A": [D, D], "H_G": the state of an Inverse, "s": [I], "y": [I], "A": [D, D] if averaged}}."""
        return self.global_state.setdefault("factors", {})

    @torch.no_grad()
    def initialize(self, f: Objective) -> None:
        hp, A, latest = self.hyperparameters, {}, {}
        counts = dict.fromkeys(f.matrices.names, 0)
        for batch in f.batches():
            with batch.record() as layers:
                batch.loss()
            for l in (l for l in counts if layers[l].calls):
                counts[l] += 1
                latest[l] = self._shared(layers[l])
                A[l] = input_factor(latest[l], A.get(l), alpha=1 / counts[l], beta=1 - 1 / counts[l])
        check_used(counts)
        for l in f.matrices.names:
            lambda_A, lambda_G = self._split(latest[l])
            s = A[l].new_zeros(outputs(latest[l]).shape[2])
            H_A = spd_inverse(A[l], lambda_A) if hp["start"] == "inverse" else torch.eye(len(A[l])).to(A[l])
            H_G = self._scaled_identity(1 / lambda_G if hp["powell"] == "lm" else 1.0, like=s)
            self.factors[l] = {"H_A": H_A, "H_G": H_G.state, "s": s, "y": s.clone()}
            if hp["action"] == "average":
                self.factors[l]["A"] = A[l]

    @torch.no_grad()
    def step(self, f: Objective) -> Tensor:
        hp, k = self.hyperparameters, self.begin(f)
        due = k % hp["curvature_period"] == 0
        with f.recorded(due or k == 1) as before:  # the first step verifies the records, also if none is due
            loss, g = f.value_and_grad()
        m = self.update_momentum(self._with_second(g), hp["momentum"], hp["dampening"])
        M = f.matrices.join(m)
        p = {l: mode_products(M[l], (self.inverse(H["H_G"]), H["H_A"])) for l, H in self.factors.items()}
        self.descend(f, f.matrices.write_(torch.div(m, hp["damping"], out=g), p))
        self.diagnostics = {}
        if due and before is not None:
            with f.record() as after:
                self._second_pass(f)
            both = set(used(before, self.factors)) & set(used(after, self.factors))
            numbered = {number: l for number, l in enumerate(self.factors, 1) if l in both}
            pairs = {n: (self.factors[l], self._shared(before[l]), self._shared(after[l])) for n, l in numbered.items()}
            for factor, record, _ in pairs.values():
                self._update_A(factor, record)
            self._report({n: self._update_G(*pair) for n, pair in pairs.items()})
        return loss

    def _shared(self, record: LayerRecord) -> LayerRecord:
        """The record of a layer by the setting `sharing`, which older checkpoints do not have."""
        return SHARING[self.hyperparameters.get("sharing", "expand")](record)

    def _split(self, record: LayerRecord) -> tuple[float, float]:
        """lambda_A, lambda_G (algorithm 9, line 2)."""
        lam, T = self.hyperparameters["damping"], locations(record)
        return (T * lam) ** 0.5, (lam / T) ** 0.5

    def _scaled_identity(self, gamma: float, like: Tensor) -> Inverse:
        """H_G = gamma I."""
        return Dense.start(gamma, like)

    def _update_A(self, factor: dict[str, Any], record: LayerRecord) -> None:
        """Hessian-action BFGS (algorithm 9, lines 16 and 17; algorithm 4, lines 20 to 23)."""
        beta, H, a = self.hyperparameters["stats_decay"], factor["H_A"], mean_input(record)
        if self.hyperparameters["bias_input"] == "mean" and len(a) > cast("Tensor", record.module.weight)[0].numel():
            a[-1] = a[:-1].mean()
        s = H @ a
        if "A" in factor:
            y = input_factor(record, factor["A"], alpha=1 - beta, beta=beta) @ s
        else:
            y = input_action(record, s)
        bfgs_(H, s, y.add_(s, alpha=self._split(record)[0]))

    def _update_G(self, factor: dict[str, Any], before: LayerRecord, after: LayerRecord) -> Tensor:
        """BFGS on the averaged and damped pair (algorithm 9, lines 19 to 21). Returns y'H_G y / s'y, a scalar."""
        hp, H, N = self.hyperparameters, self.inverse(factor["H_G"]), len(outputs(before))
        s = factor["s"].lerp_(_mean(outputs(after)) - _mean(outputs(before)), 1 - hp["stats_decay"])
        y = factor["y"].lerp_((_mean(output_grads(after)) - _mean(output_grads(before))) * N, 1 - hp["stats_decay"])
        return H.update_(*DAMPINGS[hp["powell"]](H, s, y, hp["mu1"], self._split(before)[1]))

    def _second_pass(self, f: Objective) -> None:
        if self.hyperparameters["double_gradient"]:
            self.global_state["second"] = f.value_and_grad()[1]
        else:
            f.propagate()

    def _with_second(self, g: Tensor) -> Tensor:
        """g, or its mean with the gradient of the previous step's second pass."""
        second = self.global_state.pop("second", None)
        return g if second is None else torch.lerp(g, second, 0.5)

    def _report(self, ratios: dict[int, Tensor]) -> None:
        """y'H_G y / s'y by the number of the layer."""
        if not ratios:
            return
        yhy = torch.stack(list(ratios.values()))
        ok = (yhy <= 2 / self.hyperparameters["mu1"]).to(yhy)
        self.diagnostics = {f"yhy/{l}": r for l, r in zip(ratios, yhy.unbind())}
        self.diagnostics |= {f"yhy_ok/{l}": r for l, r in zip(ratios, ok.unbind())}


def _mean(h: Tensor) -> Tensor:
    """Over samples and locations, [N, |T|, I] -> [I]."""
    return h.mean((0, 1))


class KBFGSL(KBFGS):
    """K-BFGS(L): H_G by L-BFGS from the last `history` pairs (p)."""

    requires = KBFGS.requires - {"dense_outputs"}
    rules = OPTIMIZER_RULES["kbfgs_l"]
    inverse = Compact

    def __init__(
        self,
        params,
        lr: float = 0.03,
        damping: float = 0.3,
        momentum: float = 0.9,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        stats_decay: float = 0.9,
        curvature_period: int = 1,
        mu1: float = 0.2,
        powell: str = "lm",
        action: str = "minibatch",
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
            sharing,
            history=history,
        )

    def _scaled_identity(self, gamma: float, like: Tensor) -> Inverse:
        return Compact.start(gamma, like, self.hyperparameters["history"])
