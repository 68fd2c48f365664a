"""Kernel matrices of a few samples, and the inverse of one that may be singular.

    rbf         k(x, y) = exp(-gamma ||x - y||^2)             Chen et al., Kernel SGD (CIKM 2022), section 4.1
    linear      k(x, y) = x'y
    polynomial  k(x, y) = (gamma x'y + 1)^degree              the paper gives a degree and no more

X is [m, d], rows are samples; K [m, m] is symmetric, positive semi-definite.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rbf(X: Tensor, gamma: float, degree: int) -> Tensor:
    """1 on the diagonal, exactly."""
    products = X @ X.T
    squares = products.diagonal()
    distances = (squares[:, None] + squares - 2 * products).clamp_(min=0).fill_diagonal_(0)
    return torch.exp(-gamma * distances)


def linear(X: Tensor, gamma: float, degree: int) -> Tensor:
    """Neither gamma nor degree matters."""
    return X @ X.T


def polynomial(X: Tensor, gamma: float, degree: int) -> Tensor:
    """degree is a whole number of at least 1."""
    return (gamma * (X @ X.T) + 1) ** degree


KERNELS = {"rbf": rbf, "linear": linear, "polynomial": polynomial}


def features(inputs: Tensor) -> Tensor:
    """What a kernel sees of a batch, [m, d], in double precision: numbers flattened; of token ids [m, L] how often each occurs,
    0 being padding, which counts for nothing. Token ids have no metric; a bag of words has, and no weight of the network moves it."""
    if inputs.is_floating_point():
        return inputs.flatten(1).double()
    ids = inputs.flatten(1)
    counts = torch.zeros(len(ids), int(ids.max()) + 1, dtype=torch.float64, device=ids.device)
    return counts.scatter_add_(1, ids, torch.ones_like(ids, dtype=torch.float64))[:, 1:]


def pseudo_inverse(K: Tensor) -> tuple[Tensor, Tensor]:
    """(K^+ [m, m], the rank) of a symmetric matrix: its inverse where it has full rank.

    An eigenvalue counts as zero below m eps of the largest one in size, eps being the precision of K's dtype: a matrix of a
    higher condition number has no inverse in these digits. No device is waited for.
    """
    values, Q = torch.linalg.eigh(K)
    sizes = values.abs()
    kept = sizes > len(K) * torch.finfo(K.dtype).eps * sizes.max()
    return (Q * torch.where(kept, 1 / values, 0.0)) @ Q.T, kept.sum()
