"""Every name of torch that sobench uses and torch does not promise to keep: an upgrade of torch has this one module to check.

`multi_*` are torch's multi-tensor operations, one call for a list of tensors, as torch's own optimizers use them.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor
from torch._utils import _unflatten_dense_tensors
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.nn.modules.dropout import _DropoutNd as Dropout

__all__ = [
    "BatchNorm",
    "Dropout",
    "load_forward_rules",
    "multi_add",
    "multi_add_",
    "multi_copy_",
    "multi_div_",
    "multi_mul_",
    "multi_zero_",
    "unflatten",
    "version",
]


def multi_add(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> list[Tensor]:
    """x + y for each pair."""
    return list(torch._foreach_add(list(tensors), list(others)))


def multi_add_(tensors: Sequence[Tensor], others: Sequence[Tensor], alpha: float = 1.0) -> None:
    """x <- x + alpha y for each pair, in place."""
    torch._foreach_add_(tensors, others, alpha=alpha)


def multi_mul_(tensors: Sequence[Tensor], factor: float) -> None:
    """x <- factor x for each tensor, in place."""
    torch._foreach_mul_(tensors, factor)


def multi_div_(tensors: Sequence[Tensor], divisor: float | Tensor) -> None:
    """x <- x / divisor for each tensor, in place."""
    torch._foreach_div_(tensors, divisor)


def multi_copy_(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> None:
    """x <- y for each pair, in place."""
    torch._foreach_copy_(tensors, others)


def multi_zero_(tensors: Sequence[Tensor]) -> None:
    """x <- 0 for each tensor, in place."""
    torch._foreach_zero_(tensors)


def unflatten(vector: Tensor, like: Sequence[Tensor]) -> Sequence[Tensor]:
    """Views of a flat vector [P] shaped as the tensors `like`, in one call."""
    return _unflatten_dense_tensors(vector, like)


def version(tensor: Tensor) -> int:
    """How often the tensor was written in place."""
    return tensor._version


@cache
def load_forward_rules() -> None:
    """Import what torch imports at its first dual number; torch's own use of torch.jit warns that torch.jit is deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import torch._decomp.decompositions_for_jvp  # noqa: F401
