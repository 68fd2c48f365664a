"""Dense symmetric systems, with a defined outcome for every matrix.

Cholesky first, n^3 / 3 operations and one copy of A. Only a matrix that it cannot factor costs an eigendecomposition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sobench.errors import Failure, UsageError

Outcome = Literal["definite", "indefinite", "singular", "not_finite"]


@dataclass(frozen=True)
class Solution:
    """x [n] solves A x = b, or, where A is singular, is the least-squares solution of minimum norm: x = A^+ b.

    outcome: "definite" (all eigenvalues positive), "indefinite" (full rank, some negative), "singular" (rank < n), or
    "not_finite" (A, b or x has a NaN or an infinity), where x is all NaN and rank is None.
    """

    x: Tensor
    outcome: Outcome
    rank: int | None


@torch.no_grad()
def solve_symmetric(A: Tensor, b: Tensor) -> Solution:
    """Solve A x = b for a symmetric A [n, n] (its symmetry is taken on trust) and b [n].

    Rows and columns that are exactly zero are dropped first: exact (x is 0 there), and the rest is often definite.
    An eigenvalue counts as zero where |lambda| <= n eps max|lambda|, torch.linalg.pinv's cut-off. A Cholesky factor
    is refused only where it leaves x no correct digit: min lambda <= eps max lambda, by one inverse iteration.
    Raises UsageError for shapes that do not fit, Failure where the eigendecomposition does not converge.
    """
    if A.dim() != 2 or A.shape[0] != A.shape[1] or b.shape != A.shape[:1]:
        raise UsageError(f"solve_symmetric takes A [n, n] and b [n], got {list(A.shape)} and {list(b.shape)}")
    alive = _nonzero_rows(A)
    if alive is None:
        return _solve(A, b)
    inner = _solve(A[alive[:, None], alive], b[alive])
    if inner.outcome == "not_finite" or not b.isfinite().all():
        return _not_finite(b)
    return Solution(torch.zeros_like(b).index_copy(0, alive, inner.x), "singular", inner.rank)


def spd_inverse(A: Tensor, shift: Tensor | float = 0.0) -> Tensor:
    """(A + shift I)^-1, [n, n], by Cholesky: n^3 operations where a general inverse takes 2 n^3.

    Waits for no device: where the matrix is not positive definite, or not finite, every entry is NaN.
    """
    shifted = A.clone()
    shifted.diagonal().add_(shift)
    L, info = torch.linalg.cholesky_ex(shifted)
    L.diagonal().masked_fill_(info != 0, 1)  # a zero there raises
    return torch.cholesky_inverse(L).masked_fill_(info != 0, torch.nan)


def spd_solve(A: Tensor, b: Tensor, shift: Tensor | float = 0.0) -> Tensor:
    """(A + shift I)^-1 b, [n], by Cholesky, n^3 / 3 operations; every entry is NaN where `spd_inverse`'s would be."""
    shifted = A.clone()
    shifted.diagonal().add_(shift)
    L, info = torch.linalg.cholesky_ex(shifted)
    return torch.cholesky_solve(b[:, None], L).squeeze(1).masked_fill_(info != 0, torch.nan)


def _nonzero_rows(A: Tensor) -> Tensor | None:
    """The indices of the rows that are not all zero, or None for every row: mostly the diagonal alone tells."""
    candidates = (A.diagonal() == 0).nonzero().squeeze(1)
    dead = candidates[~A[candidates].any(dim=1)]
    if len(dead) == 0:
        return None
    alive = torch.ones(len(A), dtype=torch.bool, device=A.device)
    alive[dead] = False
    return alive.nonzero().squeeze(1)


def _solve(A: Tensor, b: Tensor) -> Solution:
    if len(b) == 0:
        return Solution(b.clone(), "definite", 0)
    x = _cholesky_solve(A, b)
    if x is not None:
        return Solution(x, "definite", len(b))
    if not (A.isfinite().all() and b.isfinite().all()):
        return _not_finite(b)
    return _eigen_solve(A, b)


def _cholesky_solve(A: Tensor, b: Tensor) -> Tensor | None:
    """A^-1 b; None where A is not positive definite in its precision, or something is not finite."""
    L, info = torch.linalg.cholesky_ex(A)
    if info != 0:
        return None
    x = torch.cholesky_solve(b[:, None], L)
    y = torch.cholesky_solve(x, L)
    smallest, largest = x.norm() / y.norm(), A.diagonal().max()  # from above and from below the extreme eigenvalues
    no_digit_left = smallest <= torch.finfo(A.dtype).eps * largest
    finite = x.isfinite().all() & L.diagonal().isfinite().all()
    return x.squeeze(1) if finite & ~no_digit_left else None


def _eigen_solve(A: Tensor, b: Tensor) -> Solution:
    """A^+ b, and the outcome that the eigenvalues say."""
    try:
        eigenvalues, Q = torch.linalg.eigh(A)
    except torch.linalg.LinAlgError as error:
        raise Failure(f"the eigendecomposition of a {len(b)} x {len(b)} matrix did not converge: {error}") from error
    magnitudes = eigenvalues.abs()
    kept = magnitudes > len(b) * torch.finfo(A.dtype).eps * magnitudes.max()
    x = Q @ torch.where(kept, (Q.T @ b) / eigenvalues, 0)
    if not x.isfinite().all():
        return _not_finite(b)
    rank = int(kept.sum())
    if rank < len(b):
        return Solution(x, "singular", rank)
    return Solution(x, "indefinite" if (eigenvalues < 0).any() else "definite", rank)


def _not_finite(b: Tensor) -> Solution:
    return Solution(torch.full_like(b, torch.nan), "not_finite", None)
