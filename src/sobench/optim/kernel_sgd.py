"""Kernel SGD: the gradient of the output layer, times the inverse kernel matrix of the mini-batch.

Y. Chen, Y. Chen, J. Chen, Z. Wen, J. Huang, Efficient Second-Order Optimization for Neural Networks with Kernel
Machines (CIKM 2022), algorithm 1. For a mini-batch of m inputs x_i and the output layer's W [n_c, d_h],

    H  = [k(x_i, x_j)]                                              line 2, [m, m]
    H^-1, with zeros appended if m < d_h, and its last m - d_h rows and columns removed if m > d_h        line 4
    W <- W - lr grad_W H^-1                                         line 7, equation 8
    all other parameters: W <- W - lr grad_W                        line 9

Where H is singular the inverse is the pseudo-inverse (section 3.1). `linalg.kernels` decides the rank, in double
precision. `diagnostics` has the rank, and the trace, about which proposition 3.2 makes an assumption. Columns of W
beyond the m-th are multiplied by zeros, so they stay as they are. The bias of the output layer is not part of W and
follows its gradient.

H depends on no weight. Where batches are a fixed partition of the training set (`batches=fixed`), H is inverted once
for each batch and kept: n min(m, d_h) numbers of state in all, the n x m of the paper's memory. Where batches are
drawn at random, H is inverted at each step and not kept.

layers=all is the other method of table 1: the gradient of every Linear and Conv2d layer, as a matrix [I, D], times
H^-1 in the same way. kernel=random_psd is the control of section 4.4: A A'/m with A normal. The paper does not say how
often it is drawn. Here it is drawn by the seed at the first step, and once more if a larger batch follows (the short
batch of a fixed partition may come first); a smaller batch takes the leading part. With redraw=true it is drawn at
every step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sobench.config.rules import OPTIMIZER_RULES
from sobench.errors import UsageError
from sobench.linalg.kernels import KERNELS, features, pseudo_inverse
from sobench.objective import Objective
from sobench.objective.torch_private import multi_add_
from sobench.optim.base import SecondOrderOptimizer


class KernelSGD(SecondOrderOptimizer):
    """gamma: of the rbf and polynomial kernels; degree: of the polynomial; redraw: of random_psd."""

    requires = frozenset({"closure"})
    rules = OPTIMIZER_RULES["kernel_sgd"]

    def __init__(
        self,
        params,
        lr: float = 0.1,
        kernel: str = "rbf",
        gamma: float = 0.01,
        degree: int = 2,
        layers: str = "last",
        redraw: bool = False,
    ):
        super().__init__(params, lr=lr, kernel=kernel, gamma=gamma, degree=degree, layers=layers, redraw=redraw)

    def initialize(self, f: Objective) -> None:
        self.global_state["kept"] = {}

    @torch.no_grad()
    def step(self, f: Objective) -> Tensor:
        self.begin(f)
        loss = f()
        H_inv = self._inverse(f)  # lines 2 and 4
        for weight in self._preconditioned(f):  # line 7
            assert weight.grad is not None  # f() assigns it
            G, r = weight.grad.flatten(1), min(len(H_inv), weight[0].numel())
            G[:, :r] = G[:, :r].to(H_inv.dtype) @ H_inv[:r, :r]
            G[:, r:] = 0
        parameters = list(f.space.parameters)
        multi_add_(parameters, [p.grad for p in parameters if p.grad is not None], alpha=-self.hyperparameters["lr"])
        return loss

    def _preconditioned(self, f: Objective) -> Sequence[Tensor]:
        """The weights to which equation 8 applies."""
        weights = list(f.matrices.weights.values())
        if not weights:
            raise UsageError("optimizer: kernel_sgd acts on Linear and Conv2d layers, and this model has none")
        return weights[-1:] if self.hyperparameters["layers"] == "last" else weights

    def _inverse(self, f: Objective) -> Tensor:
        """H^-1 of the batch, [min(m, the widest layer), ...]. It is kept if the batch is one of a fixed partition."""
        inverses = self.global_state["kept"]
        inverted = inverses.get(f.key) or self._inverted(f)
        if f.key is not None and not self._redrawn:
            inverses[f.key] = inverted
        inverse, rank, trace = inverted
        self.diagnostics = {"rank": rank, "trace": trace}
        return inverse

    def _inverted(self, f: Objective) -> tuple[Tensor, Tensor, Tensor]:
        """H^-1, and the rank and the trace of H."""
        H = self._kernel_matrix(f)
        inverse, rank = pseudo_inverse(H)
        widest = max(weight[0].numel() for weight in self._preconditioned(f))
        return inverse[:widest, :widest].to(f.space.dtype, copy=True), rank, H.trace()

    @property
    def _redrawn(self) -> bool:
        """Whether the kernel matrix changes from step to step."""
        return self.hyperparameters["kernel"] == "random_psd" and self.hyperparameters["redraw"]

    def _kernel_matrix(self, f: Objective) -> Tensor:
        """H, [m, m], in double precision."""
        hp = self.hyperparameters
        if hp["kernel"] != "random_psd":
            return KERNELS[hp["kernel"]](features(f.batch.inputs), hp["gamma"], hp["degree"])
        if "random" not in self.global_state or len(self.global_state["random"]) < len(f) or hp["redraw"]:
            self.global_state["kept"].clear()  # the inverses of a smaller matrix
            m, device = len(f), f.space.parameters[0].device
            A = torch.randn(m, m, dtype=torch.float64, device=device, generator=f.generator("probe"))
            self.global_state["random"] = A @ A.T / m
        return self.global_state["random"][: len(f), : len(f)]
