"""A data set of the user's own arrays, from one .npz file. Nothing is unpickled, and every error is one line."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sobench.data.dataset import Dataset
from sobench.data.reading import beyond_memory, not_finite, own_file, parsing
from sobench.data.store import Store
from sobench.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

KEYS = ("x_train", "y_train", "x_test", "y_test")
RATIO = 1032
"""The bytes that one compressed byte can hold at most (deflate)."""


def npz(store: Store, *, path: str, sha256: str | None = None) -> Dataset:
    """The arrays x_train, y_train, x_test and y_test of the file `path`.

    Inputs x [N, ...] are numbers. Targets y are integers [N], which are labels 0..C-1, or floating point [N] or [N, K]
    for regression; targets [N] become [N, 1]. float64 stays float64, and every other type of number becomes float32.
    sha256: the expected digest in hexadecimal, or None. Raises UsageError for a file that is missing, is damaged, does
    not hold these arrays, or has another digest.
    """
    import torch

    file = own_file(path, sha256, ".npz")
    try:
        arrays = read_arrays(file)
        inputs = {key: _numbers(key, arrays[key], least=2) for key in ("x_train", "x_test")}
        targets, classes = _targets(arrays["y_train"], arrays["y_test"])
        train = torch.from_numpy(inputs["x_train"]), torch.from_numpy(targets[0])
        test = torch.from_numpy(inputs["x_test"]), torch.from_numpy(targets[1])
        return Dataset("npz", train, test, classes)
    except UsageError as error:
        raise UsageError(f"dataset.path: {file}: {error}") from error


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """The arrays KEYS of an .npz file, unchanged; nothing is unpickled.

    Raises UsageError with a message that calls the file "it".
    """
    try:
        stream = file.open("rb")
    except OSError as error:
        raise UsageError(f"it cannot be read: {error.strerror}") from error
    with stream:
        return _arrays(stream)


def _arrays(stream: BinaryIO) -> dict[str, np.ndarray]:
    import numpy as np

    if stream.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX:
        raise UsageError("it is a single array, not an .npz archive; numpy.savez writes one")
    stream.seek(0)
    with parsing("it is not an .npz archive of arrays", UsageError):
        archive = np.load(stream, allow_pickle=False)
    with archive:
        if missing := [key for key in KEYS if key not in archive.files]:
            raise UsageError(f"it has no {', '.join(missing)}; it has {', '.join(archive.files) or 'no array'}")
        if too_large := beyond_memory(sum(_announced(archive, key) for key in KEYS)):
            raise UsageError(f"it {too_large}")
        arrays = {}
        for key in KEYS:
            with parsing(f"{key} is not an array", UsageError):
                arrays[key] = archive[key]
        return arrays


def _announced(archive: np.lib.npyio.NpzFile, key: str) -> int:
    """The bytes of memory that an array of the archive needs as numbers of 4 bytes or more; it is not read.

    Raises UsageError if its announced size is not that of its bytes.
    """
    import numpy as np

    if archive.files.count(key) > 1:
        raise UsageError(f"{key} is there twice")
    assert archive.zip is not None  # it is open
    with parsing(f"{key} is not an array", UsageError):
        entry = archive.zip.getinfo(f"{key}.npy")
        with archive.zip.open(entry) as stream:
            if np.lib.format.read_magic(stream) == (1, 0):
                shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
            else:
                shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
            announced = stream.tell() + math.prod(shape) * dtype.itemsize
        if dtype.hasobject:
            raise UsageError(f"{key} holds Python objects, which are never loaded: save numbers")
        most = entry.compress_size * (1 if entry.compress_type == zipfile.ZIP_STORED else RATIO)
        if announced != entry.file_size or announced > most:
            raise ValueError(f"{key} has the shape {list(shape)} and announces {announced:,} bytes")
        return math.prod(shape) * max(dtype.itemsize, 4)


def _numbers(key: str, array: np.ndarray, least: int) -> np.ndarray:
    """The array in floating point. Raises UsageError unless it has `least` axes or more and its values are finite."""
    import numpy as np

    if array.dtype.kind not in "buif":
        raise UsageError(f"{key} is of type {array.dtype}; allowed: integers, floating point, booleans")
    if array.ndim < least:
        raise UsageError(f"{key} has shape {list(array.shape)}; allowed: [N{', ...' * (least - 1)}]")
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = np.ascontiguousarray(array, np.float64 if array.dtype.newbyteorder("=") == np.float64 else np.float32)
    if bad := not_finite(numbers):
        raise UsageError(f"{key} holds {bad}")
    return numbers


def _targets(train: np.ndarray, test: np.ndarray) -> tuple[list[np.ndarray], int | None]:
    """Both targets and the number of classes: int64 labels and C, or floats [N, K] and None. Raises UsageError."""
    import numpy as np

    named = {"y_train": train, "y_test": test}
    kinds = [{"b": "i", "u": "i"}.get(array.dtype.kind, array.dtype.kind) for array in named.values()]
    if kinds not in (["i", "i"], ["f", "f"]):
        raise UsageError(
            f"y_train is of type {train.dtype}, y_test of {test.dtype}; "
            "allowed: both integers (labels) or both floating point (regression)"
        )
    if kinds == ["f", "f"]:
        numbers = [_numbers(key, array, least=1) for key, array in named.items()]
        return [array[:, None] if array.ndim == 1 else array for array in numbers], None
    for key, array in named.items():
        if array.ndim != 1 or not array.size:
            raise UsageError(f"{key} has shape {list(array.shape)}; labels have shape [N], one integer each")
        if array.min() < 0:
            raise UsageError(f"{key} has the label {array.min()}; labels are 0 to classes - 1")
    if not 0 < (largest := int(train.max())) < train.size:
        raise UsageError(f"y_train has {train.size} labels up to {largest}; labels are 0 to classes - 1, at least two")
    if test.max() > largest:
        raise UsageError(f"y_test has the label {test.max()}, y_train only 0 to {largest}")
    return [np.ascontiguousarray(array, dtype=np.int64) for array in named.values()], largest + 1
