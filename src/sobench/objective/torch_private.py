"""All names of torch that sobench uses although torch does not promise to keep them.

An upgrade of torch has this one module to check. `multi_*` are the multi-tensor operations of torch's own optimizers:
one call for a list of tensors.
"""

# pyright: reportPrivateImportUsage=false
# torch exports none of the names that this module collects

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor
from torch._utils import _unflatten_dense_tensors
from torch.autograd.graph import Node
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.nn.modules.dropout import _DropoutNd as Dropout
from torch.utils._python_dispatch import TorchDispatchMode as DispatchMode
from torch.utils._pytree import tree_flatten, tree_unflatten

__all__ = [
    "BatchNorm",
    "DispatchMode",
    "Dropout",
    "in_backward",
    "load_forward_rules",
    "multi_add",
    "multi_add_",
    "multi_copy_",
    "multi_div_",
    "multi_mul_",
    "multi_zero_",
    "node_dtypes",
    "tree_flatten",
    "tree_unflatten",
    "unflatten",
    "version",
    "weight_norm",
]

Tensors = list[Tensor] | tuple[Tensor, ...]


def multi_add(tensors: Tensors, others: Tensors) -> list[Tensor]:
    """x + y for each pair."""
    return list(torch._foreach_add(tensors, others))


def multi_add_(tensors: Tensors, others: Tensors, alpha: float = 1.0) -> None:
    """x <- x + alpha y for each pair, in place."""
    torch._foreach_add_(tensors, others, alpha=alpha)


def multi_mul_(tensors: Tensors, factor: float) -> None:
    """x <- factor x for each tensor, in place."""
    torch._foreach_mul_(tensors, factor)


def multi_div_(tensors: Tensors, divisor: float | Tensor) -> None:
    """x <- x / divisor for each tensor, in place."""
    torch._foreach_div_(tensors, divisor)


def multi_copy_(tensors: Tensors, others: Tensors) -> None:
    """x <- y for each pair, in place."""
    torch._foreach_copy_(tensors, others)


def multi_zero_(tensors: Tensors) -> None:
    """x <- 0 for each tensor, in place."""
    torch._foreach_zero_(tensors)


def unflatten(vector: Tensor, like: Sequence[Tensor]) -> Sequence[Tensor]:
    """Views of a flat vector [P], shaped as the tensors `like`, in one call."""
    return _unflatten_dense_tensors(vector, like)


def in_backward() -> bool:
    """Whether a backward pass runs this code: as a hook, or as a forward pass that checkpointing repeats."""
    return torch._C._current_graph_task_id() != -1


def node_dtypes(node: Node) -> list[torch.dtype]:
    """The types of the results of the operation whose backward pass is this node of a graph."""
    return [metadata.dtype for metadata in node._input_metadata]


weight_norm = torch._weight_norm
"""The function behind weight normalization: (v, g, dim) -> g v / ||v||."""


def version(tensor: Tensor) -> int:
    """The number of times that the tensor was written in place."""
    return tensor._version


@cache
def load_forward_rules() -> None:
    """Import in advance the module that torch imports at its first dual number.

    That module uses torch.jit, which warns that it is deprecated. The warning is suppressed here.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import torch._decomp.decompositions_for_jvp  # noqa: F401
