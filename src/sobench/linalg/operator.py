"""Symmetric matrices that are known only by their products with vectors."""

from __future__ import annotations

import copy
from collections.abc import Callable
from numbers import Real
from typing import Protocol

import torch
from torch import Tensor

from sobench.errors import UsageError


class SupportsMatmul(Protocol):
    """A matrix A [P, P] by its products `A @ v`: a tensor, a `LinearOperator` or any object with this method."""

    def __matmul__(self, v: Tensor, /) -> Tensor: ...


class LinearOperator:
    """A symmetric matrix A [P, P], given by v -> A v.

    matvec: [P] -> [P].
    matmat: [P, K] -> [P, K], for operators whose product with many vectors costs less than one vector at a time.

    A @ v takes v [P] or [P, K]. It raises UsageError for any other shape. A + lam is the operator A + lam I, where lam
    is a number or a 0-dim tensor; forming it makes no product.
    """

    def __init__(
        self,
        matvec: Callable[[Tensor], Tensor],
        size: int,
        *,
        matmat: Callable[[Tensor], Tensor] | None = None,
        dtype: torch.dtype,
        device: torch.device | str,
    ):
        self.shape = (size, size)
        self.dtype, self.device = dtype, torch.device(device)
        self._matvec, self._matmat = matvec, matmat
        self._shift: float | Tensor = 0.0

    def __matmul__(self, v: Tensor) -> Tensor:
        if v.dim() not in (1, 2) or v.shape[0] != self.shape[1]:
            size = self.shape[0]
            raise UsageError(f"an operator on R^{size} multiplies [{size}] or [{size}, K], got {list(v.shape)}")
        product = self._matvec(v) if v.dim() == 1 else self._columns(v)
        if isinstance(self._shift, Tensor):
            return product + self._shift * v
        return torch.add(product, v, alpha=self._shift) if self._shift else product

    def __add__(self, lam: float | Tensor) -> LinearOperator:
        if not isinstance(lam, Real) and not (isinstance(lam, Tensor) and lam.dim() == 0):
            return NotImplemented
        shifted = copy.copy(self)
        shifted._shift = self._shift + lam
        return shifted

    __radd__ = __add__

    def dense(self, chunk: int = 128) -> Tensor:
        """The matrix as a tensor [P, P], from products with `chunk` columns of the identity at a time."""
        size = self.shape[0]
        matrix = torch.empty(self.shape, dtype=self.dtype, device=self.device)
        for start in range(0, size, chunk):
            stop = min(start + chunk, size)
            columns = torch.zeros(size, stop - start, dtype=self.dtype, device=self.device)
            columns[start:stop].fill_diagonal_(1)
            matrix[start:stop] = self._columns(columns).detach().T  # its rows: A is symmetric
        matrix.diagonal().add_(self._shift)
        return matrix

    def _columns(self, V: Tensor) -> Tensor:
        """A V for V [P, K], without the shift."""
        if self._matmat is not None:
            return self._matmat(V)
        return torch.stack([self._matvec(v) for v in V.unbind(1)], dim=1)
