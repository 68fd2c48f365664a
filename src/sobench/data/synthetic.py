"""Synthetic look-alikes of CURVES and FACES, for use without the authors' files.

They share the originals' sizes, shapes and kind of values, and nothing else. Their names, here and in every result, say
synthetic, and their losses are not those of the papers. All numbers depend on `seed` alone, which is not the seed of a
run. The test set does not depend on the number of training samples. The data are kept in memory and never written.
"""

from __future__ import annotations

import numpy as np

from sobench.data.autoencoders import unlabelled
from sobench.data.dataset import Dataset
from sobench.data.matlab import read, shapes
from sobench.data.reading import not_finite
from sobench.data.store import Store
from sobench.errors import Failure, UsageError

GRID = 28
MARGIN = 3.0  # pixels between the three points and the edge
PEN = 0.8  # standard deviation of a stroke's profile, in pixels
POINTS = 65  # drawn points of a curve; an odd number, so that the middle one is drawn
PATCH, FACE = 25, 64  # pixels a side
PEOPLE = {"train": range(25), "test": range(30, 40)}
BLOCK = 512  # images drawn at once


def curves_synthetic(store: Store, *, train: int = 20000, test: int = 10000, seed: int = 0) -> Dataset:
    """Synthetic CURVES: `train` and `test` images, float32 [N, 784] in [0, 1]; the targets are the inputs.

    An image shows one smooth stroke. The curve is the parabola p(t), 0 <= t <= 1, through three points at t = 0, 1/2
    and 1, drawn uniformly from the part of the grid that is MARGIN pixels or more from the edge. These are six numbers
    an image, as many as the code of the CURVES autoencoder has (thesis, table 2.4). The value of a pixel is exp(-d^2 /
    2 PEN^2), where d is its distance to the nearest drawn point of the curve. Raises UsageError for a negative seed.
    """
    streams = _streams(seed)
    return unlabelled("curves_synthetic", _draw_curves(train, streams[0]), _draw_curves(test, streams[1]))


def faces_synthetic(store: Store, *, train: int = 103500, test: int = 41400, seed: int = 0) -> Dataset:
    """Synthetic FACES: `train` and `test` patches of Olivetti faces, float32 [N, 625]; the targets are the inputs.

    A patch is a square of 25x25 points, 1.4 to 1.8 pixels apart, rotated by -90 to 90 degrees, placed anywhere inside a
    64x64 image, and read by bilinear interpolation. The training patches come from the ten images of each of the first
    25 people, the test patches from those of the last 10. On the training set the values have mean 0 in every pixel,
    and variance 1 over all pixels. The file olivettifaces.mat comes from https://cs.nyu.edu/~roweis/data/. Raises
    Failure if it cannot be obtained or does not hold the 400 faces, and UsageError for a negative seed.
    """
    people = _olivetti(store)
    streams = _streams(seed)
    parts = [
        _cut_patches(people[list(PEOPLE[part])].reshape(-1, FACE, FACE), samples, stream)
        for part, samples, stream in zip(("train", "test"), (train, test), streams, strict=True)
    ]
    mean = parts[0].mean(axis=0, dtype=np.float64)
    for part in parts:
        np.subtract(part, mean, out=part, casting="same_kind")
    unit = np.sqrt(np.square(parts[0]).mean(dtype=np.float64))
    return unlabelled("faces_synthetic", *(np.divide(part, unit, out=part, casting="same_kind") for part in parts))


def _streams(seed: int) -> list[np.random.Generator]:
    """The random generators of the training and of the test set. Raises UsageError for a negative seed."""
    if seed < 0:
        raise UsageError(f"dataset.seed: got {seed}, allowed: a whole number of at least 0")
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(2)]


def _draw_curves(samples: int, stream: np.random.Generator) -> np.ndarray:
    """Images [N, 784].

    The profile of a stroke is a product of a function of x and one of y, and the nearest point gives the largest value.
    """
    drawn = stream.uniform(MARGIN, GRID - 1 - MARGIN, (samples, 3, 2)).astype(np.float32)
    first, middle, last = (drawn[:, k] for k in range(3))
    t = np.linspace(0, 1, POINTS, dtype=np.float32)[:, None, None]
    path = (2 * t - 1) * (t - 1) * first + 4 * t * (1 - t) * middle + t * (2 * t - 1) * last  # [points, N, 2]
    grid = np.arange(GRID, dtype=np.float32)
    images = np.zeros((samples, GRID, GRID), np.float32)
    for i in range(0, samples, BLOCK):
        block = images[i : i + BLOCK]
        distance = path[:, i : i + BLOCK, :, None] - grid  # [points, n, 2, grid], along x and along y
        along = np.exp(-np.square(distance) / np.float32(2 * PEN**2))
        product = np.empty_like(block)
        for x, y in along.transpose(0, 2, 1, 3):
            np.maximum(block, np.multiply(y[:, :, None], x[:, None, :], out=product), out=block)
    return images.reshape(samples, GRID * GRID)


def _olivetti(store: Store) -> np.ndarray:
    """The faces, float32 [40 people, 10 images, 64, 64] in 0..255, each stored column by column. Raises Failure."""
    file = store.path("faces_synthetic", "olivettifaces.mat")
    variables = shapes(file)
    if variables.get("faces") != (FACE * FACE, 400):
        arrays = ", ".join(f"{key} {list(shape)}" for key, shape in variables.items()) or "nothing"
        raise Failure(f"{file} has no faces [{FACE * FACE}, 400]; it has {arrays}")
    pixels = read(file, "faces", most=FACE * FACE * 400)
    if bad := not_finite(pixels):
        raise Failure(f"{file}: faces holds {bad}")
    if not (pixels.min() >= 0 and pixels.max() <= 255):
        raise Failure(f"{file}: faces holds values from {pixels.min()} to {pixels.max()}; allowed: 0 to 255")
    faces = pixels.T.reshape(40, 10, FACE, FACE)
    return np.ascontiguousarray(faces.transpose(0, 1, 3, 2), np.float32)


def _cut_patches(images: np.ndarray, samples: int, stream: np.random.Generator) -> np.ndarray:
    """Random patches [N, 625] of images [M, 64, 64] in random order, the same number of each image to within one."""
    which = stream.permutation(samples) % len(images)
    angle = stream.uniform(-np.pi / 2, np.pi / 2, samples)
    spacing = stream.uniform(1.4, 1.8, samples)
    cos, sin = spacing * np.cos(angle), spacing * np.sin(angle)
    middle = (FACE - 1) / 2
    room = middle - (PATCH - 1) / 2 * (np.abs(cos) + np.abs(sin))  # free pixels on each side of a rotated square
    centre = middle + room[:, None] * stream.uniform(-1, 1, (samples, 2))
    across, down = np.meshgrid(*2 * [np.arange(PATCH) - (PATCH - 1) / 2])
    patches = np.empty((samples, PATCH * PATCH), np.float32)
    for i in range(0, samples, BLOCK):
        c, s = cos[i : i + BLOCK, None], sin[i : i + BLOCK, None]
        x = centre[i : i + BLOCK, :1] + c * across.ravel() - s * down.ravel()
        y = centre[i : i + BLOCK, 1:] + s * across.ravel() + c * down.ravel()
        patches[i : i + BLOCK] = _bilinear(images, which[i : i + BLOCK, None], x, y)
    return patches


def _bilinear(images: np.ndarray, which: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The values of images [M, H, W] at the positions (which, y, x), which must lie inside the images."""
    last = images.shape[-1] - 2
    column, row = (np.clip(np.floor(v).astype(np.int64), 0, last) for v in (x, y))
    right, below = (x - column).astype(np.float32), (y - row).astype(np.float32)
    flat = images.reshape(-1)
    corner = (which * images.shape[1] + row) * images.shape[2] + column
    upper = flat[corner] * (1 - right) + flat[corner + 1] * right
    lower = flat[corner + images.shape[2]] * (1 - right) + flat[corner + images.shape[2] + 1] * right
    return upper * (1 - below) + lower * below
