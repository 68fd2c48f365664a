"""Normalizations as sums and products, for complex tensors and for derivatives of third order.

torch's own take real tensors alone. The backward pass of batch_norm is differentiated no further, the third derivatives
of layer_norm, group_norm and instance_norm are wrong, and so are the second ones of weight_norm. The forms here have
all derivatives, at the price of more operations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sobench.objective import torch_private


def batch_norm(
    z: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """F.batch_norm, for z [N, C, ...].

    training: whether the statistics are those of the batch. Running statistics are not updated. Raises RuntimeError, as
    torch does, without running statistics if not `training`.
    """

    def wide(channels: Tensor) -> Tensor:
        return channels.view(-1, *[1] * (z.dim() - 2))

    others = [0, *range(2, z.dim())]
    if training:
        centred = z - wide(z.mean(others))
        variance = centred.square().mean(others)
    elif running_mean is None or running_var is None:
        raise RuntimeError("batch_norm takes running_mean and running_var unless it is training")
    else:
        centred, variance = z - wide(running_mean), running_var
    scale = (variance + eps).rsqrt() if weight is None else weight / (variance + eps).sqrt()
    scaled = centred * wide(scale)
    return scaled if bias is None else scaled + wide(bias)


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """F.layer_norm: over the last dimensions, which have the shape `normalized_shape`."""
    x = _standardized(input, list(range(-len(normalized_shape), 0)), eps)
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """F.group_norm: of an input [N, C, ...], over each of the groups of channels."""
    groups = input.reshape(len(input), num_groups, -1)
    return _by_channel(_standardized(groups, [2], eps).reshape(input.shape), weight, bias)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """F.instance_norm: of an input [N, C, ...], over each channel of each sample. Running statistics stay."""
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    return _by_channel(_standardized(input, list(range(2, input.dim())), eps), weight, bias)


def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """F.rms_norm: division by the root of the mean square over the last dimensions."""
    eps = torch.finfo(input.dtype).eps if eps is None else eps
    square = input.square().mean(list(range(-len(normalized_shape), 0)), keepdim=True)
    x = input / (square + eps).sqrt()
    return x if weight is None else x * weight


def weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """torch's weight normalization: g v / ||v||, the norm over all dimensions but `dim`, or over all if `dim` is -1."""
    others = [i for i in range(v.dim()) if dim == -1 or i != dim]
    return v * (g / v.square().sum(others, keepdim=True).sqrt())


def _standardized(x: Tensor, dimensions: list[int], eps: float) -> Tensor:
    """x minus its mean, over the root of its variance plus eps, both over these dimensions."""
    centred = x - x.mean(dimensions, keepdim=True)
    return centred / (centred.square().mean(dimensions, keepdim=True) + eps).sqrt()


def _by_channel(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """weight x + bias for x [N, C, ...], with a weight and a bias for each channel."""
    shape = (-1, *[1] * (x.dim() - 2))
    x = x if weight is None else x * weight.view(shape)
    return x if bias is None else x + bias.view(shape)


FORMS: dict[Callable[..., Tensor], Callable[..., Tensor]] = {
    F.batch_norm: batch_norm,
    F.layer_norm: layer_norm,
    F.group_norm: group_norm,
    F.instance_norm: instance_norm,
    F.rms_norm: rms_norm,
    torch_private.weight_norm: weight_norm,
}
"""{torch's function: the same as sums and products}."""


class SumsAndProducts(TorchFunctionMode):
    """A context in which the normalizations of torch are computed by the forms of this module, or by some of them."""

    def __init__(self, forms: Mapping[Callable[..., Tensor], Callable[..., Tensor]] = FORMS):
        super().__init__()
        self._forms = forms

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return self._forms.get(func, func)(*args, **(kwargs or {}))
