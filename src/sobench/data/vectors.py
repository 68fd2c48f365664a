"""Word vectors that a model starts from: GloVe's (Pennington et al., 2014) or a file in its text form, "word v1 ... vD" a line.

GloVe itself is the declared source `glove`: the official archive of vectors from 6 billion words, of which
`glove.6B.<D>d.txt` is read inside; or, where that is not at hand, its stand-in, a JSON object {word: [v1, ..., vD]}.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from sobench.data.store import Store
from sobench.errors import Failure, UsageError

if TYPE_CHECKING:
    from torch import Tensor

SOURCE = "glove"
SEED = 0  # of what is drawn: every run starts from the same vectors
DEVIATION = 0.1
DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
)


def initial_vectors(store: Store, name: str | None, words: Sequence[str], dimension: int) -> tuple[Tensor, str]:
    """float32 [2 + words, dimension], a row an id, and a line on how many words the file has.

    The row of padding is 0; the row of unknown words, and those of words that the file does not have, are drawn from
    N(0, DEVIATION^2), once and for all. name: `glove`, a file, or None: all are drawn. Raises UsageError for a file that is
    not there or vectors of another dimension, Failure for one that is damaged or cannot be had.
    """
    import numpy as np
    import torch

    table = np.random.default_rng(SEED).normal(0, DEVIATION, (2 + len(words), dimension)).astype(np.float32)
    table[0] = 0
    if name is None:
        return torch.from_numpy(table), f"{len(words)} words, their vectors drawn"
    file = _file(store, name)
    rows = {word: row for row, word in enumerate(words, 2)}
    try:
        found = {
            word: values for word, values in _entries(file, dimension) if word in rows and len(values) == dimension
        }
        for word, values in found.items():
            table[rows[word]] = np.asarray(values, dtype=np.float32)
    except DAMAGE as error:
        raise Failure(
            f"{file} does not hold word vectors, or it is damaged ({' '.join(str(error).split())})"
        ) from error
    if not np.isfinite(table).all():
        raise Failure(f"{file} holds values that are not finite")
    return torch.from_numpy(table), f"{len(words)} words, {len(found)} with vectors of {file.name}"


def _file(store: Store, name: str) -> Path:
    if name == SOURCE:
        return store.paths(SOURCE)[0]
    file = Path(name).expanduser()
    if not file.is_file():
        raise UsageError(
            f"dataset.vectors: got {name!r}, which is not a file; allowed: {SOURCE}, a file in GloVe's text form, "
            "or null"
        )
    return file


def _entries(file: Path, dimension: int) -> Iterator[tuple[str, list]]:
    """(word, values) in the order of the file; the first tells its dimension. Raises UsageError if that is another."""
    for i, (word, values) in enumerate(_read(file, dimension)):
        if not i and len(values) != dimension:
            raise UsageError(
                f"dataset.dimension: got {dimension}, {file} has vectors of {len(values)}; allowed: {len(values)}"
            )
        yield word, values


def _read(file: Path, dimension: int) -> Iterator[tuple[str, list]]:
    if file.suffix == ".json":
        yield from json.loads(file.read_bytes()).items()
    elif file.suffix == ".zip":
        with zipfile.ZipFile(file) as archive, archive.open(f"glove.6B.{dimension}d.txt") as stream:
            yield from _parsed(stream)
    else:
        with file.open("rb") as stream:
            yield from _parsed(stream)


def _parsed(stream: IO[bytes]) -> Iterator[tuple[str, list[str]]]:
    for line in stream:
        word, _, values = line.decode().partition(" ")
        yield word, values.split()
