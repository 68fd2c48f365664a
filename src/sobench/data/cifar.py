"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009) from the binary version of the official archives; no pickle is read.

The archives cifar-10-binary.tar.gz and cifar-100-binary.tar.gz come from https://www.cs.toronto.edu/~kriz/. A record of
the binary version is its labels, one byte each (CIFAR-10: the class; CIFAR-100: the coarse class, then the fine class,
which is used), and 3,072 bytes of pixels: the red, the green and the blue plane, row by row.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sobench.data.dataset import Dataset
from sobench.data.images import Part, checked, stand_in
from sobench.data.pixels import CHANNEL, affine, scale, shared
from sobench.data.reading import members, parsing
from sobench.data.store import Store
from sobench.errors import Failure, UsageError

if TYPE_CHECKING:
    from torch import Generator, Tensor

PIXELS = 3 * 32 * 32
RECORDS = 50_000
"""The images that a file of the archive holds at most."""
MEMBERS = {
    "cifar10": (
        [f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)],
        ["cifar-10-batches-bin/test_batch.bin"],
    ),
    "cifar100": (["cifar-100-binary/train.bin"], ["cifar-100-binary/test.bin"]),
}
"""Data set -> the files in its archive with the training set, and those with the test set."""


def cifar10(store: Store, *, standardize: bool = False, per_feature: bool = False, augment: bool = False) -> Dataset:
    """50,000 training and 10,000 test images, float32 [N, 3, 32, 32] in [0, 1], and labels int64 [N] of 10 classes.

    standardize: subtract the training mean of each channel and divide by its training standard deviation. per_feature:
    standardize by the mean and deviation of each pixel position and channel instead. augment: training batches are
    randomly flipped and cropped; the padding is black, in the scale of the inputs. If `cifar10.npz` is there in place
    of the archive, it is read, and may have any number of images. Raises Failure if a file cannot be obtained or does
    not hold the data set, and UsageError for options that do not go together.
    """
    return _load("cifar10", 10, store, standardize, per_feature, augment)


def cifar100(store: Store, *, standardize: bool = False, per_feature: bool = False, augment: bool = False) -> Dataset:
    """50,000 training and 10,000 test images, float32 [N, 3, 32, 32] in [0, 1], and fine labels int64 [N] of 100
    classes.

    The options, the stand-in `cifar100.npz` and the errors are as for `cifar10`.
    """
    return _load("cifar100", 100, store, standardize, per_feature, augment)


def _load(name: str, classes: int, store: Store, standardize: bool, per_feature: bool, augment: bool) -> Dataset:
    alike = shared(standardize, per_feature, CHANNEL)
    if augment and per_feature:
        raise UsageError(
            "dataset.augment: got true, allowed: false with dataset.per_feature=true, for a pixel that is moved "
            "is no longer standardized"
        )
    (file,) = store.paths(name)
    try:
        parts = stand_in(file) if file.suffix == ".npz" else _archive(name, file)
        (train, labels), (test, test_labels) = (checked(*part, classes) for part in parts)
    except UsageError as error:
        raise Failure(f"{name}: {file}: {error}") from error
    inputs = scale(train, test, 255, standardize=standardize, alike=alike)
    variant = _augmentation(train, standardize) if augment else None
    return Dataset(name, (inputs[0], labels), (inputs[1], test_labels), classes, variant)


def _augmentation(train: Tensor, standardize: bool) -> Callable[[Tensor, Generator | None], Tensor]:
    """flip_and_crop with black padding: pixels of 0, in the scale of the inputs."""
    from sobench.data.augment import flip_and_crop

    shift, unit = affine(train, 255, standardize=standardize, alike=CHANNEL)
    black = ((0 - shift) / unit).flatten().expand(3)
    return partial(flip_and_crop, padding=4, fill=tuple(black.tolist()))


def _archive(name: str, file: Path) -> list[Part]:
    """Pixels uint8 [N, 3, 32, 32] and labels uint8 [N] of the training and of the test set.

    Raises UsageError if the archive is damaged or is not the binary version.
    """
    import numpy as np

    labels = {"cifar10": 1, "cifar100": 2}[name]
    names = {member for part in MEMBERS[name] for member in part}
    with parsing("it is not the binary version of the archive", UsageError):
        contents = dict(members(file, names.__contains__, RECORDS * (labels + PIXELS)))
        if missing := names - contents.keys():
            raise ValueError(f"it has no {min(missing)}")
    parts = []
    for part in MEMBERS[name]:
        content = b"".join(contents[member] for member in part)
        if not content or len(content) % (labels + PIXELS):
            raise UsageError(f"it holds {len(content)} bytes of images, not a multiple of {labels + PIXELS}")
        records = np.frombuffer(content, np.uint8).reshape(-1, labels + PIXELS)
        parts.append((records[:, labels:].reshape(-1, 3, 32, 32), records[:, labels - 1]))
    return parts
