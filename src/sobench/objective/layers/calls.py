"""One call of a layer, and the locations of its inputs and outputs: rows a_t and h_t for each sample.

A Linear layer has one location, or one per row of a sequence. A Conv2d layer has one location per pixel of its output.
"""

from __future__ import annotations

import math
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
        return patch_rows(module, x, with_one=False)
    return x.reshape(len(x), -1, x.shape[-1])


def patch_rows(module: nn.Conv2d, x: Tensor, *, with_one: bool) -> Tensor:
    """a_t, [N, |T|, D], of the images x [N, J, H, W] that a convolution reads; with_one: whether it ends with a 1.

    One copy along the rows of the images, into a tensor in which the columns of a_t are contiguous: in a fifth of the
    time of torch's unfold with a concatenation of the 1.
    """
    (J, (pad_h, pad_w)), kernel = (x.shape[1], padding(module)), module.kernel_size
    x = F.pad(x, (pad_w, pad_w, pad_h, pad_h)) if pad_h or pad_w else x
    windows = x
    for axis in (2, 3):
        span = module.dilation[axis - 2] * (kernel[axis - 2] - 1) + 1
        windows = windows.unfold(axis, span, module.stride[axis - 2])
    windows = windows[..., :: module.dilation[0], :: module.dilation[1]].permute(1, 4, 5, 0, 2, 3)
    columns = x.new_empty(J * math.prod(kernel) + with_one, *windows.shape[3:])
    columns[: J * math.prod(kernel)].view(windows.shape).copy_(windows)
    columns[J * math.prod(kernel) :] = 1
    return columns.flatten(2).permute(1, 2, 0)


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
