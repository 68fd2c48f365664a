"""The map between a flat parameter vector in R^P and the named parameters of a model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from sobench.errors import Unsupported, UsageError
from sobench.objective.precision import at_least_single, common
from sobench.objective.torch_private import multi_add_, multi_copy_, unflatten


class ParameterSpace:
    """The trainable tensors of a model as coordinates of R^P, in the order of `model.parameters()`.

    A *flat* vector has shape [P]. Methods that return views of it do not copy.

    dtype: the precision of a flat vector: the widest of those of the tensors, and at least float32.
    mixed: whether some tensor has less precision than that.

    Raises UsageError, which names the tensor, for a complex one, for one without values yet (a lazy module), and for
    tensors on several devices; also if there is no trainable tensor.
    """

    def __init__(self, named: Iterable[tuple[str, Tensor]]):
        pairs = [(name, p) for name, p in named if p.requires_grad]
        _check(pairs)
        self.names = tuple(name for name, _ in pairs)
        self.parameters = tuple(p for _, p in pairs)
        self.shapes = tuple(p.shape for p in self.parameters)
        self.sizes = tuple(math.prod(shape) for shape in self.shapes)
        self.size = sum(self.sizes)
        self.dtype = common(p.dtype for p in self.parameters)
        self.mixed = any(p.dtype != self.dtype for p in self.parameters)

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
        """[P] from one tensor per parameter; always a copy. Raises Unsupported for sparse tensors."""
        try:
            return at_least_single(torch.cat([t.reshape(-1) for t in tensors]))
        except RuntimeError as error:
            _refuse_sparse(tensors, error)
            raise

    @staticmethod
    def flatten_batch(tensors: Sequence[Tensor]) -> Tensor:
        """[K, P] from one tensor [K, *shape] per parameter; always a copy. Raises Unsupported for sparse tensors."""
        try:
            rows = [t.reshape(len(t), math.prod(t.shape[1:])) for t in tensors]
        except RuntimeError as error:
            _refuse_sparse(tensors, error)
            raise
        return at_least_single(torch.cat(rows, dim=1))

    def unflatten(self, vector: Tensor) -> tuple[Tensor, ...]:
        """One view [..., *shape] per parameter, of a vector [..., P]. Raises ValueError for any other length."""
        if vector.shape[-1] != self.size:
            raise ValueError(f"expected a vector of {self.size} parameters, got {vector.shape[-1]}")
        if vector.dim() == 1:
            return tuple(unflatten(vector, self.parameters))  # a single call of torch, as every step needs several
        lead, parts = vector.shape[:-1], torch.split_with_sizes(vector, self.sizes, dim=-1)
        return tuple(v.view(lead + s) for v, s in zip(parts, self.shapes))

    def named(self, vector: Tensor) -> dict[str, Tensor]:
        """{parameter name: view [..., *shape]} of a vector [..., P]. Raises ValueError for any other length."""
        return dict(zip(self.names, self.unflatten(vector)))


def _refuse_sparse(tensors: Sequence[Tensor], error: RuntimeError) -> None:
    """Raise Unsupported if one of the tensors is sparse."""
    if any(t.is_sparse for t in tensors):
        reason = "the gradient of an embedding is sparse (F.embedding with sparse=True); allowed: sparse=False"
        raise Unsupported(reason) from error


def _check(named: list[tuple[str, Tensor]]) -> None:
    """Raise the errors of `ParameterSpace`."""
    if not named:
        raise UsageError("the model has no parameter that requires a gradient: there is nothing to train")
    for name, p in named:
        if is_lazy(p):
            raise UsageError(f"parameter {name} has no values yet: call the model once on a batch first")
        if p.is_complex():
            dtype = str(p.dtype).removeprefix("torch.")
            raise UsageError(f"parameter {name} is {dtype}; allowed: real parameters (real and imaginary part apart)")
        if p.device != named[0][1].device:
            first, device = named[0]
            raise UsageError(
                f"parameter {first} is on {device.device} and {name} on {p.device}; allowed: a model on one device"
            )
