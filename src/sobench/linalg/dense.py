"""Dense symmetric linear systems, with a defined outcome for every matrix.

Cholesky is tried first: n^3 / 3 operations and one copy of A. Only a matrix without a Cholesky factor costs an
eigendecomposition.
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
    """The solution of a symmetric system A x = b.

    x: the solution [n]; for a singular A the least-squares solution of minimum norm, x = A^+ b.
    outcome: "definite" (all eigenvalues are positive), "indefinite" (full rank, some are negative), "singular"
        (rank < n) or "not_finite" (A, b or x has a NaN or an infinity; all of x is NaN).
    rank: the rank of A; None if the outcome is "not_finite".
    """

    x: Tensor
    outcome: Outcome
    rank: int | None


@torch.no_grad()
def solve_symmetric(A: Tensor, b: Tensor) -> Solution:
    """Solve A x = b for a symmetric A [n, n] and b [n]. Symmetry is not checked.

    Rows and columns that are exactly zero are removed first. This is exact (x is 0 there), and the rest is often
    definite. An eigenvalue counts as zero if |lambda| <= n eps max|lambda|, the cut-off of torch.linalg.pinv. A
    Cholesky factor is rejected only if it leaves x without a correct digit: min lambda <= eps max lambda, estimated by
    one inverse iteration. Synchronises with the device.

    Raises UsageError for shapes that do not match, Failure if the eigendecomposition does not converge.
    """
    if A.dim() != 2 or A.shape[0] != A.shape[1] or b.shape != A.shape[:1]:
        raise UsageError(f"solve_symmetric takes A [n, n] and b [n], got {list(A.shape)} and {list(b.shape)}")
    rows = _nonzero_rows(A)
    if rows is None:
        return _solve(A, b)
    inner = _solve(A[rows[:, None], rows], b[rows])
    if inner.outcome == "not_finite" or not b.isfinite().all():
        return _not_finite(b)
    return Solution(torch.zeros_like(b).index_copy(0, rows, inner.x), "singular", inner.rank)


def spd_inverse(A: Tensor, shift: Tensor | float = 0.0) -> Tensor:
    """(A + shift I)^-1, [n, n], for a symmetric A [n, n], by Cholesky.

    Takes n^3 operations, where a general inverse takes 2 n^3. Every entry is NaN if the matrix is not positive definite
    or not finite. Does not synchronise with the device.
    """
    shifted = A.clone()
    shifted.diagonal().add_(shift)
    L, info = torch.linalg.cholesky_ex(shifted)
    L.diagonal().masked_fill_(info != 0, 1)  # a zero there raises
    return torch.cholesky_inverse(L).masked_fill_(info != 0, torch.nan)


def spd_solve(A: Tensor, b: Tensor, shift: Tensor | float = 0.0) -> Tensor:
    """(A + shift I)^-1 b, [n], for a symmetric A [n, n] and b [n], by Cholesky: n^3 / 3 operations.

    Every entry is NaN if the matrix is not positive definite or not finite. Does not synchronise with the device.
    """
    shifted = A.clone()
    shifted.diagonal().add_(shift)
    L, info = torch.linalg.cholesky_ex(shifted)
    return torch.cholesky_solve(b[:, None], L).squeeze(1).masked_fill_(info != 0, torch.nan)


def eigh(A: Tensor) -> tuple[Tensor, Tensor]:
    """The eigenvalues [..., n], ascending, and eigenvectors [..., n, n] of symmetric matrices A [..., n, n].

    Raises Failure if the decomposition does not converge.
    """
    try:
        eigenvalues, Q = torch.linalg.eigh(A)
    except torch.linalg.LinAlgError as error:  # pyright: ignore[reportPrivateImportUsage]  # public: torch documents it
        n = A.shape[-1]
        raise Failure(f"the eigendecomposition of a {n} x {n} matrix did not converge: {error}") from error
    return eigenvalues, Q


def _nonzero_rows(A: Tensor) -> Tensor | None:
    """The indices of the rows that are not all zero, or None for all rows. Reads rows with a zero on the diagonal."""
    candidates = (A.diagonal() == 0).nonzero().squeeze(1)
    zero_rows = candidates[~A[candidates].any(dim=1)]
    if len(zero_rows) == 0:
        return None
    is_nonzero = torch.ones(len(A), dtype=torch.bool, device=A.device)
    is_nonzero[zero_rows] = False
    return is_nonzero.nonzero().squeeze(1)


def _solve(A: Tensor, b: Tensor) -> Solution:
    """The solution of A x = b by Cholesky, else by eigenvalues."""
    if len(b) == 0:
        return Solution(b.clone(), "definite", 0)
    x = _cholesky_solve(A, b)
    if x is not None:
        return Solution(x, "definite", len(b))
    if not (A.isfinite().all() and b.isfinite().all()):
        return _not_finite(b)
    return _eigen_solve(A, b)


def _cholesky_solve(A: Tensor, b: Tensor) -> Tensor | None:
    """A^-1 b [n]; None if A is not positive definite in its precision, or if A, b or x is not finite."""
    L, info = torch.linalg.cholesky_ex(A)
    if info != 0:
        return None
    x = torch.cholesky_solve(b[:, None], L)
    y = torch.cholesky_solve(x, L)
    smallest, largest = x.norm() / y.norm(), A.diagonal().max()  # upper and lower bound of the extreme eigenvalues
    no_digit_left = smallest <= torch.finfo(A.dtype).eps * largest
    finite = x.isfinite().all() & L.diagonal().isfinite().all()
    return x.squeeze(1) if finite & ~no_digit_left else None


def _eigen_solve(A: Tensor, b: Tensor) -> Solution:
    """A^+ b, with the outcome according to the eigenvalues."""
    eigenvalues, Q = eigh(A)
    magnitudes = eigenvalues.abs()
    nonzero = magnitudes > len(b) * torch.finfo(A.dtype).eps * magnitudes.max()
    x = Q @ torch.where(nonzero, (Q.T @ b) / eigenvalues, 0)
    if not x.isfinite().all():
        return _not_finite(b)
    rank = int(nonzero.sum())
    if rank < len(b):
        return Solution(x, "singular", rank)
    return Solution(x, "indefinite" if (eigenvalues < 0).any() else "definite", rank)


def _not_finite(b: Tensor) -> Solution:
    return Solution(torch.full_like(b, torch.nan), "not_finite", None)
