"""The 1,797 handwritten 8x8 digits that are included in scikit-learn (Alpaydin and Kaynak, 1998); no download.

The images are read from scikit-learn's file and not by its `load_digits`, because importing scikit-learn takes a second
of each command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sobench.data.dataset import Dataset
from sobench.data.pixels import scale
from sobench.data.reading import of_scikit_learn
from sobench.data.store import Store

if TYPE_CHECKING:
    import numpy as np

SAMPLES = 1797
FILE = "sklearn/datasets/data/digits.csv.gz"
"""The file has a line for each image: 64 pixels of 0 to 16, and the label."""


def digits(store: Store, *, standardize: bool = False) -> Dataset:
    """1,437 training and 360 test images, float32 [N, 1, 8, 8] in [0, 1], and labels int64 [N] of 10 classes.

    standardize: subtract the training mean and divide by the training standard deviation, one number each. The split is
    the same for every seed: in order of class, every fifth image is a test image, so that both parts have the same
    share of each class to within one image. Raises Failure if scikit-learn's file cannot be read.
    """
    import numpy as np
    import torch

    images, labels = _read()
    held_out = np.zeros(len(labels), dtype=bool)
    held_out[np.argsort(labels, kind="stable")[::5]] = True

    pixels = torch.from_numpy(images).reshape(-1, 1, 8, 8)
    targets = torch.from_numpy(labels.astype(np.int64))
    test = torch.from_numpy(held_out)
    train_inputs, test_inputs = scale(pixels[~test], pixels[test], 16, standardize=standardize)
    return Dataset("digits", (train_inputs, targets[~test]), (test_inputs, targets[test]), classes=10)


def _read() -> tuple[np.ndarray, np.ndarray]:
    """Images [1797, 64] and labels [1797], both uint8. Raises Failure if the file cannot be read."""
    import numpy as np

    with of_scikit_learn("digits", FILE) as file:
        rows = np.loadtxt(file, delimiter=",").reshape(SAMPLES, 65)
        if not np.isin(rows[:, :-1], range(17)).all() or not np.isin(rows[:, -1], range(10)).all():
            raise ValueError("it has other pixels than 0 to 16, or other labels than 0 to 9")
    return rows[:, :-1].astype(np.uint8), rows[:, -1].astype(np.uint8)
