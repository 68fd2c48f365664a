"""Inverse p-th roots of many symmetric matrices at once, with a defined outcome for every matrix.

    X = (A + shift I)^(-1/p)                                    A [n, n] positive semidefinite, shift >= 0

newton: the coupled Newton iteration (`coupled_newton`), which consists of matrix products, the fastest operation of a
GPU. It starts from bounds of the eigenvalues: the shift, and the smaller of Frobenius norm and largest absolute row
sum, read from the device once for all matrices. If it does not converge, the root is computed from the eigenvalues.

eigen: Q max(lambda, shift)^(-1/p) Q^T from the eigendecomposition of A + shift I. It is repeated in float64 if LAPACK's
routine fails in float32, as it does for some matrices of rank 1. On a CPU it is several times faster than newton,
because LAPACK's divide and conquer deflates clustered eigenvalues (n = 1000, p = 4, condition 4e5: 80 ms against 480).

auto: eigen on a CPU, newton elsewhere.

In float64 both are accurate to 1e-8 up to condition 1e8. In float32 the attainable accuracy of a root falls with the
condition. Relative errors for n = 500 and p = 2 to 8: 1e-6 at condition 10; 1e-5 to 2e-5 (newton) and 2e-5 to 9e-5
(eigen) at 1e3; 5e-4 to 2e-3 and 1e-3 to 6e-3 at 1e5.

The root of a matrix that is not finite is all NaN. The root of a singular matrix without shift is all NaN or infinite.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sobench.errors import Failure
from sobench.linalg.coupled_newton import coupled_newton
from sobench.linalg.dense import eigh
from sobench.linalg.kronecker import BLOCK


class Roots(NamedTuple):
    """X: (A + shift I)^(-1/p) for every matrix. failures: the number of matrices for which newton did not converge."""

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
    """(A + shift I)^(-1/p) [n, n] for every A [n, n] and its p >= 1.

    tolerance and max_iterations apply to the coupled Newton iteration. Matrices of the same size and p are stacked,
    except large ones on a CPU. Raises Failure if an eigendecomposition does not converge.
    """
    groups: dict[tuple[int, int, torch.device, int], list[int]] = defaultdict(list)
    for i, (A, p) in enumerate(zip(matrices, powers, strict=True)):
        groups[len(A), p, A.device, 0 if A.is_cuda or len(A) < 2 * BLOCK else i].append(i)
    stacks = [torch.stack([matrices[i] for i in group]) for group in groups.values()]
    methods = [method if method != "auto" else "newton" if A.is_cuda else "eigen" for A in stacks]
    norms = iter(torch.cat([_norm_bounds(A) for A in stacks]).tolist() if "newton" in methods else ())
    X: dict[int, Tensor] = {}
    failures = 0
    for ((_, p, *_), group), A, stack_method in zip(groups.items(), stacks, methods):
        if stack_method == "eigen":
            roots = _eigen_roots(A, p, shift)
        else:
            roots, failed = _newton_roots(A, p, shift, [next(norms) + shift for _ in group], tolerance, max_iterations)
            failures += failed
        X.update(zip(group, roots))
    return Roots([X[i] for i in range(len(matrices))], failures)


def _newton_roots(
    A: Tensor, p: int, shift: float, norms: list[float], tolerance: float, max_iterations: int
) -> tuple[list[Tensor], int]:
    """The roots of A [b, n, n], and the number of them that come from the eigenvalues."""
    shifted = A.clone()
    shifted.diagonal(dim1=-2, dim2=-1).add_(shift)
    X, converged = coupled_newton(shifted, p, norms, shift, tolerance=tolerance, max_iterations=max_iterations)
    roots = [x if success else _eigen_roots(a[None], p, shift)[0] for x, success, a in zip(X, converged, A)]
    return roots, converged.count(False)


def _eigen_roots(A: Tensor, p: int, shift: float) -> Tensor:
    """(max(A, 0) + shift I)^(-1/p), [b, n, n]; all NaN for an A that is not finite."""
    finite = A.isfinite().all(-1).all(-1)[:, None, None]
    shifted = A.where(finite, 0.0)
    shifted.diagonal(dim1=-2, dim2=-1).add_(shift)  # LAPACK fails on clusters at zero more than on others
    eigenvalues, Q = _eigh(shifted)
    X = (Q * eigenvalues.clamp(min=shift)[:, None] ** (-1 / p)) @ Q.mT
    return X.where(finite, torch.nan)


def _eigh(A: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues [b, n] and eigenvectors [b, n, n] in the precision of A; by float64 if that does not converge."""
    try:
        return eigh(A)
    except Failure:
        eigenvalues, Q = eigh(A.double())
        return eigenvalues.to(A), Q.to(A)


def _norm_bounds(A: Tensor) -> Tensor:
    """An upper bound of the largest eigenvalue of each A [b, n, n], [b]."""
    return torch.minimum(torch.linalg.matrix_norm(A), A.abs().sum(-1).amax(-1))
