"""Noise in the shape of images, with random labels: for what does not depend on the data, as how long a pass takes."""

from __future__ import annotations

from collections.abc import Sequence

from sobench.data.dataset import Dataset
from sobench.data.store import Store
from sobench.errors import UsageError


def noise(
    store: Store, *, shape: Sequence[int] = (3, 32, 32), classes: int = 10, train: int = 128, test: int = 128
) -> Dataset:
    """Inputs N(0, 1) of `shape`, float32, and labels that are drawn with equal chances: the same for every seed of a run.

    Raises UsageError for a shape that is not of whole numbers from 1 on.
    """
    import torch

    if not shape or any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in shape):
        raise UsageError(f"dataset.shape: got {list(shape)}, allowed: whole numbers from 1 on, as [3,32,32]")
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(train + test, *shape, generator=generator)
    labels = torch.randint(classes, (train + test,), generator=generator)
    return Dataset(
        "noise",
        (inputs[:train], labels[:train]),
        (inputs[train:], labels[train:]),
        classes=classes,
        note="random numbers and random labels",
    )
