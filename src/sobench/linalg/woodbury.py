"""The Sherman-Morrison-Woodbury formula for a damped low-rank matrix, through its small side.

    G = lambda I + U^T U / N                 U [n, P], n much smaller than P
    G^-1 g = (g - U^T d / N) / lambda,       D d = U g,   D = lambda I + U U^T / N   [n, n]

Y. Ren, thesis, equation 5.6 with H = I. Its J^T H J is U^T U with U = R^T J and H = R R^T. If H is singular, as it is
for softmax, this D is still symmetric positive definite, and the matrix of equation 5.7, lambda I + J J^T H / N, is not
symmetric. Both give the same G^-1, and so does equation 5.6 for an invertible H.
"""

from __future__ import annotations

import torch
from torch import Tensor


def inner_solve(K: Tensor, Ug: Tensor, damping: Tensor | float) -> Tensor:
    """d [..., n] with (damping I + K) d = Ug, for Gram matrices K = U U^T / N [..., n, n] and Ug [..., n], by Cholesky.

    Overwrites K. Every entry of d is NaN for a matrix that is not positive definite or not finite. Does not synchronise
    with the device.
    """
    K.diagonal(dim1=-2, dim2=-1).add_(damping)
    L, info = torch.linalg.cholesky_ex(K)
    d = torch.cholesky_solve(Ug.unsqueeze(-1), L).squeeze(-1)
    return d.masked_fill_((info != 0).unsqueeze(-1), torch.nan)
