"""A perceptron with a few free weights and all other parameters fixed, to show the paths of optimizers in two
dimensions.

Kernel SGD, figure 1: "three linear hidden layers and an FC output layer ... two randomly selected weights were updated
in optimization while others were fixed". Here the free weights are in the output layer, because Kernel SGD treats only
this layer in its own way. They are in different columns, drawn with the initial parameters. The output layer's bias and
all other layers are fixed.
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
    """A linear layer W x + b with `free` free weights: W = W0 + M (weight - W0), element by element.

    `weight` [outputs, inputs] is an ordinary parameter for any optimizer, of which only the free entries have an
    effect. start: W0, the initial weights. mask: M, 1 at the free weights and 0 elsewhere. places [free, 2]: their rows
    and columns. The gradient of a free entry is that of W; all other gradients are zero.
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
        """The values [free] of the free weights, in `weight` if it is given, else in the layer."""
        return (self.weight if weight is None else weight)[self.places[:, 0], self.places[:, 1]]


def free_mlp(
    input_shape: Sequence[int], outputs: int, *, widths: Sequence[int], activation: str, free: int
) -> nn.Sequential:
    """A perceptron as `mlp` makes it, with `free` free weights in the output layer and all else fixed.

    Inputs [N, *input_shape] to outputs [N, outputs]. Raises UsageError for more free weights than the last hidden layer
    has units, and for an unknown activation.
    """
    if free > widths[-1]:
        raise UsageError(f"model.free: got {free}, allowed: at most {widths[-1]}, the width of the last hidden layer")
    model = stack([math.prod(input_shape), *widths, outputs], activation).requires_grad_(False)
    output = model[-1]
    assert isinstance(output, nn.Linear)
    model[-1] = FreeLinear(output, free)
    return model
