"""Look-alikes of CURVES and FACES from a generator, for where the authors' files are not at hand.

They share the originals' sizes, shapes and kind of values, and nothing else: their names, here and in every result, say
synthetic, and their losses are not the papers'. All numbers come from `seed` alone, which is not the seed of a run; the
test set does not depend on how many training samples are asked for. Kept in memory, never written.
"""

from __future__ import annotations

import numpy as np

from sobench.data.autoencoders import read, shapes, unlabelled
from sobench.data.dataset import Dataset
from sobench.data.store import Store
from sobench.errors import Failure, UsageError

GRID = 28
MARGIN = 3.0  # pixels between the three points and the edge
PEN = 0.8  # standard deviation of a stroke's profile, in pixels
POINTS = 65  # of a curve that are drawn: the middle one too
PATCH, FACE = 25, 64  # pixels a side
PEOPLE = {"train": range(25), "test": range(30, 40)}
BLOCK = 512  # images drawn at once


def curves_synthetic(store: Store, *, train: int = 20000, test: int = 10000, seed: int = 0) -> Dataset:
    """Synthetic CURVES: float32 [N, 784] in [0, 1], one smooth stroke an image; the targets are the inputs.

    The curve is the parabola p(t), 0 <= t <= 1, through three points drawn uniformly from the grid less a margin, at t = 0,
    1/2 and 1: six numbers an image, as many as the code of the CURVES autoencoder (thesis, table 2.4). A pixel's value is
    exp(-d^2 / 2 PEN^2), d its distance to the nearest drawn point of the curve.
    """
    streams = _streams(seed)
    return unlabelled("curves_synthetic", _draw_curves(train, streams[0]), _draw_curves(test, streams[1]))


def faces_synthetic(store: Store, *, train: int = 103500, test: int = 41400, seed: int = 0) -> Dataset:
    """Synthetic FACES: float32 [N, 625], 25x25 patches of turned, scaled and cropped Olivetti faces; targets are inputs.

    A patch is a square of 25 points, 1.4 to 1.8 pixels apart, turned by -90 to 90 degrees, placed anywhere inside a 64x64
    image, read by bilinear interpolation. Training: the ten images of each of the first 25 people; test: of the last 10.
    The values have mean 0 in every pixel, and variance 1 over all, on the training set. Raises Failure when
    `olivettifaces.mat` cannot be had or does not hold the 400 faces.
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
    """Of the training and of the test set."""
    if seed < 0:
        raise UsageError(f"dataset.seed: got {seed}, allowed: a whole number of at least 0")
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(2)]


def _draw_curves(samples: int, stream: np.random.Generator) -> np.ndarray:
    """Images [N, 784]. The profile of a stroke is a product of one of x and one of y, and nearest is largest."""
    drawn = stream.uniform(MARGIN, GRID - 1 - MARGIN, (samples, 3, 2)).astype(np.float32)
    first, middle, last = (drawn[:, k] for k in range(3))
    t = np.linspace(0, 1, POINTS, dtype=np.float32)[:, None, None]
    path = (2 * t - 1) * (t - 1) * first + 4 * t * (1 - t) * middle + t * (2 * t - 1) * last  # [points, N, 2]
    grid = np.arange(GRID, dtype=np.float32)
    images = np.zeros((samples, GRID, GRID), np.float32)
    for i in range(0, samples, BLOCK):
        block = images[i : i + BLOCK]
        along = np.exp(
            -np.square(path[:, i : i + BLOCK, :, None] - grid) / np.float32(2 * PEN**2)
        )  # [points, n, 2, grid]
        product = np.empty_like(block)
        for x, y in along.transpose(0, 2, 1, 3):
            np.maximum(block, np.multiply(y[:, :, None], x[:, None, :], out=product), out=block)
    return images.reshape(samples, GRID * GRID)


def _olivetti(store: Store) -> np.ndarray:
    """The faces [40 people, 10 images, 64, 64], upright, float32 in 0..255; a column of the file is an image in column order."""
    file = store.path("faces_synthetic", "olivettifaces.mat")
    if dict(shapes(file)).get("faces") != (FACE * FACE, 400):
        raise Failure(
            f"{file} has no faces [{FACE * FACE}, 400]; it has {', '.join(f'{k} {list(v)}' for k, v in shapes(file))}"
        )
    faces = read(file, "faces").T.reshape(40, 10, FACE, FACE)
    return np.ascontiguousarray(faces.transpose(0, 1, 3, 2), np.float32)


def _cut_patches(images: np.ndarray, samples: int, stream: np.random.Generator) -> np.ndarray:
    """Random patches [N, 625] of the images [M, 64, 64], the same number of each to within one, in a random order."""
    which = stream.permutation(samples) % len(images)
    angle = stream.uniform(-np.pi / 2, np.pi / 2, samples)
    spacing = stream.uniform(1.4, 1.8, samples)
    cos, sin = spacing * np.cos(angle), spacing * np.sin(angle)
    middle = (FACE - 1) / 2
    room = middle - (PATCH - 1) / 2 * (np.abs(cos) + np.abs(sin))  # what a turned square leaves on each side
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
    """The values of images [M, H, W] at (which, y, x), which lie inside them."""
    last = images.shape[-1] - 2
    column, row = (np.clip(np.floor(v).astype(np.int64), 0, last) for v in (x, y))
    right, below = (x - column).astype(np.float32), (y - row).astype(np.float32)
    flat = images.reshape(-1)
    corner = (which * images.shape[1] + row) * images.shape[2] + column
    upper = flat[corner] * (1 - right) + flat[corner + 1] * right
    lower = flat[corner + images.shape[2]] * (1 - right) + flat[corner + images.shape[2] + 1] * right
    return upper * (1 - below) + lower * below
