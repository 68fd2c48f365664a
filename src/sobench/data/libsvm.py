"""Data sets in LIBSVM's sparse text form (Chang and Lin, 2011), for every source that is declared as libsvm-SET.

The files come from https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/; `sources.yaml` lists them. The first file
of a set is its training set, the second its test set. A set of one file has no official split: in order of class, every
seventh sample is a test sample. Of webspam's 350,000 samples this leaves the thesis's N = 3 x 10^5 (section 5.8) for
training, with the same share of each class in both parts, whatever the order of the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sobench.config.registry import suggestion
from sobench.data.dataset import Dataset
from sobench.data.reading import lines, opened, parsing, single
from sobench.data.sources import Source
from sobench.data.store import Store
from sobench.errors import Failure, UsageError

if TYPE_CHECKING:
    import numpy as np

    Part = tuple[np.ndarray, np.ndarray]

PREFIX = "libsvm-"
FEATURES, LARGEST = 100_000, 1 << 29
"""The features, and the bytes of the inputs, of a set whose declaration has no `features`."""


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
    source = store.source(name)
    (train, labels), (test, test_labels) = _parts(store.paths(name), source)
    values, labels = _classes(source, labels, test_labels)
    if standardize:
        _standardize(train, test)
    inputs, targets = [torch.from_numpy(part) for part in (train, test)], [torch.from_numpy(part) for part in labels]
    return Dataset(name, (inputs[0], targets[0]), (inputs[1], targets[1]), classes=len(values))


def _parts(files: list[Path], source: Source) -> list[Part]:
    """(inputs float32 [N, D], labels [N]) of the training and of the test set. Raises Failure."""
    import numpy as np

    rows = source.rows if len(files) > 1 else (sum(source.rows),)
    read = [_read(file, source.features, most) for file, most in zip(files, rows or (0, 0), strict=True)]
    features = max(inputs.shape[1] for inputs, _ in read)  # a file has no columns after its last nonzero feature
    widest = source.features or min(FEATURES, LARGEST // sum(4 * len(labels) for _, labels in read))
    for file, (inputs, _) in zip(files, read, strict=True):
        if inputs.shape[1] > widest:
            raise Failure(_defect(file, widest))
    if len(read) == 1:
        ((inputs, labels),) = read
        if len(labels) < 7:
            raise Failure(
                f"{files[0]} has {len(labels)} samples; allowed: 7 or more, as every seventh is a test sample"
            )
        held_out = np.zeros(len(labels), dtype=bool)
        held_out[np.argsort(labels, kind="stable")[6::7]] = True
        read = [(inputs[~held_out], labels[~held_out]), (inputs[held_out], labels[held_out])]
    dense = []
    for inputs, labels in read:
        inputs.resize(inputs.shape[0], features)
        dense.append((inputs.toarray(), labels))
    return dense


def _read(file: Path, features: int, rows: int) -> tuple[Any, np.ndarray]:
    """A sparse matrix float32 [N, D] and labels [N]. Raises Failure for a damaged file, which names the line.

    features, rows: the features and the samples that the file has at most, or 0 if they are not declared.
    """
    import numpy as np
    from sklearn.datasets import load_svmlight_file

    load: Callable[..., Any] = load_svmlight_file  # the types inferred from its defaults are too narrow
    with parsing(f"{file} is not in LIBSVM's form"):
        with opened(file) as stream:
            try:
                inputs, labels = load(_Lines(stream, file, features, rows), dtype=np.float32, zero_based=False)
            except (ValueError, OverflowError) as error:
                raise Failure(_defect(file)) from error
        if not (np.isfinite(inputs.data).all() and np.isfinite(labels).all() and (labels % 1 == 0).all()):
            raise Failure(_defect(file))
        if not len(labels):
            raise ValueError("it has no samples")
        return inputs, labels


class _Lines:
    """The lines of a stream, in the form of the open file that scikit-learn takes.

    A file that decompresses to more than the declared features and samples is refused before it fills the memory.
    """

    def __init__(self, stream: IO[bytes], file: Path, features: int, rows: int) -> None:
        self.read, self._stream, self._file, self._features, self._rows = stream.read, stream, file, features, rows

    def __iter__(self) -> Iterator[bytes]:
        samples = 0
        for line in lines(self._stream):
            sample = line.partition(b"#")[0]
            if self._features and sample.count(b":") > self._features + 1:  # one more for the `qid:` of rankings
                raise Failure(_defect(self._file, self._features))
            samples += bool(sample.strip())
            if self._rows and samples > self._rows:
                raise Failure(f"{self._file} has more than {self._rows:,} samples; allowed: {self._rows:,}")
            yield line


def _defect(file: Path, features: int = 2**31 - 1) -> str:
    """The first line that is not `label index:value ...` with indices up to `features`, in words."""
    with opened(file) as stream:
        for number, line in enumerate(lines(stream), 1):
            label, *entries = line.partition(b"#")[0].split() or [b"0"]
            if not single(label).is_integer():
                return f"{file}, line {number}: got the label {_shown(label)}; allowed: a whole number"
            last = 0
            if entries and entries[0].startswith(b"qid"):  # of rankings; scikit-learn skips it
                entries = entries[1:]
            for entry in entries:
                index, _, value = entry.partition(b":")
                if not (index.isdigit() and last < int(index) <= features and math.isfinite(single(value))):
                    return (
                        f"{file}, line {number}: got {_shown(entry)}; allowed: index:value, with a whole number from "
                        f"{last + 1} to {features} and a finite number in single precision"
                    )
                last = int(index)
    return f"{file} is not in LIBSVM's form"


def _shown(text: bytes) -> str:
    return repr(text[:30].decode(errors="replace"))


def _classes(source: Source, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """The distinct labels in order, and both label arrays as int64 positions in this order. Raises Failure."""
    import numpy as np

    name, values = source.name, np.unique(train)
    if source.classes and len(values) > source.classes:
        labels = ", ".join(f"{value:g}" for value in values[: source.classes + 1])
        raise Failure(f"{name}: the training set has {len(values)} labels, {labels}; allowed: {source.classes} labels")
    if len(values) < 2:
        raise Failure(f"{name}: the training set has the label {values[0]:g} alone; allowed: two labels or more")
    if strange := sorted({*np.unique(test).tolist()} - {*values.tolist()}):
        raise Failure(f"{name}: the test set has the label {strange[0]:g}, which the training set has not")
    return values, [np.searchsorted(values, labels).astype(np.int64) for labels in (train, test)]


def _standardize(train: np.ndarray, test: np.ndarray) -> None:
    """Standardize both arrays in place, a feature at a time, in double precision."""
    import numpy as np

    for j in range(train.shape[1]):
        column = train[:, j].astype("f8")
        constant = column.min() == column.max()
        mean, deviation = (column[0], 1.0) if constant else (column.mean(), column.std())
        for part in (train, test):
            with np.errstate(over="ignore", invalid="ignore"):  # the data set refuses values that are not finite
                part[:, j] = (part[:, j].astype("f8") - mean) / deviation
