"""Conversion of images [N, C, H, W] with integer pixels: scaled or standardized to floating point, and resized.

All sums are sums of integers, so that the result has the same bits for any number of threads.
"""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING

from sobench.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

WHOLE, CHANNEL, FEATURE = (0, 1, 2, 3), (0, 2, 3), (0,)
"""The dimensions that share a mean and a deviation: all pixels, each channel, or each pixel position (per feature)."""


def scale(
    train: Tensor, test: Tensor, largest: int, *, standardize: bool, alike: tuple[int, ...] = WHOLE
) -> tuple[Tensor, Tensor]:
    """Pixels in 0..largest as float32 of the same shape: in [0, 1], or standardized by the training set.

    standardize: subtract the training mean and divide by the training standard deviation over the dimensions `alike`.
    """
    shift, unit = affine(train, largest, standardize=standardize, alike=alike)
    return train.float().sub_(shift).div_(unit), test.float().sub_(shift).div_(unit)


def affine(train: Tensor, largest: int, *, standardize: bool, alike: tuple[int, ...] = WHOLE) -> tuple[Tensor, Tensor]:
    """(shift, unit) of the map x -> (x - shift) / unit, float32, in a shape that broadcasts against [N, C, H, W].

    standardize: the mean and the deviation (divided by N) over the dimensions `alike`, rounded once from exact sums. A
    pixel that is the same in every image has the unit 1, and becomes 0.
    """
    import torch

    if not standardize:
        return torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), float(largest))
    n = train.numel() // train[:1].sum(alike, keepdim=True).numel()
    parts = train.split(4096)
    first = torch.stack([part.sum(alike, keepdim=True, dtype=torch.int64) for part in parts]).sum(0)
    second = torch.stack([part.long().square_().sum(alike, keepdim=True) for part in parts]).sum(0)
    pairs = list(zip(first.flatten().tolist(), second.flatten().tolist(), strict=True))
    shift = [s / n for s, _ in pairs]
    unit = [(n * q - s * s) ** 0.5 / n or 1.0 for s, q in pairs]  # Python's integers do not overflow
    return torch.tensor(shift).view_as(first), torch.tensor(unit).view_as(first)


def shared(standardize: bool, per_feature: bool, otherwise: tuple[int, ...]) -> tuple[int, ...]:
    """The dimensions `alike` for two options of a loader. Raises UsageError for `per_feature` without `standardize`."""
    if per_feature and not standardize:
        raise UsageError("dataset.per_feature: got true, allowed: false, or dataset.standardize=true with it")
    return FEATURE if per_feature else otherwise


def resize(pixels: Tensor, size: int) -> tuple[Tensor, int]:
    """Square images [N, C, H, H] with another side: (integers [N, C, size, size], the factor of their largest value).

    Larger images get a border of zeros, with factor 1. Smaller images are made by area interpolation: a pixel is the
    mean over the square that it covers, with parts of pixels weighted by their area, times factor = (H / gcd(H,
    size))^2, which makes it an integer. Raises UsageError unless 1 <= size <= H, or size - H is even and at most H.
    """
    import torch

    height = pixels.shape[-1]
    border, uneven = divmod(size - height, 2)
    if size > height and not uneven and size <= 2 * height:
        return torch.nn.functional.pad(pixels, [border] * 4), 1
    if not 1 <= size <= height:
        raise UsageError(
            f"dataset.size: got {size}, allowed: 1 to {height}, or {height + 2}, {height + 4}, ... {2 * height}"
        )
    of, by = height // gcd(height, size), size // gcd(height, size)  # a new pixel is as wide as of/by old pixels
    new, old = torch.arange(size)[:, None], torch.arange(height)
    overlap = torch.minimum((new + 1) * of, (old + 1) * by) - torch.maximum(new * of, old * by)
    weights = overlap.clamp(min=0).float()  # each row sums to `of`
    parts = [(weights @ part.float() @ weights.T).int() for part in pixels.split(4096)]  # exact in float32: below 2^24
    return torch.cat(parts), of * of
