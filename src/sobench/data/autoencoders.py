"""FACES and CURVES, data sets without labels for autoencoders (thesis, table 2.3), from the authors' files.

The files are MATLAB files of version 5 from https://www.cs.toronto.edu/~jmartens/. Their checksums are not published,
so the files are not verified, and their values are not changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sobench.data.dataset import Dataset
from sobench.data.matlab import read, shapes
from sobench.data.reading import not_finite
from sobench.data.store import Store
from sobench.errors import Failure

if TYPE_CHECKING:
    import numpy as np

PATCHES, CURVES = 165_600, 20_000
"""The samples of FACES, and those of the larger part of CURVES: no more are read."""


def faces(store: Store) -> Dataset:
    """103,500 training and 41,400 test patches of faces, float32 [N, 625] as stored; the targets are the inputs.

    File: newfaces_rot_single.mat. The training set is the first 25/40 of the file and the test set its last 10/40, as
    in the authors' code; the 62,100 test patches of table 2.3 are all patches that are not trained on. Raises Failure
    if the file cannot be obtained or does not hold one array with 625 rows or columns of finite numbers.
    """
    file = store.path("faces", "newfaces_rot_single.mat")
    patches = _rows(file, _only_array(file, 625), 625, PATCHES)
    fortieth, rest = divmod(len(patches), 40)
    if rest or not fortieth:
        raise Failure(f"faces: {file} has {len(patches)} patches; allowed: a multiple of 40")
    return unlabelled("faces", patches[: 25 * fortieth], patches[-10 * fortieth :])


def curves(store: Store) -> Dataset:
    """20,000 training and 10,000 test images, float32 [N, 784] as stored, in [0, 1]; the targets are the inputs.

    File: digs3pts_1.mat. Raises Failure if the file cannot be obtained or does not hold finite `bdata` and `bdatatest`.
    """
    file = store.path("curves", "digs3pts_1.mat")
    variables = shapes(file)
    if missing := [key for key in ("bdata", "bdatatest") if key not in variables]:
        raise Failure(f"{file} has no {' and no '.join(missing)}; it has {', '.join(variables) or 'nothing'}")
    return unlabelled("curves", *(_rows(file, key, 784, CURVES) for key in ("bdata", "bdatatest")))


def unlabelled(name: str, train: np.ndarray, test: np.ndarray) -> Dataset:
    """A data set without classes whose targets are its inputs, from float32 arrays [N, D]."""
    import torch

    parts = [torch.from_numpy(part) for part in (train, test)]
    return Dataset(name, (parts[0], parts[0]), (parts[1], parts[1]), classes=None)


def _only_array(file: Path, width: int) -> str:
    """The name of the only array [N, width] or [width, N] in a file. Raises Failure unless there is exactly one."""
    found = shapes(file)
    fitting = [key for key, shape in found.items() if len(shape) == 2 and width in shape]
    if len(fitting) != 1:
        arrays = ", ".join(f"{key} {list(shape)}" for key, shape in found.items()) or "nothing"
        raise Failure(
            f"{file} has {len(fitting)} arrays with {width} rows or columns, of these: {arrays}; allowed: one"
        )
    return fitting[0]


def _rows(file: Path, key: str, width: int, most: int) -> np.ndarray:
    """An array of `file` as float32 [N, width], a sample a row, N up to `most`. An array [width, N] is transposed.

    Raises Failure if the array has another shape or type, or values that are not finite.
    """
    import numpy as np

    array = read(file, key, most=most * width)
    if array.ndim != 2 or width not in array.shape:
        raise Failure(f"{file}: {key} is {array.dtype} {list(array.shape)}; allowed: numbers [N, {width}]")
    with np.errstate(over="ignore", invalid="ignore"):
        rows = np.ascontiguousarray(array if array.shape[1] == width else array.T, np.float32)
    if bad := not_finite(rows):
        raise Failure(f"{file}: {key} holds {bad}")
    return rows
