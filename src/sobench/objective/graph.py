"""What autograd and torch's functions work on: nodes of a graph, tensors of a call, and a cotangent for comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from sobench.objective.torch_private import node_dtypes


def tensors_in(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among `values`, and in lists and tuples among them."""
    tensors: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            tensors.append(value)
        elif isinstance(value, (list, tuple)):
            tensors += tensors_in(value)
    return tensors


def nodes(tensors: Iterable[Tensor]) -> Iterator[Node]:
    """The nodes of the graph of these tensors, each once."""
    seen: set[Node] = set()
    waiting = [t.grad_fn for t in tensors if t.grad_fn is not None]
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            yield node
            waiting += [following for following, _ in node.next_functions if following is not None]


def coarsest_eps(tensors: Iterable[Tensor]) -> float:
    """The largest eps of the precisions in the graph of these tensors: under autocast it is that of bfloat16."""
    kept = list(tensors)
    dtypes = {t.dtype for t in kept} | {dtype for node in nodes(kept) for dtype in node_dtypes(node)}
    return max(torch.finfo(dtype).eps for dtype in dtypes if dtype.is_floating_point)


def probe(like: Tensor) -> Tensor:
    """Numbers between -1 and 1 of no pattern, shaped as `like`, real: the same at every call."""
    dtype = like.dtype.to_real()
    return torch.arange(1, like.numel() + 1, device=like.device).double().cos().view(like.shape).to(dtype)
