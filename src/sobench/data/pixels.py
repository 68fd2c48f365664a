"""Images of whole-number pixels [N, C, H, W] to floating point: scaled or standardized, and made smaller.

Every sum is one of integers, so that the result has the same bits on any number of threads.
"""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING

from sobench.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

WHOLE, CHANNEL, FEATURE = (0, 1, 2, 3), (0, 2, 3), (0,)
"""The dimensions that share a mean and a deviation: of all pixels, of a channel, of a pixel's place (per feature)."""


def scale(
    train: Tensor, test: Tensor, largest: int, *, standardize: bool, alike: tuple[int, ...] = WHOLE
) -> tuple[Tensor, Tensor]:
    """Pixels in 0..largest to float32: in [0, 1], or, standardized, less the training mean over the training deviation."""
    shift, unit = affine(train, largest, standardize=standardize, alike=alike)
    return train.float().sub_(shift).div_(unit), test.float().sub_(shift).div_(unit)


def affine(train: Tensor, largest: int, *, standardize: bool, alike: tuple[int, ...] = WHOLE) -> tuple[Tensor, Tensor]:
    """(shift, unit) of x -> (x - shift) / unit, float32, shaped to broadcast against [N, C, H, W].

    Standardized: the mean and the deviation (divided by N) over the dimensions `alike`, rounded once from exact sums; a
    pixel that is the same in every image has the unit 1, and so becomes 0.
    """
    import torch

    if not standardize:
        return torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), float(largest))
    n = train.numel() // train[:1].sum(alike, keepdim=True).numel()
    parts = train.split(4096)
    first = sum(part.sum(alike, keepdim=True, dtype=torch.int64) for part in parts)
    second = sum(part.long().square_().sum(alike, keepdim=True) for part in parts)
    pairs = list(zip(first.flatten().tolist(), second.flatten().tolist(), strict=True))
    shift = [s / n for s, _ in pairs]
    unit = [(n * q - s * s) ** 0.5 / n or 1.0 for s, q in pairs]  # Python's integers do not overflow
    return torch.tensor(shift).view_as(first), torch.tensor(unit).view_as(first)


def shared(standardize: bool, per_feature: bool, otherwise: tuple[int, ...]) -> tuple[int, ...]:
    """The dimensions alike of two options of a loader. Raises UsageError if `per_feature` has nothing to act on."""
    if per_feature and not standardize:
        raise UsageError("dataset.per_feature: got true, allowed: false, or dataset.standardize=true with it")
    return FEATURE if per_feature else otherwise


def resize(pixels: Tensor, size: int) -> tuple[Tensor, int]:
    """Square images [N, C, H, H]: (integers [N, C, size, size], the factor of their largest value). Larger ones have a border of
    zeros; smaller ones are made by area interpolation.

    A pixel of the result is the mean over the square of the image that it covers, its parts of pixels counted as parts,
    times `factor` = (H / gcd(H, size))^2, which makes it whole. Raises UsageError unless 1 <= size <= H, or size
    is larger by an even number, at most H.
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
    of, by = height // gcd(height, size), size // gcd(height, size)  # a new pixel is of/by old ones wide
    new, old = torch.arange(size)[:, None], torch.arange(height)
    overlap = torch.minimum((new + 1) * of, (old + 1) * by) - torch.maximum(new * of, old * by)
    weights = overlap.clamp(min=0).float()  # its rows sum to `of`
    parts = [(weights @ part.float() @ weights.T).int() for part in pixels.split(4096)]  # float32 holds them: < 2^24
    return torch.cat(parts), of * of
