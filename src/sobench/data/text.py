"""Texts as sequences of word ids [N, length].

Id 0 is padding, which is on the left; 1 is a word outside the vocabulary; 2 is the most frequent word, and so on.

A word is a run of letters, digits and underscores in lower case. "n't" and the endings 's, 're, 've, 'll, 'd, 'm are
words of their own, as they are in GloVe's vocabulary (do n't, it 's). Other punctuation and HTML breaks are dropped.
The vocabulary is the most frequent words of the training set, with ties in alphabetical order. The last words of a
longer text are kept, because a review ends with its verdict, and the output is computed from the state after the last
word.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sobench.data.dataset import Dataset
from sobench.data.store import Store
from sobench.data.vectors import initial_vectors

if TYPE_CHECKING:
    import numpy as np

    Texts = tuple[Sequence[str], Sequence[int]]

PADDING, UNKNOWN, FIRST = 0, 1, 2
WORD = re.compile(r"n't\b|'(?:s|re|ve|ll|d|m)\b|\w+")
BREAK = re.compile(r"<br\s*/?>")


def text_dataset(
    name: str,
    parts: Mapping[str, Texts],
    store: Store,
    *,
    vocabulary: int,
    length: int,
    vectors: str | None,
    dimension: int,
) -> Dataset:
    """A data set of texts of two classes: inputs int64 [N, length], labels int64 [N], and word vectors.

    parts: (texts, labels) for `train`, `test` and, if there is one, `validation`. The training set must come first.
    vocabulary: the largest number of words with an id of their own. vectors, dimension: the arguments of
    `initial_vectors`. Raises UsageError and Failure as `initial_vectors` does.
    """
    import torch

    words, ids = encode([texts for texts, _ in parts.values()], vocabulary=vocabulary, length=length)
    tensors = {
        part: (torch.from_numpy(inputs), torch.tensor(labels, dtype=torch.int64))
        for (part, (_, labels)), inputs in zip(parts.items(), ids, strict=True)
    }
    table, note = initial_vectors(store, vectors, words, dimension)
    return Dataset(
        name, tensors["train"], tensors["test"], 2, validation=tensors.get("validation"), vectors=table, note=note
    )


def split(text: str) -> list[str]:
    """The words of a text, in order."""
    text = BREAK.sub(" ", text.lower().replace("\u2019", "'"))
    return WORD.findall(text.replace("n't", " n't"))


def encode(parts: Sequence[Sequence[str]], *, vocabulary: int, length: int) -> tuple[list[str], list[np.ndarray]]:
    """The words of the vocabulary, whose ids start at FIRST, and the word ids int64 [N, length] of each part.

    The first part is the training set, from which the vocabulary is taken.
    """
    import numpy as np

    numbers: defaultdict[str, int] = defaultdict()
    numbers.default_factory = numbers.__len__  # a word's number is its rank by first occurrence
    texts = [[np.fromiter(map(numbers.__getitem__, split(text)), np.int32) for text in part] for part in parts]
    counts = np.bincount(np.concatenate(texts[0]), minlength=len(numbers))
    words = np.array(list(numbers), dtype=object)
    chosen = np.lexsort((words.astype(str), -counts))[: min(vocabulary, np.count_nonzero(counts))]
    table = np.full(len(words), UNKNOWN)
    table[chosen] = np.arange(FIRST, FIRST + len(chosen))
    ids = [np.full((len(part), length), PADDING) for part in parts]
    for rows, part in zip(ids, texts, strict=True):
        for row, text in zip(rows, part, strict=True):
            if len(text):
                row[-min(length, len(text)) :] = table[text[-length:]]
    return words[chosen].tolist(), ids
