"""A perceptron of which a few weights move and all else stays: for looking at what optimizers do in two dimensions.

Kernel SGD, figure 1: "three linear hidden layers and an FC output layer ... two randomly selected weights were updated in
optimization while others were fixed". Selected here are weights of the output layer: Kernel SGD treats no other in its own way. They
are of different columns, drawn with the initial parameters; the output layer's bias and all other layers are fixed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sobench.errors import UsageError
from sobench.models.mlp import stack


class FreeLinear(nn.Linear):
    """W x with W = W0 + M (weight - W0): `weight` is a parameter as any optimizer expects it, of which the entries `places` count.

    places [free, 2]: rows and columns. Their gradients are those of W; the others' are zero.
    """

    start: Tensor
    mask: Tensor
    places: Tensor

    def __init__(self, layer: nn.Linear, free: int):
        super().__init__(layer.in_features, layer.out_features)
        self.load_state_dict(layer.state_dict())
        self.bias.requires_grad_(False)
        places = torch.stack([torch.randint(layer.out_features, (free,)), torch.randperm(layer.in_features)[:free]], 1)
        mask = torch.zeros_like(layer.weight)
        mask[places[:, 0], places[:, 1]] = 1
        for name, value in (("start", layer.weight.detach().clone()), ("mask", mask), ("places", places)):
            self.register_buffer(name, value)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.start + self.mask * (self.weight - self.start), self.bias)

    def free(self, weight: Tensor | None = None) -> Tensor:
        """The values of the free weights, [free], of `weight` or of the layer's own."""
        return (self.weight if weight is None else weight)[self.places[:, 0], self.places[:, 1]]


def free_mlp(
    input_shape: Sequence[int], outputs: int, *, widths: Sequence[int], activation: str, free: int
) -> nn.Sequential:
    """The perceptron of `widths` with `free` weights. Raises UsageError for more of them than the last hidden layer has units."""
    if free > widths[-1]:
        raise UsageError(f"model.free: got {free}, allowed: at most {widths[-1]}, the width of the last hidden layer")
    model = stack([math.prod(input_shape), *widths, outputs], activation).requires_grad_(False)
    model[-1] = FreeLinear(model[-1], free)
    return model
