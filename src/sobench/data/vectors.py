"""Initial word vectors: those of GloVe (Pennington et al., 2014), or those of a file in GloVe's text form.

A line of the text form is "word v1 ... vD". GloVe is the declared source `glove`: the official archive glove.6B.zip
from https://nlp.stanford.edu/data/, with vectors from 6 billion words, in which `glove.6B.<D>d.txt` is read. If the
archive is not there, its stand-in may be: a JSON object {word: [v1, ..., vD]}.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sobench.data.store import Store
from sobench.errors import Failure, UsageError

if TYPE_CHECKING:
    from torch import Tensor

SOURCE = "glove"
SEED = 0  # of the random vectors: every run starts from the same ones
DEVIATION = 0.1  # standard deviation of the random vectors
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
    """Word vectors float32 [2 + words, dimension] with a row for each id, and a line on how many words the file has.

    name: `glove`, the path of a file, or None for random vectors. words: the words with ids 2, 3, ..., in order. The
    row of padding is 0. The row of unknown words, and the rows of words that the file does not have, are drawn from
    N(0, DEVIATION^2), the same for every run. Raises UsageError for a file that is not there or has vectors of another
    dimension, and Failure for a file that is damaged or cannot be obtained.
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
        vectors = {
            word: values for word, values in _entries(file, dimension) if word in rows and len(values) == dimension
        }
        for word, values in vectors.items():
            table[rows[word]] = np.asarray(values, dtype=np.float32)
    except DAMAGE as error:
        raise Failure(
            f"{file} does not hold word vectors, or it is damaged ({' '.join(str(error).split())})"
        ) from error
    if not np.isfinite(table).all():
        raise Failure(f"{file} holds values that are not finite")
    return torch.from_numpy(table), f"{len(words)} words, {len(vectors)} with vectors of {file.name}"


def _file(store: Store, name: str) -> Path:
    """The file of `glove`, or the file `name`. Raises UsageError for a file that is not there, Failure for GloVe's."""
    if name == SOURCE:
        return store.paths(SOURCE)[0]
    file = Path(name).expanduser()
    if not file.is_file():
        raise UsageError(
            f"dataset.vectors: got {name!r}, which is not a file; allowed: {SOURCE}, a file in GloVe's text form, "
            "or null"
        )
    return file


def _entries(file: Path, dimension: int) -> Iterator[tuple[str, list[Any]]]:
    """(word, values) in the order of the file. Raises UsageError if the first entry has another dimension."""
    for i, (word, values) in enumerate(_read(file, dimension)):
        if not i and len(values) != dimension:
            raise UsageError(
                f"dataset.dimension: got {dimension}, {file} has vectors of {len(values)}; allowed: {len(values)}"
            )
        yield word, values


def _read(file: Path, dimension: int) -> Iterator[tuple[str, list[Any]]]:
    """(word, values) of a .json file (numbers), of GloVe's .zip file or of a text file (strings)."""
    if file.suffix == ".json":
        yield from json.loads(file.read_bytes()).items()
    elif file.suffix == ".zip":
        with zipfile.ZipFile(file) as archive, archive.open(f"glove.6B.{dimension}d.txt") as stream:
            yield from _parsed(stream)
    else:
        with file.open("rb") as stream:
            yield from _parsed(stream)


def _parsed(stream: IO[bytes]) -> Iterator[tuple[str, list[str]]]:
    """(word, values) of the lines "word v1 ... vD", without the first line "words D" of word2vec and fastText."""
    entries = _lines(stream)
    first, second = next(entries, None), next(entries, None)
    if first and not (second and _is_header(first, second)):
        yield first
    if second:
        yield second
    yield from entries


def _lines(stream: IO[bytes]) -> Iterator[tuple[str, list[str]]]:
    for line in stream:
        word, _, values = line.decode().partition(" ")
        yield word, values.split()


def _is_header(first: tuple[str, list[str]], second: tuple[str, list[str]]) -> bool:
    """Whether the first line is two whole numbers, the latter of them the dimension of the second line, above 1."""
    word, values = first
    counts = word.isdecimal() and len(values) == 1 and values[0].isdecimal()
    return counts and int(values[0]) == len(second[1]) > 1
