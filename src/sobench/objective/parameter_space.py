"""The map between a flat parameter vector in R^P and the named parameters of a model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from sobench.objective.precision import at_least_single, common
from sobench.objective.torch_private import multi_add_, multi_copy_, unflatten


class ParameterSpace:
    """The trainable tensors of a model as coordinates of R^P, in the order of `model.parameters()`.

    A *flat* vector has shape [P], and the type `dtype`: that of the parameters, at least float32. Methods that return
    views of it do not copy. is_rounded: whether some parameter has less precision than a flat vector.
    """

    def __init__(self, named: Iterable[tuple[str, Tensor]]):
        pairs = [(name, p) for name, p in named if p.requires_grad]
        self.names = tuple(name for name, _ in pairs)
        self.parameters = tuple(p for _, p in pairs)
        self.shapes = tuple(p.shape for p in self.parameters)
        self.sizes = tuple(math.prod(shape) for shape in self.shapes)
        self.size = sum(self.sizes)
        self.dtype = common(p.dtype for p in self.parameters)
        self.is_rounded = any(p.dtype != self.dtype for p in self.parameters)

    def get(self) -> Tensor:
        """A copy of the current parameters, [P], without a graph."""
        return self.flatten([p.detach() for p in self.parameters])

    @torch.no_grad()
    def add_(self, v: Tensor, alpha: float = 1.0) -> None:
        """theta <- theta + alpha v, for v [P], in the parameters of the model."""
        multi_add_(self.parameters, self.unflatten(v), alpha=alpha)

    @torch.no_grad()
    def assign_(self, theta: Tensor) -> None:
        """Write a flat vector [P] into the parameters of the model, in place."""
        multi_copy_(self.parameters, self.unflatten(theta))

    @staticmethod
    def flatten(tensors: Sequence[Tensor]) -> Tensor:
        """[P] from one tensor per parameter; always a copy."""
        return at_least_single(torch.cat([t.reshape(-1) for t in tensors]))

    @staticmethod
    def flatten_batch(tensors: Sequence[Tensor]) -> Tensor:
        """[K, P] from one tensor [K, *shape] per parameter; always a copy."""
        return at_least_single(torch.cat([t.reshape(len(t), math.prod(t.shape[1:])) for t in tensors], dim=1))

    def unflatten(self, vector: Tensor) -> tuple[Tensor, ...]:
        """One view [..., *shape] per parameter, of a vector [..., P]. Raises ValueError for any other length."""
        if vector.shape[-1] != self.size:
            raise ValueError(f"expected a vector of {self.size} parameters, got {vector.shape[-1]}")
        if vector.dim() == 1:
            return tuple(unflatten(vector, self.parameters))  # a single call of torch, as every step needs several
        lead, parts = vector.shape[:-1], torch.split_with_sizes(vector, self.sizes, dim=-1)
        return tuple(v.view(lead + s) for v, s in zip(parts, self.shapes))

    def rounded(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """Real tensors, one per parameter, in the types of the parameters; complex ones as they are."""
        if not self.is_rounded:
            return tensors
        return tuple(t if t.is_complex() else t.to(p.dtype) for t, p in zip(tensors, self.parameters))

    def named(self, vector: Tensor) -> dict[str, Tensor]:
        """{parameter name: view [..., *shape]} of a vector [..., P]. Raises ValueError for any other length."""
        return dict(zip(self.names, self.unflatten(vector)))
