"""Kronecker products that are never formed: a symmetric matrix a mode of a tensor.

    (U_1 x ... x U_k) vec(G) = vec(G x_1 U_1 ... x_k U_k)      row-major vec; x_i the product along mode i
    G^(i) = mat_i(G) mat_i(G)^T                                the contraction along all modes but i

Y. Ren, thesis, section 4.2.1 (proposition 1; equation 4.3). For a matrix: U_1 G U_2^T, G G^T and G^T G.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

BLOCK = 128
"""Rows of a symmetric product made at once on a CPU: large enough for BLAS, small enough to skip most of the other half."""


def gram(X: Tensor, out: Tensor | None = None, *, alpha: float = 1.0, beta: float = 0.0) -> Tensor:
    """alpha X^T X + beta out, [n, n] for X [m, n], written into `out` where it is given.

    Symmetric, so only what is on and above the diagonal is multiplied, block by block: (1 + BLOCK / n) / 2 of the work.
    """
    n = X.shape[1]
    step = n if X.is_cuda or n < 2 * BLOCK else BLOCK
    if step == n and out is None and alpha == 1:
        return X.T @ X
    G = X.new_empty(n, n) if out is None else out
    for start in range(0, n, step):
        stop = min(start + step, n)
        upper = G[start:stop, start:]
        torch.addmm(upper, X[:, start:stop].T, X[:, start:], beta=beta, alpha=alpha, out=upper)
        if stop < n:
            G[stop:, start:stop] = G[start:stop, stop:].T
    return G


def matricize(G: Tensor, mode: int) -> Tensor:
    """mat_i(G), [d_i, the product of the others]: row j holds the entries whose index along `mode` is j."""
    return G.movedim(mode, 0).reshape(G.shape[mode], -1)


def contraction(G: Tensor, mode: int, out: Tensor | None = None, *, alpha: float = 1.0, beta: float = 0.0) -> Tensor:
    """alpha G^(i) + beta out, [d_i, d_i]."""
    return gram(matricize(G, mode).T, out, alpha=alpha, beta=beta)


def mode_product(G: Tensor, U, mode: int) -> Tensor:
    """G x_i U. U [d_i, d_i] is symmetric: a matrix, or whatever multiplies one from the left by `U @`."""
    if mode == G.dim() - 1 and isinstance(U, Tensor):
        return G @ U
    rest = [size for axis, size in enumerate(G.shape) if axis != mode]
    return (U @ matricize(G, mode)).view(-1, *rest).movedim(0, mode)


def mode_products(G: Tensor, factors: Sequence) -> Tensor:
    """G x_1 U_1 ... x_k U_k, the symmetric matrices U_i [d_i, d_i] in the order of the modes of G."""
    for mode, U in enumerate(factors):
        G = mode_product(G, U, mode)
    return G


def balance(traces: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
    """pi = sqrt(tr(A x I) / tr(I x G)) = sqrt((tr A / d_A) / (tr G / d_G)) of a pair of factors, a scalar.

    Martens and Grosse (2015), section 6.3; thesis, algorithm 12, line 19. 1 where a trace is 0 (a dead layer).
    """
    (a, g), (d_a, d_g) = traces, sizes
    pi = ((a / d_a) / (g / d_g)).sqrt()
    return torch.where(torch.isfinite(pi) & (pi > 0), pi, torch.ones_like(pi))
