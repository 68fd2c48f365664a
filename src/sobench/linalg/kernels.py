"""Kernel matrices of a few samples, and the pseudo-inverse of a symmetric matrix.

    rbf         k(x, y) = exp(-gamma ||x - y||^2)             Chen et al., Kernel SGD (CIKM 2022), section 4.1
    linear      k(x, y) = x'y
    polynomial  k(x, y) = (gamma x'y + 1)^degree              the paper gives only a degree

The rows of X [m, d] are samples. K [m, m] is symmetric and positive semi-definite.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rbf(X: Tensor, gamma: float, degree: int) -> Tensor:
    """The RBF kernel matrix [m, m] of X [m, d]; its diagonal is exactly 1. degree is not used."""
    products = X @ X.T
    squares = products.diagonal()
    distances = (squares[:, None] + squares - 2 * products).clamp_(min=0).fill_diagonal_(0)
    return torch.exp(-gamma * distances)


def linear(X: Tensor, gamma: float, degree: int) -> Tensor:
    """The linear kernel matrix [m, m] of X [m, d]. gamma and degree are not used."""
    return X @ X.T


def polynomial(X: Tensor, gamma: float, degree: int) -> Tensor:
    """The polynomial kernel matrix [m, m] of X [m, d], for an integer degree >= 1."""
    return (gamma * (X @ X.T) + 1) ** degree


KERNELS = {"rbf": rbf, "linear": linear, "polynomial": polynomial}
"""The kernel matrices by name."""


def features(inputs: Tensor) -> Tensor:
    """The features [m, d] of a batch, in double precision, as the input of a kernel.

    Real inputs [m, ...] are flattened. Token ids [m, L] become a bag of words: the number of occurrences of each id,
    without id 0, the padding. Ids themselves have no metric. A bag of words does not depend on the network's weights.
    """
    if inputs.is_floating_point():
        return inputs.flatten(1).double()
    ids = inputs.flatten(1)
    counts = torch.zeros(len(ids), int(ids.max()) + 1, dtype=torch.float64, device=ids.device)
    return counts.scatter_add_(1, ids, torch.ones_like(ids, dtype=torch.float64))[:, 1:]


def pseudo_inverse(K: Tensor) -> tuple[Tensor, Tensor]:
    """The pseudo-inverse K^+ [m, m] and the rank, a scalar, of a symmetric K [m, m].

    An eigenvalue counts as zero if its magnitude is at most m eps times the largest magnitude, with eps the precision
    of K's dtype: a matrix of a higher condition number has no inverse in this precision. Does not synchronise with the
    device.
    """
    values, Q = torch.linalg.eigh(K)
    magnitudes = values.abs()
    nonzero = magnitudes > len(K) * torch.finfo(K.dtype).eps * magnitudes.max()
    return (Q * torch.where(nonzero, 1 / values, 0.0)) @ Q.T, nonzero.sum()
