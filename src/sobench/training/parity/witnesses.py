"""Witnesses of K-FAC's factors: the Kronecker factors of a batch as another package computes them.

A witness is a function of the model, the name of the loss, the batch (inputs, targets) and its settings. It returns the
factors of each layer as ours are called: Omega [D, D] of the inputs and Gamma [I, I] of the gradients of the outputs,
see `sobench.optim.kfac`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sobench.errors import Unsupported

Factors = dict[str, dict[str, Tensor]]

LOSSES = {"cross_entropy": nn.CrossEntropyLoss}
"""The losses of which torch's module is the same function, by name."""


def curvlinops(model: nn.Module, loss: str, batch: tuple[Tensor, Tensor], **settings: str) -> Factors:
    """The factors of curvlinops's KFACLinearOperator, with weight and bias of a layer together.

    A layer with T locations: `expand` has the divisor T in the factor of the inputs, ours has it in that of the
    gradients. The divisor is moved, so that the factors are comparable; their Kronecker product is the same. Raises
    Unsupported for a loss that is not in LOSSES.
    """
    if loss not in LOSSES:
        raise Unsupported(f"loss: got {loss}, curvlinops is compared for {', '.join(LOSSES)} alone")
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))}
    operator = importlib.import_module("curvlinops").KFACLinearOperator(
        model,
        LOSSES[loss](),
        [p for layer in layers.values() for p in layer.parameters() if p.requires_grad],
        [batch],
        check_deterministic=False,
        num_per_example_loss_terms=1,
        separate_weight_and_bias=False,
        num_data=len(batch[0]),
        **settings,
    )
    operator.compute_kronecker_factors()
    inputs, gradients = operator._input_covariances, operator._gradient_covariances
    T = _locations(model, layers, batch[0]) if settings.get("kfac_approx") == "expand" else dict.fromkeys(layers, 1)
    return {name: {"Omega": inputs[name] * T[name], "Gamma": gradients[name] / T[name]} for name in gradients}


@torch.no_grad()
def _locations(model: nn.Module, layers: Mapping[str, nn.Module], inputs: Tensor) -> dict[str, int]:
    """The number of locations of each layer, whose outputs are [N, ..., I], those of a convolution [N, I, ...]."""
    found: dict[str, int] = {}

    def note(name: str, layer: nn.Module, _: Any, h: Tensor) -> None:
        found[name] = h[0].numel() // h.shape[1 if isinstance(layer, nn.Conv2d) else -1]

    hooks = [layer.register_forward_hook(partial(note, name)) for name, layer in layers.items()]
    model(inputs)
    for hook in hooks:
        hook.remove()
    return found
