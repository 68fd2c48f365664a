"""Initial word vectors: those of GloVe (Pennington et al., 2014), or those of a file in GloVe's text form.

A line of the text form is "word v1 ... vD". GloVe is the declared source `glove`: the official archive glove.6B.zip
from https://nlp.stanford.edu/data/, with vectors from 6 billion words, in which `glove.6B.<D>d.txt` is read. If the
archive is not there, its stand-in may be: a JSON object {word: [v1, ..., vD]}.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sobench.data.reading import beyond_memory, opened, parsing, single, text_lines
from sobench.data.store import Store
from sobench.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

SOURCE = "glove"
SEED = 0  # of the random vectors: every run starts from the same ones
DEVIATION = 0.1  # standard deviation of the random vectors
JSON_BYTES = 16  # of memory for a byte of JSON: the shortest number, "1,", is an object of 32 bytes


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
    found = set()
    with parsing(f"{file} does not hold word vectors"):
        for place, word, values in _entries(file, dimension):
            if word in rows and (vector := _vector(place, word, values, dimension)) is not None:
                table[rows[word]] = vector
                found.add(word)
    return torch.from_numpy(table), f"{len(words)} words, {len(found)} with vectors of {file.name}"


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


def _vector(place: str, word: str, values: list[Any], dimension: int) -> np.ndarray | None:
    """The vector of a word, float32 [dimension]; None for another word, one that contains a space.

    Raises ValueError, which names the place, unless the values are `dimension` finite numbers.
    """
    import numpy as np

    with suppress(ValueError, OverflowError):
        numbers = np.array([float(value) for value in values], dtype=np.float32)
        if len(numbers) == dimension and np.isfinite(numbers).all():
            return numbers
    bad = next((i for i, value in enumerate(values) if not math.isfinite(single(value))), None)
    if bad is None:
        raise ValueError(f"{place}: the vector of {word!r} has {len(values)} values; allowed: {dimension}")
    if bad < len(values) - dimension:
        return None
    raise ValueError(f"{place}: the vector of {word!r} has the value {values[bad]!r}; allowed: finite numbers")


def _entries(file: Path, dimension: int) -> Iterator[tuple[str, str, list[Any]]]:
    """(place, word, values) in the order of the file.

    Raises UsageError if the first entry has another dimension, and ValueError for one that has too few values.
    """
    for i, (place, word, values) in enumerate(_read(file, dimension)):
        if not i and len(values) != dimension:
            raise UsageError(
                f"dataset.dimension: got {dimension}, {file} has vectors of {len(values)}; allowed: {len(values)}"
            )
        if len(values) < dimension:
            raise ValueError(f"{place}: the vector of {word!r} has {len(values)} values; allowed: {dimension}")
        yield place, word, values


def _read(file: Path, dimension: int) -> Iterator[tuple[str, str, list[Any]]]:
    """(place, word, values) of a .json file (numbers), of GloVe's .zip file or of a text file (strings)."""
    if file.suffix == ".json":
        if too_large := beyond_memory(JSON_BYTES * file.stat().st_size):
            raise UsageError(f"dataset.vectors: {file} {too_large}")
        for word, values in json.loads(file.read_bytes()).items():
            if not isinstance(values, list) or any(type(value) not in (int, float) for value in values):
                raise ValueError(f"the vector of {word!r} is no list of numbers")
            yield "an entry", word, values
    elif file.suffix == ".zip":
        with zipfile.ZipFile(file) as archive, archive.open(f"glove.6B.{dimension}d.txt") as stream:
            yield from _parsed(stream)
    else:
        with opened(file) as stream:
            yield from _parsed(stream)


def _parsed(stream: IO[bytes]) -> Iterator[tuple[str, str, list[str]]]:
    """(place, word, values) of the lines "word v1 ... vD", without word2vec's and fastText's first line "words D"."""
    entries = _lines(stream)
    first, second = next(entries, None), next(entries, None)
    if first and not (second and _is_header(first, second)):
        yield first
    if second:
        yield second
    yield from entries


def _lines(stream: IO[bytes]) -> Iterator[tuple[str, str, list[str]]]:
    for number, line in text_lines(stream):
        word, _, values = line.partition(" ")
        if line:
            yield f"line {number}", word, values.split()


def _is_header(first: tuple[str, str, list[str]], second: tuple[str, str, list[str]]) -> bool:
    """Whether the first line is two whole numbers, and the second line a vector of more than one number.

    Raises ValueError if the vector has another dimension than the first line says.
    """
    (_, word, values), dimension = first, len(second[2])
    if not (word.isdecimal() and len(values) == 1 and values[0].isdecimal() and dimension > 1):
        return False
    if int(values[0]) != dimension:
        raise ValueError(f"line 1 says that vectors have {values[0]} values, and line 2 has {dimension}")
    return True
