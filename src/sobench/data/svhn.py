"""SVHN, the Street View House Numbers (Netzer, Wang, Coates, Bissacco, Wu and Ng, 2011): digits of 32x32 pixels.

The files train_32x32.mat and test_32x32.mat of "Format 2" (cropped digits) come from
http://ufldl.stanford.edu/housenumbers/. They are MATLAB files of version 5 with the pixels `X`, uint8 [32, 32, 3, N],
and the labels `y` [N, 1], where 10 is the digit 0. The additional training images (`extra`) are left out.
"""

from __future__ import annotations

from pathlib import Path

from sobench.data.dataset import Dataset
from sobench.data.images import Part, checked, stand_in
from sobench.data.matlab import read, shapes
from sobench.data.pixels import CHANNEL, scale, shared
from sobench.data.store import Store
from sobench.errors import Failure, UsageError

IMAGES = 73_257
"""The images of the training set: no more are read from a file."""


def svhn(store: Store, *, standardize: bool = False, per_feature: bool = False) -> Dataset:
    """73,257 training and 26,032 test images, float32 [N, 3, 32, 32] in [0, 1], and labels int64 [N], the digits 0 to
    9.

    standardize: subtract the training mean of each channel and divide by its training standard deviation. per_feature:
    standardize by the mean and deviation of each pixel position and channel instead. If `svhn.npz` is there in place of
    the files, it is read, and may have any number of images. Raises Failure if a file cannot be obtained or does not
    hold the data set, and UsageError for options that do not go together.
    """
    alike = shared(standardize, per_feature, CHANNEL)
    files = store.paths("svhn")
    try:
        parts = stand_in(files[0]) if files[0].suffix == ".npz" else [_part(file) for file in files]
        (train, labels), (test, test_labels) = (checked(*part, 10) for part in parts)
    except UsageError as error:
        raise Failure(f"svhn: {files[0].parent}: {error}") from error
    inputs = scale(train, test, 255, standardize=standardize, alike=alike)
    return Dataset("svhn", (inputs[0], labels), (inputs[1], test_labels), classes=10)


def _part(file: Path) -> Part:
    """Pixels uint8 [N, 3, 32, 32] and labels [N] of a file. Raises Failure if it does not hold them."""
    if missing := {"X", "y"} - shapes(file).keys():
        raise Failure(f"{file} has no {' and no '.join(sorted(missing))}; allowed: the variables X and y")
    X, y = read(file, "X", most=IMAGES * 32 * 32 * 3), read(file, "y", most=IMAGES).reshape(-1)
    if X.dtype != "uint8" or X.shape[:3] != (32, 32, 3) or X.ndim != 4:
        raise Failure(f"{file}: X is {X.dtype} {list(X.shape)}; allowed: uint8 [32, 32, 3, N]")
    y[y == 10] = 0
    return X.transpose(3, 2, 0, 1), y
