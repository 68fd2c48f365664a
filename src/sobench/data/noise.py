"""Random numbers in the shape of images with random labels, for measurements that do not depend on the data."""

from __future__ import annotations

from collections.abc import Sequence

from sobench.data.dataset import Dataset
from sobench.data.store import Store
from sobench.errors import UsageError


def noise(
    store: Store, *, shape: Sequence[int] = (3, 32, 32), classes: int = 10, train: int = 128, test: int = 128
) -> Dataset:
    """`train` training and `test` test samples: inputs N(0, 1), float32 [N, *shape], and labels int64 [N] of `classes`.

    The labels are equally likely. The numbers are the same for every seed of a run. Raises UsageError for a shape that
    is not a list of whole numbers of at least 1.
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
