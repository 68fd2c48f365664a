"""The 1,797 handwritten 8x8 digits that ship inside scikit-learn (Alpaydin and Kaynak, 1998): no download."""

from __future__ import annotations

from sobench.data.dataset import Dataset
from sobench.data.pixels import scale
from sobench.data.store import Store


def digits(store: Store, *, standardize: bool = False) -> Dataset:
    """1,437 training and 360 test images [N, 1, 8, 8], float32 in [0, 1] (or standardized); 10 classes.

    The split is the same for every seed: the images in order of their class, every fifth one is a test image, so the
    two parts have the same share of each class to within one image.
    """
    import numpy as np
    import torch
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    held_out = np.zeros(len(labels), dtype=bool)
    held_out[np.argsort(labels, kind="stable")[::5]] = True

    pixels = torch.from_numpy(images.astype(np.uint8)).reshape(-1, 1, 8, 8)
    targets = torch.from_numpy(labels.astype(np.int64))
    test = torch.from_numpy(held_out)
    train_inputs, test_inputs = scale(pixels[~test], pixels[test], 16, standardize=standardize)
    return Dataset("digits", (train_inputs, targets[~test]), (test_inputs, targets[test]), classes=10)
