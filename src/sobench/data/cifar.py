"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009) from the binary version of the official archives; no pickle is ever read.

A record of the binary version is its labels, one byte each (CIFAR-10: the class; CIFAR-100: the coarse, then the fine
class, which is the one used), and 3,072 bytes of pixels: the red, the green, then the blue plane, row by row.
"""

from __future__ import annotations

import tarfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sobench.data.dataset import Dataset
from sobench.data.images import Part, checked, stand_in
from sobench.data.pixels import CHANNEL, affine, scale, shared
from sobench.data.store import Store
from sobench.errors import Failure, UsageError

if TYPE_CHECKING:
    from torch import Tensor

PIXELS = 3 * 32 * 32
MEMBERS = {
    "cifar10": (
        [f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)],
        ["cifar-10-batches-bin/test_batch.bin"],
    ),
    "cifar100": (["cifar-100-binary/train.bin"], ["cifar-100-binary/test.bin"]),
}
"""The files of an archive: of the training set, of the test set."""


def cifar10(store: Store, *, standardize: bool = False, per_feature: bool = False, augment: bool = False) -> Dataset:
    """50,000 training and 10,000 test images [N, 3, 32, 32], float32 in [0, 1]; 10 classes.

    standardize: less the training mean, over the training deviation, of each channel; per_feature: those of each pixel's
    place and channel. augment: training batches are flipped and cropped, the frame being black as it is in the scale of
    the inputs. Where `cifar10.npz` stands in for the archive, as many images as it has. Raises Failure when a file cannot
    be had or does not hold this, UsageError for options that do not go together.
    """
    return _load("cifar10", 10, store, standardize, per_feature, augment)


def cifar100(store: Store, *, standardize: bool = False, per_feature: bool = False, augment: bool = False) -> Dataset:
    """50,000 training and 10,000 test images [N, 3, 32, 32] with their fine labels; 100 classes. Options as of `cifar10`."""
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


def _augmentation(train: Tensor, standardize: bool):
    """flip_and_crop with a black frame: pixels of 0, as scaled."""
    from sobench.data.augment import flip_and_crop

    shift, unit = affine(train, 255, standardize=standardize, alike=CHANNEL)
    black = ((0 - shift) / unit).flatten().expand(3)
    return partial(flip_and_crop, padding=4, fill=tuple(black.tolist()))


def _archive(name: str, file: Path) -> list[Part]:
    """Of the training and of the test set: pixels uint8 [N, 3, 32, 32] and labels. Raises UsageError."""
    import numpy as np

    try:
        with tarfile.open(file, "r:gz") as archive:
            contents = [b"".join(archive.extractfile(member).read() for member in members) for members in MEMBERS[name]]
    except (tarfile.TarError, OSError, EOFError, KeyError, AttributeError) as error:  # AttributeError: not a plain file
        reason = " ".join(str(error).split())
        raise UsageError(f"it is not the binary version of the archive, or it is damaged ({reason})") from error
    parts = []
    labels = {"cifar10": 1, "cifar100": 2}[name]
    for content in contents:
        if not content or len(content) % (labels + PIXELS):
            raise UsageError(f"it holds {len(content)} bytes of images, not a multiple of {labels + PIXELS}")
        records = np.frombuffer(content, np.uint8).reshape(-1, labels + PIXELS)
        parts.append((records[:, labels:].reshape(-1, 3, 32, 32), records[:, labels - 1]))
    return parts
