"""Texts as sequences of word ids [N, length]: 0 is padding, on the left, 1 a word outside the vocabulary, 2 the most frequent.

A word is a run of letters, digits and underscores in lower case; "n't" and the endings 's, 're, 've, 'll, 'd, 'm are words
of their own, as they are in GloVe's vocabulary (do n't, it 's); other punctuation and HTML breaks are dropped. The vocabulary
is the most frequent words of the training set, ties in alphabetical order. Of a longer text the last words are kept: a
review ends with its verdict, and the recurrent state that is read out is that of the last word.
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
    """`parts`: (texts, labels of two classes) by `train`, `test` and, where there is one, `validation`.

    Inputs int64 [N, length]; `vectors` as of `initial_vectors`. Raises what that raises.
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
    """The words of a text."""
    text = BREAK.sub(" ", text.lower().replace("\u2019", "'"))
    return WORD.findall(text.replace("n't", " n't"))


def encode(parts: Sequence[Sequence[str]], *, vocabulary: int, length: int) -> tuple[list[str], list[np.ndarray]]:
    """The words with ids of their own, from FIRST on, and the ids int64 [N, length] of each part; the first is trained on."""
    import numpy as np

    numbers: defaultdict[str, int] = defaultdict()
    numbers.default_factory = numbers.__len__  # a word's number is its place among the words as they come
    found = [[np.fromiter(map(numbers.__getitem__, split(text)), np.int32) for text in part] for part in parts]
    counts = np.bincount(np.concatenate(found[0]), minlength=len(numbers))
    words = np.array(list(numbers), dtype=object)
    kept = np.lexsort((words.astype(str), -counts))[: min(vocabulary, np.count_nonzero(counts))]
    table = np.full(len(words), UNKNOWN)
    table[kept] = np.arange(FIRST, FIRST + len(kept))
    ids = [np.full((len(part), length), PADDING) for part in parts]
    for rows, part in zip(ids, found, strict=True):
        for row, text in zip(rows, part, strict=True):
            if len(text):
                row[-min(length, len(text)) :] = table[text[-length:]]
    return words[kept].tolist(), ids
