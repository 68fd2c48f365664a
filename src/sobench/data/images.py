"""Colour images of 32x32 pixels, shared by several data sets: the .npz stand-in for their files, and checks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sobench.data.npz import read_arrays
from sobench.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

Part = tuple["np.ndarray", "np.ndarray"]
"""The pixels [N, 3, 32, 32] and the labels [N] of a training or a test set."""


def stand_in(file: Path) -> list[Part]:
    """Pixels uint8 [N, 3, 32, 32] and labels [N] of the training and of the test set, from an .npz file.

    The file holds x_train and x_test, uint8 [N, 32, 32, 3], and y_train and y_test [N]. Raises UsageError if it does
    not.
    """
    arrays = read_arrays(file)
    for key in ("x_train", "x_test"):
        if arrays[key].dtype != "uint8" or arrays[key].shape[1:] != (32, 32, 3):
            raise UsageError(f"{key} is {arrays[key].dtype} {list(arrays[key].shape)}; allowed: uint8 [N, 32, 32, 3]")
    return [(arrays[f"x_{part}"].transpose(0, 3, 1, 2), arrays[f"y_{part}"]) for part in ("train", "test")]


def checked(pixels: np.ndarray, labels: np.ndarray, classes: int) -> tuple[Tensor, Tensor]:
    """Pixels and labels as tensors, uint8 [N, 3, 32, 32] and int64 [N].

    Raises UsageError unless the labels are integers [N] in 0..classes-1.
    """
    import numpy as np
    import torch

    if not len(pixels):
        raise UsageError("it holds no images of the training or of the test set")
    if labels.dtype.kind not in "iu" or labels.shape != pixels.shape[:1]:
        raise UsageError(
            f"the labels are {labels.dtype} {list(labels.shape)} for {len(pixels)} images; allowed: integers [N]"
        )
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise UsageError(f"it has labels from {labels.min()} to {labels.max()}; allowed: 0 to {classes - 1}")
    return torch.from_numpy(np.require(pixels, requirements=["C", "W"])), torch.from_numpy(labels.astype(np.int64))
