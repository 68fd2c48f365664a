"""Data sets in LIBSVM's sparse text form (Chang and Lin, 2011), for every source that is declared as libsvm-SET.

The files come from https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/; `sources.yaml` lists them. The first file
of a set is its training set, the second its test set. A set of one file has no official split: in order of class, every
seventh sample is a test sample. Of webspam's 350,000 samples this leaves the thesis's N = 3 x 10^5 (section 5.8) for
training, with the same share of each class in both parts, whatever the order of the file.
"""

from __future__ import annotations

import lzma
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sobench.config.registry import suggestion
from sobench.data.dataset import Dataset
from sobench.data.store import Store
from sobench.errors import Failure, UsageError

if TYPE_CHECKING:
    import numpy as np

    Part = tuple[np.ndarray, np.ndarray]

PREFIX = "libsvm-"


def libsvm(store: Store, *, set: str, standardize: bool = False) -> Dataset:
    """A training and a test set in LIBSVM's form: dense inputs float32 [N, D] as stored, and labels int64 [N].

    set: the SET of a declared source libsvm-SET. Labels are 0..C-1, in the order of the file's labels. standardize:
    subtract from each feature its training mean and divide by its training standard deviation; a feature that is
    constant in the training set becomes 0. Raises UsageError for an unknown set, and Failure if a file cannot be
    obtained, is damaged, or has test labels that the training set does not have.
    """
    import torch

    name = f"{PREFIX}{set}"
    if name not in store.sources:
        sets = [source.removeprefix(PREFIX) for source in store.sources if source.startswith(PREFIX)]
        raise UsageError(f"dataset.set: got {set!r}, {suggestion(set, sets)}")
    files = store.paths(name)
    (train, labels), (test, test_labels) = _parts(files)
    values, labels = _classes(name, labels, test_labels)
    if standardize:
        _standardize(train, test)
    inputs, targets = [torch.from_numpy(part) for part in (train, test)], [torch.from_numpy(part) for part in labels]
    return Dataset(name, (inputs[0], targets[0]), (inputs[1], targets[1]), classes=len(values))


def _parts(files: list[Path]) -> list[Part]:
    """(inputs float32 [N, D], labels [N]) of the training and of the test set. Raises Failure."""
    import numpy as np

    read = [_read(file) for file in files]
    if len(read) == 1:
        ((inputs, labels),) = read
        held_out = np.zeros(len(labels), dtype=bool)
        held_out[np.argsort(labels, kind="stable")[6::7]] = True
        read = [(inputs[~held_out], labels[~held_out]), (inputs[held_out], labels[held_out])]
    features = max(inputs.shape[1] for inputs, _ in read)  # a file has no columns after its last nonzero feature
    dense = []
    for inputs, labels in read:
        inputs.resize(inputs.shape[0], features)
        dense.append((inputs.toarray(), labels))
    return dense


def _read(file: Path) -> tuple[Any, np.ndarray]:
    """A sparse matrix float32 [N, D] and labels [N]. Raises Failure for a damaged file."""
    import numpy as np
    from sklearn.datasets import load_svmlight_file

    load: Callable[..., Any] = load_svmlight_file  # the types inferred from its defaults are too narrow
    try:
        if file.suffix == ".xz":
            with lzma.open(file) as stream:
                return load(stream, dtype=np.float32, zero_based=False)
        return load(str(file), dtype=np.float32, zero_based=False)
    except (OSError, ValueError, EOFError, lzma.LZMAError) as error:
        raise Failure(f"{file} is not in LIBSVM's form, or it is damaged ({' '.join(str(error).split())})") from error


def _classes(name: str, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """The distinct labels in order, and both label arrays as int64 positions in this order. Raises Failure."""
    import numpy as np

    values = np.unique(train)
    if len(values) < 2:
        raise Failure(f"{name}: the training set has the label {values[0]:g} alone; allowed: two labels or more")
    if strange := sorted({*np.unique(test).tolist()} - {*values.tolist()}):
        raise Failure(f"{name}: the test set has the label {strange[0]:g}, which the training set has not")
    return values, [np.searchsorted(values, labels).astype(np.int64) for labels in (train, test)]


def _standardize(train: np.ndarray, test: np.ndarray) -> None:
    """Standardize both arrays in place, a feature at a time, in double precision."""
    for j in range(train.shape[1]):
        column = train[:, j].astype("f8")
        constant = column.min() == column.max()
        mean, deviation = (column[0], 1.0) if constant else (column.mean(), column.std())
        for part in (train, test):
            part[:, j] = (part[:, j].astype("f8") - mean) / deviation
