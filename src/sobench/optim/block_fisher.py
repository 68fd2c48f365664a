"""Block Fisher: the natural gradient with the whole Fisher matrix of each layer, the reference of figure 4.1.

Y. Ren, thesis, section 4.3.4. For the matrix W [I, D] of a layer, weight and bias together, and the gradient
G_n = sum_t Dh_t a_t' of the loss of sample n with a label drawn from the model:

    F <- beta F + (1 - beta) 1/N sum_n vec(G_n) vec(G_n)'        [I D, I D]
    m <- momentum m + (1 - dampening) g
    W <- W - lr (F + damping I)^-1 m

"Both the gradient and the block-Fisher matrices were estimated with a moving-average scheme, with the decay factors
being 0.9": beta = momentum = dampening = 0.9.

Decisions where the thesis is silent. F starts as the mean over the training set, and the first step uses it as it is,
as the thesis's K-FAC, TNT and Shampoo do (section 4.7.2). Parameters that no layer's matrix contains (BatchNorm)
follow m, as in K-FAC. The thesis prints neither lr nor damping; conf/experiment/tnt/fig-4.1.yaml says how they were
chosen. A block that is not positive definite makes its layer's direction NaN. A batch whose loss does not depend on a
layer leaves the layer's block as it is.

Memory: the blocks of all layers are kept, and a step holds two more of the size of the largest. A layer of 20 x 257
has a block of 26 million entries, 0.1 GB in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sobench.config.rules import OPTIMIZER_RULES
from sobench.linalg.dense import spd_solve
from sobench.linalg.kronecker import gram
from sobench.objective import Objective
from sobench.objective.layers.matrices import sample_grads
from sobench.objective.layers.records import LayerRecord, check_used, used
from sobench.optim.base import SecondOrderOptimizer


class BlockFisher(SecondOrderOptimizer):
    """damping: added to each block; stats_decay: beta."""

    requires = frozenset({"value_and_grad", "record", "propagate", "sampled", "batches", "dense_blocks"})
    rules = OPTIMIZER_RULES["block_fisher"]

    def __init__(
        self,
        params,
        lr: float = 0.1,
        damping: float = 1e-3,
        momentum: float = 0.9,
        dampening: float = 0.9,
        stats_decay: float = 0.9,
    ):
        super().__init__(
            params, lr=lr, damping=damping, momentum=momentum, dampening=dampening, stats_decay=stats_decay
        )

    @property
    def blocks(self) -> dict[str, Tensor]:
        """{layer: F [I D, I D]}, vec(W) row-major."""
        return self.global_state.setdefault("blocks", {})

    @torch.no_grad()
    def initialize(self, f: Objective) -> None:
        counts = dict.fromkeys(f.matrices.names, 0)
        for batch in f.batches():
            with batch.record() as layers:
                batch.sampled().propagate()
            for l in used(layers, counts):
                counts[l] += 1
                self._accumulate(l, layers[l], decay=1 - 1 / counts[l])
        check_used(counts)

    @torch.no_grad()
    def step(self, f: Objective) -> Tensor:
        hp, k = self.hyperparameters, self.begin(f)
        with f.recorded(k > 1) as layers:
            loss, g = f.value_and_grad()
            if k > 1:
                f.sampled().propagate()
        if layers is not None:
            for l in used(layers, self.blocks):
                self._accumulate(l, layers[l], hp["stats_decay"])
        m = self.update_momentum(g, hp["momentum"], hp["dampening"])
        M = f.matrices.join(m)
        P = {l: spd_solve(F, M[l].flatten(), hp["damping"]).view_as(M[l]) for l, F in self.blocks.items()}
        self.descend(f, f.matrices.write_(m.clone(), P))
        return loss

    def _accumulate(self, l: str, record: LayerRecord, decay: float) -> None:
        """F <- decay F + (1 - decay) times the mean over the batch. With decay 0 there need be no F before."""
        G = sample_grads(record)
        self.blocks[l] = gram(G.flatten(1), self.blocks.get(l), alpha=(1 - decay) * len(G), beta=decay)
