"""The coupled Newton iteration for inverse p-th roots of symmetric positive definite matrices, with scaling.

    X <- X T,  M <- T^p M,  T = ((p + 1) I - M) / p             from X = c I, M = c^p A; M = X^p A holds throughout

Every M is a polynomial in A, so each eigenvalue m evolves on its own, m <- phi(m) = m ((p + 1 - m) / p)^p. phi maps
]0, p + 1[ into ]0, 1] and converges quadratically to its fixed point 1: 1 + d becomes 1 - (p + 1) / (2p) d^2 + O(d^3).
Hence M -> I and X -> A^(-1/p) from any M with its spectrum in ]0, p + 1[. (N. Higham, Functions of Matrices, 2008,
section 7.3; used by R. Anil et al., Scalable Second Order Optimization for Deep Learning, 2020, and by Y. Ren, thesis,
algorithm 16, line 12.)

Scaling. Small eigenvalues grow by (1 + 1/p)^p per step: 2.4 for p = 4. If the spectrum lies in [l, 1], M may first be
multiplied by s, and X by s^(1/p). The best s maps both ends to the same value, phi(s l) = phi(s). With q = l^(1/p),

    s = (p + 1) (1 - q) / (1 - q^(p+1)),  l <- phi(s l)         growth up to (p + 1) (1 + 1/p)^p: 12.2

An l that is too large costs steps, not correctness: the scaling ends, and plain steps follow.

Stopping. Once the predicted spectrum of M is near 1, ||M - I||_F is read before each step. The last step forms X alone,
when (p + 1) / (2p) ||M - I||_F^2 is at most the tolerance; this bounds the spectral norm of the next M - I.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sobench.linalg.kronecker import BLOCK

NEAR = 0.1
"""||M - I||_F is read once the predicted |m - 1| is at most this."""


def coupled_newton(
    A: Tensor, p: int, norms: list[float], smallest: float = 0.0, *, tolerance: float = 1e-6, max_iterations: int = 100
) -> tuple[Tensor, list[bool]]:
    """A^(-1/p) [b, n, n] for a batch A [b, n, n], and for each matrix whether its root converged.

    norms: an upper bound of the eigenvalues of each matrix. smallest: a lower bound for all matrices (0: unknown).
    tolerance: for the eigenvalues of X^p A - I. A matrix that is not finite, or not positive definite in its precision,
    does not converge; its X is then the last iterate, without meaning. Synchronises with the device about twice.
    """
    finite = [norm for norm in norms if 0 < norm < math.inf]
    if not finite:
        return torch.full_like(A, torch.nan), [False] * len(norms)
    l = _lower_end(smallest / max(finite), torch.finfo(A.dtype).eps)
    c = A.new_tensor([1 / norm if norm in finite else math.nan for norm in norms])[:, None, None]
    X, M = c ** (1 / p), A * c
    enough = (2 * p / (p + 1) * tolerance) ** 0.5
    errors = [math.inf] * len(norms)
    for _ in range(max_iterations):
        s = _scale(l, p)
        X, M = X * s ** (1 / p), M.mul_(s)
        T = M.div(-p)
        T.diagonal(dim1=-2, dim2=-1).add_((p + 1) / p)
        X = _product(X, T)
        if max(s - 1, 1 - s * l) <= NEAR:
            errors = distance_to_identity(M).tolist()
            if all(error <= enough or not math.isfinite(error) for error in errors):
                break
        M = _product(_power(T, p), M)
        l = _phi(s * l, p)
    return X, [error <= enough for error in errors]


def distance_to_identity(M: Tensor) -> Tensor:
    """||M - I||_F, [b], for M [b, n, n]."""
    R = M.clone()
    R.diagonal(dim1=-2, dim2=-1).sub_(1)
    return torch.linalg.matrix_norm(R)


def _lower_end(l: float, eps: float) -> float:
    """l, but at least 8 eps. If l is unknown (0): sqrt(eps), the geometric mean of 1 and eps."""
    return min(max(l, 8 * eps), 1.0) if l > 0 else eps**0.5


def _scale(l: float, p: int) -> float:
    """The scaling factor s for a spectrum in [l, 1]."""
    q = l ** (1 / p)
    return (p + 1) * (1 - q) / (1 - q ** (p + 1)) if l < 1 - 1e-6 else 1.0


def _phi(m: float, p: int) -> float:
    """The eigenvalue of M after a step, for an eigenvalue m before it."""
    return m * ((p + 1 - m) / p) ** p


def _power(T: Tensor, p: int) -> Tensor:
    """T^p by repeated squaring."""
    if p == 1:
        return T
    half = _power(T, p // 2)
    square = _product(half, half)
    return _product(square, T) if p % 2 else square


def _product(X: Tensor, Y: Tensor) -> Tensor:
    """X Y [b, n, n] of symmetric matrices that commute. The product is symmetric, so a CPU multiplies about half of it.

    X may also be [b, 1, 1], for multiples of I.
    """
    n = Y.shape[-1]
    if X.shape[-1] == 1:
        return X * Y
    if Y.is_cuda or n < 2 * BLOCK:
        return X @ Y
    out = torch.empty_like(Y)
    for x, y, product in zip(X, Y, out):
        for start in range(0, n, BLOCK):
            stop = min(start + BLOCK, n)
            torch.mm(x[start:stop], y[:, start:], out=product[start:stop, start:])
            product[stop:, start:stop] = product[start:stop, stop:].T
    return out
