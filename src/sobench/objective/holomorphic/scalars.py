"""Real functions with branches, extended to complex numbers: the real part selects the branch.

If the real function is analytic, so is its extension: there is no modulus and no conjugate. Each function equals its
real original on real numbers, and none overflows where the original does not. All take and return complex tensors of
any shape.
"""

from __future__ import annotations

import torch
from torch import Tensor


def relu(z: Tensor) -> Tensor:
    """z, or 0 for a real part up to zero."""
    return torch.where(z.real > 0, z, 0)


def leaky_relu(z: Tensor, negative_slope: float = 0.01) -> Tensor:
    """z, or negative_slope z for a real part up to zero."""
    return torch.where(z.real > 0, z, negative_slope * z)


def elu(z: Tensor, alpha: float = 1.0) -> Tensor:
    """z, or alpha (e^z - 1) for a real part up to zero."""
    positive = z.real > 0
    return torch.where(positive, z, alpha * torch.where(positive, 0, z).expm1())


def sigmoid(z: Tensor) -> Tensor:
    """1 / (1 + e^-z). torch's complex sigmoid is NaN where e^-z overflows."""
    positive = z.real > 0
    e = torch.where(positive, -z, z).exp()
    return torch.where(positive, 1, e) / (1 + e)


def silu(z: Tensor) -> Tensor:
    """z sigmoid(z)."""
    return z * sigmoid(z)


def gelu(z: Tensor, approximate: str = "none") -> Tensor:
    """GELU by its tanh approximation. Raises NotImplementedError for the exact form: torch has no complex erf."""
    if approximate != "tanh":
        raise NotImplementedError("gelu has a complex form with approximate='tanh' alone")
    return z * sigmoid((8 / torch.pi) ** 0.5 * (z + 0.044715 * z * z * z))  # (1 + tanh u) / 2 = sigmoid(2u)


def softplus(z: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + e^(beta z)) / beta, or z for a real part of beta z above the threshold."""
    u = beta * z
    positive = u.real > 0
    e = torch.where(positive, -u, u).exp()
    value = torch.where(positive, u, 0) + (1 + e).log()  # complex log1p underflows to NaN
    return torch.where(u.real > threshold, z, value / beta)


def power(z: Tensor, exponent: float | Tensor) -> Tensor:
    """z^a for a number a. Raises NotImplementedError for a tensor a.

    An integer power is computed by products. torch computes it from the angle, by which a negative z would lose its
    imaginary part.
    """
    if not isinstance(exponent, (int, float)):
        raise NotImplementedError("pow has a complex form with a number as its exponent alone")
    if exponent != int(exponent):
        return (exponent * z.log()).exp()
    result, square, n = torch.ones_like(z), z, abs(int(exponent))
    while n:
        result = result * square if n % 2 else result
        square, n = square * square, n // 2
    return result if exponent >= 0 else 1 / result


def log_sum_exp(z: Tensor, dim: int) -> Tensor:
    """log sum_c e^z_c along `dim`, which keeps size 1. Shifted by the largest real part, against overflow."""
    largest = z.real.amax(dim, keepdim=True).detach()
    return (z - largest).exp().sum(dim, keepdim=True).log() + largest


def softmax(z: Tensor, dim: int, _stacklevel: int = 3, dtype: torch.dtype | None = None) -> Tensor:
    """e^z_c / sum_c e^z_c along `dim`, for the arguments of F.softmax. Shifted as `log_sum_exp`."""
    if dtype is not None:
        raise NotImplementedError("softmax has a complex form without dtype alone")
    e = (z - z.real.amax(dim, keepdim=True).detach()).exp()
    return e / e.sum(dim, keepdim=True)
