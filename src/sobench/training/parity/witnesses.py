"""Witnesses of K-FAC's factors: the Kronecker factors of a batch as another package computes them.

A witness is a function of the model, the name of the loss, the batch (inputs, targets) and its settings. It returns the
factors of each layer as ours are called: Omega [D, D] of the inputs and Gamma [I, I] of the gradients of the outputs,
see `sobench.optim.kfac`.
"""

from __future__ import annotations

import importlib

from torch import Tensor, nn

from sobench.errors import Unsupported
from sobench.objective.objective import Batch

Factors = dict[str, dict[str, Tensor]]

LOSSES = {"cross_entropy": nn.CrossEntropyLoss}
"""The losses of which torch's module is the same function, by name."""


def curvlinops(model: nn.Module, loss: str, batch: Batch, **settings: str) -> Factors:
    """The factors of curvlinops's KFACLinearOperator for the weight and the bias of a layer together.

    Raises Unsupported for a loss that is not in LOSSES.
    """
    if loss not in LOSSES:
        raise Unsupported(f"loss: curvlinops is compared for {', '.join(LOSSES)} alone, got {loss}")
    operator = importlib.import_module("curvlinops").KFACLinearOperator(
        model,
        LOSSES[loss](),
        [p for p in model.parameters() if p.requires_grad],
        [tuple(batch)],
        check_deterministic=False,
        num_per_example_loss_terms=1,
        separate_weight_and_bias=False,
        num_data=len(batch.inputs),
        **settings,
    )
    operator.compute_kronecker_factors()
    inputs, gradients = operator._input_covariances, operator._gradient_covariances
    return {layer: {"Omega": inputs[layer], "Gamma": gradients[layer]} for layer in gradients}
