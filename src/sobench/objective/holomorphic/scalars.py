"""Real functions with a branch, extended to complex numbers: the branch is chosen by the real part.

Where the real function is analytic so is its extension: no modulus, no conjugate. Each equals its real original on real
numbers, and none overflows where the original does not.
"""

from __future__ import annotations

import torch
from torch import Tensor


def relu(z: Tensor) -> Tensor:
    return torch.where(z.real > 0, z, 0)


def leaky_relu(z: Tensor, negative_slope: float = 0.01) -> Tensor:
    return torch.where(z.real > 0, z, negative_slope * z)


def elu(z: Tensor, alpha: float = 1.0) -> Tensor:
    """z, or alpha (e^z - 1) left of zero."""
    positive = z.real > 0
    return torch.where(positive, z, alpha * torch.where(positive, 0, z).expm1())


def sigmoid(z: Tensor) -> Tensor:
    """1 / (1 + e^-z); torch's own is NaN where e^-z overflows."""
    positive = z.real > 0
    e = torch.where(positive, -z, z).exp()
    return torch.where(positive, 1, e) / (1 + e)


def silu(z: Tensor) -> Tensor:
    return z * sigmoid(z)


def gelu(z: Tensor, approximate: str = "none") -> Tensor:
    """By tanh alone: torch has no complex error function."""
    if approximate != "tanh":
        raise NotImplementedError("gelu has a complex form with approximate='tanh' alone")
    return z * sigmoid((8 / torch.pi) ** 0.5 * (z + 0.044715 * z * z * z))  # (1 + tanh u) / 2 = sigmoid(2u)


def softplus(z: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + e^(beta z)) / beta, and z itself where beta z is above the threshold."""
    u = beta * z
    positive = u.real > 0
    value = (
        torch.where(positive, u, 0) + (1 + torch.where(positive, -u, u).exp()).log()
    )  # complex log1p underflows to NaN
    return torch.where(u.real > threshold, z, value / beta)


def power(z: Tensor, exponent: float) -> Tensor:
    """z^a. Whole numbers by products: by way of the angle, as torch has it, a negative z would lose its imaginary part."""
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
    """log sum_c e^z_c along `dim`, which is kept; shifted by the largest real part."""
    largest = z.real.amax(dim, keepdim=True).detach()
    return (z - largest).exp().sum(dim, keepdim=True).log() + largest
