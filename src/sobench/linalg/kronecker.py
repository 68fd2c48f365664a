"""Kronecker products that are never formed: one symmetric matrix per mode of a tensor.

    (U_1 x ... x U_k) vec(G) = vec(G x_1 U_1 ... x_k U_k)      row-major vec; x_i is the product along mode i
    G^(i) = mat_i(G) mat_i(G)^T                                the contraction along all modes but i

Y. Ren, thesis, section 4.2.1 (proposition 1; equation 4.3). For a matrix G: U_1 G U_2^T, G G^T and G^T G.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sobench.linalg.operator import SupportsMatmul

BLOCK = 128
"""Rows per block of a symmetric product on a CPU: large enough for BLAS, small enough to skip most of one half."""


def gram(X: Tensor, out: Tensor | None = None, *, alpha: float = 1.0, beta: float = 0.0) -> Tensor:
    """alpha X^T X + beta out, [n, n], for X [m, n]. Written into `out` if given; without it beta must be 0.

    On a CPU only the blocks on and above the diagonal are multiplied: (1 + BLOCK / n) / 2 of the work.
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
    """mat_i(G), [d_i, the product of the other sizes]: row j has the entries whose index along `mode` is j."""
    return G.movedim(mode, 0).reshape(G.shape[mode], -1)


def contraction(G: Tensor, mode: int, out: Tensor | None = None, *, alpha: float = 1.0, beta: float = 0.0) -> Tensor:
    """alpha G^(i) + beta out, [d_i, d_i], for i = mode. Written into `out` if given; without it beta must be 0."""
    return gram(matricize(G, mode).T, out, alpha=alpha, beta=beta)


def mode_product(G: Tensor, U: SupportsMatmul, mode: int) -> Tensor:
    """G x_i U, shaped as G, for i = mode and a symmetric U [d_i, d_i]. U multiplies a matrix from the left."""
    if mode == G.dim() - 1 and isinstance(U, Tensor):
        return G @ U
    rest = [size for axis, size in enumerate(G.shape) if axis != mode]
    return (U @ matricize(G, mode)).view(-1, *rest).movedim(0, mode)


def mode_products(G: Tensor, factors: Sequence[SupportsMatmul]) -> Tensor:
    """G x_1 U_1 ... x_k U_k, shaped as G, for symmetric U_i [d_i, d_i] in the order of the modes of G."""
    for mode, U in enumerate(factors):
        G = mode_product(G, U, mode)
    return G


def balance(traces: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
    """pi = sqrt(tr(A x I) / tr(I x G)) = sqrt((tr A / d_A) / (tr G / d_G)) for a pair of factors A and G, a scalar.

    traces: tr A and tr G, scalars. sizes: d_A and d_G. The result is 1 if a trace is 0 (a dead layer). Martens and
    Grosse (2015), section 6.3; thesis, algorithm 12, line 19.
    """
    (a, g), (d_a, d_g) = traces, sizes
    pi = ((a / d_a) / (g / d_g)).sqrt()
    return torch.where(torch.isfinite(pi) & (pi > 0), pi, torch.ones_like(pi))
