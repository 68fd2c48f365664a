"""Inverse p-th roots of many symmetric matrices at once, with a defined outcome for every matrix.

    X = (A + shift I)^(-1/p)                                    A [n, n] positive semidefinite, shift >= 0

newton: the coupled Newton iteration (`coupled_newton`), matrix products alone: what a GPU does best. It starts from bounds:
the shift, and the smaller of Frobenius norm and largest absolute row sum, read from the device once for all matrices. Where
it does not converge, the root is taken from the eigenvalues.
eigen: Q max(lambda, shift)^(-1/p) Q^T from the eigendecomposition of A + shift I, repeated in float64 where LAPACK's
routine fails in float32, as it does on some matrices of rank 1. On a CPU it is several times faster, as
LAPACK's divide and conquer sets clustered eigenvalues aside (n = 1000, p = 4, condition 4e5: 80 ms against 480).
auto: eigen on a CPU, newton elsewhere.

In float64 both are right to 1e-8 up to condition 1e8. In float32 what can be known of a root falls with the
condition: relative errors for n = 500 and p = 2 to 8 were 1e-6 at condition 10, 1e-5 to 2e-5 (newton) and 2e-5 to 9e-5
(eigen) at 1e3, 5e-4 to 2e-3 and 1e-3 to 6e-3 at 1e5.

The root of a matrix that is not finite is all NaN, and so is that of a singular one without shift, or infinite.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sobench.errors import Failure
from sobench.linalg.coupled_newton import coupled_newton
from sobench.linalg.kronecker import BLOCK


class Roots(NamedTuple):
    """X: (A + shift I)^(-1/p) of every matrix; failures: how many the iteration did not give."""

    X: list[Tensor]
    failures: int


@torch.no_grad()
def inverse_roots(
    matrices: Sequence[Tensor],
    powers: Sequence[int],
    shift: float = 0.0,
    *,
    method: str = "auto",
    tolerance: float = 1e-6,
    max_iterations: int = 100,
) -> Roots:
    """(A + shift I)^(-1/p) for every A [n, n] and its p >= 1; tolerance and max_iterations are the iteration's.

    Matrices of one size and one p are taken together, large ones on a CPU apart. Raises Failure where an
    eigendecomposition does not converge.
    """
    groups = defaultdict(list)
    for i, (A, p) in enumerate(zip(matrices, powers, strict=True)):
        groups[len(A), p, A.device, 0 if A.is_cuda or len(A) < 2 * BLOCK else i].append(i)
    stacks = [torch.stack([matrices[i] for i in group]) for group in groups.values()]
    use = [method if method != "auto" else "newton" if A.is_cuda else "eigen" for A in stacks]
    norms = iter(torch.cat([_norm_bounds(A) for A in stacks]).tolist() if "newton" in use else ())
    X, failures = [None] * len(matrices), 0
    for ((_, p, *_), group), A, how in zip(groups.items(), stacks, use):
        if how == "eigen":
            roots = _eigen_roots(A, p, shift)
        else:
            roots, failed = _newton_roots(A, p, shift, [next(norms) + shift for _ in group], tolerance, max_iterations)
            failures += failed
        for i, root in zip(group, roots):
            X[i] = root
    return Roots(X, failures)


def _newton_roots(
    A: Tensor, p: int, shift: float, norms: list[float], tolerance: float, max_iterations: int
) -> tuple[list[Tensor], int]:
    """The roots of A [b, n, n], and how many of them come from the eigenvalues."""
    shifted = A.clone()
    shifted.diagonal(dim1=-2, dim2=-1).add_(shift)
    X, converged = coupled_newton(shifted, p, norms, shift, tolerance=tolerance, max_iterations=max_iterations)
    roots = [x if good else _eigen_roots(a[None], p, shift)[0] for x, good, a in zip(X, converged, A)]
    return roots, converged.count(False)


def _eigen_roots(A: Tensor, p: int, shift: float) -> Tensor:
    """(max(A, 0) + shift I)^(-1/p), [b, n, n]; all NaN where A is not finite."""
    finite = A.isfinite().all(-1).all(-1)[:, None, None]
    shifted = A.where(finite, 0.0)
    shifted.diagonal(dim1=-2, dim2=-1).add_(shift)  # LAPACK fails on clusters at zero more than on others
    eigenvalues, Q = _eigh(shifted)
    X = (Q * eigenvalues.clamp(min=shift)[:, None] ** (-1 / p)) @ Q.mT
    return X.where(finite, torch.nan)


def _eigh(A: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues [b, n] and vectors [b, n, n], in the precision of A, or by way of float64 where that does not converge."""
    try:
        return torch.linalg.eigh(A)
    except torch.linalg.LinAlgError:
        pass
    try:
        eigenvalues, Q = torch.linalg.eigh(A.double())
    except torch.linalg.LinAlgError as error:
        raise Failure(
            f"the eigendecomposition of a {A.shape[-1]} x {A.shape[-1]} matrix did not converge: {error}"
        ) from error
    return eigenvalues.to(A), Q.to(A)


def _norm_bounds(A: Tensor) -> Tensor:
    """A number that the largest eigenvalue does not exceed, [b]."""
    return torch.minimum(torch.linalg.matrix_norm(A), A.abs().sum(-1).amax(-1))
