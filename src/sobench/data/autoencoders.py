"""FACES and CURVES, the sets without labels that autoencoders are trained on (thesis, table 2.3), from the authors' files.

MATLAB files of version 5, whose checksums are not published: they are taken as they are, and so are their values.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sobench.data.dataset import Dataset
from sobench.data.store import Store
from sobench.errors import Failure

if TYPE_CHECKING:
    import numpy as np


def faces(store: Store) -> Dataset:
    """103,500 training and 41,400 test patches of faces, float32 [N, 625] as stored; the targets are the inputs.

    The first 25/40 of the file and its last 10/40, as the authors take them; table 2.3's 62,100 test patches are all that
    is not trained on. Raises Failure when the file cannot be had or holds no such array.
    """
    file = store.path("faces", "newfaces_rot_single.mat")
    patches = _rows(file, _only_array(file, 625), 625)
    fortieth, rest = divmod(len(patches), 40)
    if rest or not fortieth:
        raise Failure(f"faces: {file} has {len(patches)} patches; allowed: a multiple of 40")
    return unlabelled("faces", patches[: 25 * fortieth], patches[-10 * fortieth :])


def curves(store: Store) -> Dataset:
    """20,000 training and 10,000 test images, float32 [N, 784] as stored, in [0, 1]; the targets are the inputs.

    Raises Failure when the file cannot be had or does not hold `bdata` and `bdatatest`.
    """
    file = store.path("curves", "digs3pts_1.mat")
    found = dict(shapes(file))
    if missing := [key for key in ("bdata", "bdatatest") if key not in found]:
        raise Failure(f"{file} has no {' and no '.join(missing)}; it has {', '.join(found) or 'nothing'}")
    return unlabelled("curves", *(_rows(file, key, 784) for key in ("bdata", "bdatatest")))


def unlabelled(name: str, train: np.ndarray, test: np.ndarray) -> Dataset:
    """Float32 [N, D] arrays as a data set whose targets are its inputs."""
    import torch

    parts = [torch.from_numpy(part) for part in (train, test)]
    return Dataset(name, (parts[0], parts[0]), (parts[1], parts[1]), classes=None)


def _only_array(file: Path, width: int) -> str:
    """The name of the one array [N, width] or [width, N] of a file. Raises Failure if there is none, or more than one."""
    fitting = [key for key, shape in shapes(file) if len(shape) == 2 and width in shape]
    if len(fitting) != 1:
        found = ", ".join(f"{key} {list(shape)}" for key, shape in shapes(file)) or "nothing"
        raise Failure(f"{file} has {len(fitting)} arrays with {width} rows or columns, of these: {found}; allowed: one")
    return fitting[0]


def _rows(file: Path, key: str, width: int) -> np.ndarray:
    """An array of `file` as float32 with one sample a row, [N, width]; MATLAB's [width, N] is turned. Raises Failure."""
    import numpy as np

    array = read(file, key)
    if array.ndim != 2 or width not in array.shape or array.dtype.kind not in "fui":
        raise Failure(f"{file}: {key} is {array.dtype} {list(array.shape)}; allowed: numbers [N, {width}]")
    rows = np.ascontiguousarray(array if array.shape[1] == width else array.T, np.float32)
    if not np.isfinite(rows).all():
        raise Failure(f"{file}: {key} holds values that are not finite")
    return rows


def shapes(file: Path) -> list[tuple[str, tuple[int, ...]]]:
    """(name, shape) of every variable of a MATLAB file. Raises Failure for one that cannot be read."""
    from scipy.io import whosmat

    return [(name, shape) for name, shape, _ in _matlab(whosmat, file)]


def read(file: Path, key: str) -> np.ndarray:
    """One variable of a MATLAB file. Raises Failure for a file that cannot be read."""
    from scipy.io import loadmat

    return _matlab(loadmat, file, variable_names=[key])[key]


def _matlab(function, file: Path, **options):
    try:
        return function(str(file), **options)
    except NotImplementedError as error:
        raise Failure(
            f"{file} is a MATLAB file of version 7.3 (HDF5), which is not read; save it with -v7 in MATLAB"
        ) from error
    except (
        Exception
    ) as error:  # whatever scipy's parser meets in a damaged file: IndexError, zlib.error, ValueError, ...
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise Failure(f"{file} is not a MATLAB file, or it is damaged ({reason})") from error
