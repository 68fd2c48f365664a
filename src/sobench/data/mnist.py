"""MNIST (LeCun, Bottou, Bengio and Haffner, 1998), from the four official files, read by torchvision."""

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
    """60,000 training and 10,000 test images [N, 1, size, size], float32 in [0, 1]; 10 classes.

    standardize: less the training mean, over the training deviation, one number each; per_feature: those of each pixel's
    place. size < 28: by area interpolation, size > 28: with a border of zeros (`resize`), before it is
    scaled. The last one loaded is kept for the next call in the process. Raises Failure when a file cannot be had.
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
    """Pixels uint8 [N, 1, 28, 28] and labels int64 [N]. torchvision reads only uncompressed files, by path: they are
    unpacked for as long as that takes, so that nothing is ever read but what has just been verified."""
    from torchvision.datasets.mnist import read_image_file, read_label_file

    try:
        with tempfile.TemporaryDirectory(prefix="sobench-") as folder:
            pixels = read_image_file(_unpack(images, Path(folder, "images")))
            targets = read_label_file(_unpack(labels, Path(folder, "labels")))
    except OSError as error:
        raise Failure(f"mnist: cannot unpack {images} in {tempfile.gettempdir()}: {error}") from error
    return pixels.unsqueeze(1), targets


def _unpack(archive: Path, target: Path) -> Path:
    with gzip.open(archive) as packed, target.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked, 1 << 20)
    return target
