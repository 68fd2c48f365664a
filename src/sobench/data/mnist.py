"""MNIST (LeCun, Bottou, Bengio and Haffner, 1998), from the four official files, read by torchvision.

The files are those of http://yann.lecun.com/exdb/mnist/; `sources.yaml` lists them with their mirrors and checksums.
"""

from __future__ import annotations

import gzip
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from sobench.data.dataset import Dataset
from sobench.data.pixels import WHOLE, resize, scale, shared
from sobench.data.store import Store
from sobench.errors import Failure

if TYPE_CHECKING:
    from torch import Tensor


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
    """Pixels uint8 [N, 1, 28, 28] and labels int64 [N].

    torchvision reads only uncompressed files, by path. The verified files are unpacked into a temporary folder for this
    call alone, so that no unverified file is ever read.
    """
    from torchvision.datasets.mnist import read_image_file, read_label_file

    try:
        with tempfile.TemporaryDirectory(prefix="sobench-") as folder:
            pixels = read_image_file(str(_unpack(images, Path(folder, "images"))))
            targets = read_label_file(str(_unpack(labels, Path(folder, "labels"))))
    except OSError as error:
        raise Failure(f"mnist: cannot unpack {images} in {tempfile.gettempdir()}: {error}") from error
    return pixels.unsqueeze(1), targets


def _unpack(archive: Path, target: Path) -> Path:
    """Write the contents of a .gz file to `target`, which is returned."""
    with gzip.open(archive) as packed, target.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked, 1 << 20)
    return target
