"""MNIST (LeCun, Bottou, Bengio and Haffner, 1998), from the four official files.

The files are those of http://yann.lecun.com/exdb/mnist/; `sources.yaml` lists them with their mirrors and checksums.
"""

from __future__ import annotations

import math
import struct
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from sobench.data.dataset import Dataset
from sobench.data.pixels import WHOLE, resize, scale, shared
from sobench.data.reading import opened, parsing
from sobench.data.store import Store
from sobench.errors import Failure

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

SAMPLES = 60_000
"""The images of the training set: no more are read from a file."""


def mnist(store: Store, *, standardize: bool = False, per_feature: bool = False, size: int = 28) -> Dataset:
    """60,000 training and 10,000 test images, float32 [N, 1, size, size] in [0, 1], and labels int64 [N] of 10 classes.

    standardize: subtract the training mean and divide by the training standard deviation, one number each. per_feature:
    standardize by the mean and deviation of each pixel position instead. size: below 28 by area interpolation, above 28
    with a border of zeros, before the images are scaled. The data set that was loaded last is kept for the next call in
    the process. Raises Failure if a file cannot be obtained, and UsageError for options that do not go together or a
    size that `resize` does not allow.
    """
    train, test = (
        tuple(store.path("mnist", f"{part}-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
        for part in ("train", "t10k")
    )
    return _read(train, test, size=size, standardize=standardize, alike=shared(standardize, per_feature, WHOLE))


@lru_cache(maxsize=1)
def _read(
    train: tuple[Path, Path], test: tuple[Path, Path], *, size: int, standardize: bool, alike: tuple[int, ...]
) -> Dataset:
    (train_pixels, train_labels), (test_pixels, test_labels) = _decode(*train), _decode(*test)
    factor = 1
    if size != 28:
        (train_pixels, factor), (test_pixels, _) = resize(train_pixels, size), resize(test_pixels, size)
    inputs = scale(train_pixels, test_pixels, 255 * factor, standardize=standardize, alike=alike)
    return Dataset("mnist", (inputs[0], train_labels), (inputs[1], test_labels), classes=10)


def _decode(images: Path, labels: Path) -> tuple[Tensor, Tensor]:
    """Pixels uint8 [N, 1, 28, 28] and labels int64 [N]. Raises Failure for a damaged file."""
    import torch

    pixels, targets = torch.from_numpy(_idx(images, (28, 28))), torch.from_numpy(_idx(labels, ()))
    if len(pixels) != len(targets) or not len(targets):
        raise Failure(f"mnist: {images} has {len(pixels)} images, and {labels} {len(targets)} labels")
    if int(targets.max()) > 9:
        raise Failure(f"mnist: {labels} has the label {int(targets.max())}; allowed: 0 to 9")
    return pixels.unsqueeze(1), targets.long()


def _idx(file: Path, sample: tuple[int, ...]) -> np.ndarray:
    """The array uint8 [N, *sample] of a compressed IDX file: the magic number, the sizes, and then the bytes."""
    import numpy as np

    with parsing(f"mnist: {file} is not in MNIST's form"), opened(file) as stream:
        magic, samples, *sizes = struct.unpack(f">{2 + len(sample)}I", stream.read(8 + 4 * len(sample)))
        if magic != 0x801 + len(sample) or tuple(sizes) != sample or samples > SAMPLES:
            raise ValueError(f"it announces the type {magic} and the shape {[samples, *sizes]}")
        content = bytearray(stream.read(samples * math.prod(sample) + 1))
        return np.frombuffer(content, np.uint8).reshape(samples, *sample)
