"""Scaling and resizing of images against their definitions in exact or double arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from sobench.data.pixels import CHANNEL, FEATURE, WHOLE, affine, resize, scale, shared
from sobench.errors import UsageError


def pixels(samples=9, channels=3, side=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (samples, channels, side, side), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("alike", [WHOLE, CHANNEL, FEATURE], ids=str)
def test_standardized_by_what_is_alike(alike):
    train, test = pixels(), pixels(5, seed=1)
    mean, deviation = train.double().mean(alike, keepdim=True), train.double().std(alike, correction=0, keepdim=True)
    for part, found in zip((train, test), scale(train, test, 255, standardize=True, alike=alike)):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), (part.double() - mean) / deviation, rtol=1e-5, atol=1e-6)


def test_sums_are_exact_where_doubles_and_64_bit_products_are_not():
    """n = 2^21 pixels of 2^19 or 2^19 + 1: the variance is 1/4, the mean square 2^38, and n sum x^2 exceeds 2^63."""
    train = (2**19 + torch.arange(2**21) % 2).int().view(-1, 1, 32, 32)
    shift, unit = affine(train, 1, standardize=True)
    assert shift.item() == 2**19 + 0.5 and unit.item() == 0.5


def test_a_pixel_that_never_changes_becomes_zero():
    train = pixels()
    train[:, 1, 2, 3] = 77
    test = pixels(5, seed=1)
    found = scale(train, test, 255, standardize=True, alike=FEATURE)
    assert not found[0][:, 1, 2, 3].any() and torch.equal(found[1][:, 1, 2, 3], test[:, 1, 2, 3].float() - 77)
    assert all(part.isfinite().all() for part in found)


def test_unscaled_pixels_are_in_the_unit_interval():
    train = pixels()
    found, _ = scale(train, train, 255, standardize=False)
    assert np.array_equal(found.numpy(), train.numpy().astype(np.float32) / np.float32(255))


def area_mean(image: list[list[int]], size: int, i: int, j: int) -> Fraction:
    """The mean of an image over the square [i, i + 1) x [j, j + 1) in units of H / size, by definition."""
    height = len(image)
    width = Fraction(height, size)

    def part(of: int, k: int) -> Fraction:
        return max(Fraction(0), min((of + 1) * width, Fraction(k + 1)) - max(of * width, Fraction(k)))

    return sum(part(i, y) * part(j, x) * image[y][x] for y in range(height) for x in range(height)) / width**2


@pytest.mark.parametrize("height, size", [(7, 4), (6, 4), (6, 3), (5, 1), (4, 4)])
def test_resize_is_the_mean_over_the_area(height, size):
    images = pixels(2, 1, height)
    small, factor = resize(images, size)
    assert small.shape == (2, 1, size, size) and not small.is_floating_point()
    for n, image in enumerate(images[:, 0].tolist()):
        for i in range(size):
            for j in range(size):
                assert Fraction(int(small[n, 0, i, j]), factor) == area_mean(image, size, i, j)


def test_resize_keeps_white_white():
    small, factor = resize(torch.full((1, 1, 28, 28), 255, dtype=torch.uint8), 27)
    assert (small == 255 * factor).all()


@pytest.mark.parametrize("size", [0, -1, 29])
def test_resize_refuses_other_sizes(size):
    with pytest.raises(UsageError, match=f"dataset.size: got {size}, allowed: 1 to 28"):
        resize(torch.zeros(1, 1, 28, 28, dtype=torch.uint8), size)


def test_per_feature_needs_standardize():
    assert (shared(True, True, WHOLE), shared(True, False, CHANNEL), shared(False, False, WHOLE)) == (
        FEATURE,
        CHANNEL,
        WHOLE,
    )
    with pytest.raises(UsageError, match="dataset.per_feature: got true, allowed: false"):
        shared(False, True, WHOLE)
