"""One call of a layer, and the locations of its inputs and outputs: rows a_t and h_t for each sample.

A Linear layer has one location, or one per row of a sequence. A Conv2d layer has one location per pixel of its output.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from sobench.errors import Unsupported

MatrixLayer = nn.Linear | nn.Conv2d


@dataclass
class LayerCall:
    """One call of a layer in a pass.

    inputs, outputs: [N, ...], without a graph.
    version: that of the outputs at the time of the call.
    edge: the position of the outputs in the graph. None after the block, and for outputs that need no gradient.
    output_grads: [N, ...], the gradient at the outputs, from the latest backward pass. None before one.
    """

    inputs: Tensor
    outputs: Tensor
    version: int
    edge: GradientEdge | None = None
    output_grads: Tensor | None = None


def input_rows(module: MatrixLayer, x: Tensor) -> Tensor:
    """a_t without the bias's 1, [N, |T|, columns of the weight], of inputs x [N, ...]; a view for a Linear layer."""
    if isinstance(module, nn.Conv2d):
        return F.unfold(x, module.kernel_size, module.dilation, padding(module), module.stride).transpose(1, 2)
    return x.reshape(len(x), -1, x.shape[-1])


def output_rows(module: MatrixLayer, h: Tensor, lead: int = 1) -> Tensor:
    """h_t, [..., |T|, I], of h [..., *outputs of a sample], `lead` being the number of the dimensions [...]."""
    if isinstance(module, nn.Conv2d):
        return h.flatten(-2).transpose(-1, -2)
    return h.reshape(*h.shape[:lead], -1, h.shape[-1])


def padding(module: nn.Conv2d) -> tuple[int, ...]:
    """The zeros at each side, per dimension. Raises Unsupported if the two sides of a dimension differ."""
    if not isinstance(module.padding, str):
        return module.padding
    total = [d * (k - 1) if module.padding == "same" else 0 for d, k in zip(module.dilation, module.kernel_size)]
    if any(t % 2 for t in total):
        raise Unsupported(f"{module}: padding='same' of an even kernel; allowed: the same padding at each side")
    return tuple(t // 2 for t in total)
