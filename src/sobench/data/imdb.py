"""IMDb film reviews, positive or negative (Maas et al., 2011), from the official archive.

The archive aclImdb_v1.tar.gz comes from https://ai.stanford.edu/~amaas/data/sentiment/ and is read once, front to back.
The samples of a set are in the order of class and file name, whatever the order of the archive. Reviews without a label
are skipped, so that an archive without them may stand in for the official one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from sobench.data.dataset import Dataset
from sobench.data.reading import LONGEST, members, parsing
from sobench.data.store import Store
from sobench.data.text import text_dataset
from sobench.errors import Failure

REVIEW = re.compile(r"(?:\./)?aclImdb/(train|test)/(neg|pos)/[^/]+\.txt")
CLASSES = {"neg": 0, "pos": 1}


def imdb(
    store: Store, *, vocabulary: int = 25000, length: int = 200, vectors: str | None = "glove", dimension: int = 100
) -> Dataset:
    """25,000 training and 25,000 test reviews: word ids int64 [N, length], see `sobench.data.text`.

    Labels are int64 [N], 0 for negative and 1 for positive. vocabulary: the number of words with an id of their own,
    the most frequent of the training set. length: the words kept of a review. vectors: the initial word vectors,
    `glove`, a file in GloVe's text form, or None for random ones. dimension: of a word vector. Raises Failure if a file
    cannot be obtained or does not hold the data set, and UsageError for `vectors` that are no file or of another
    dimension.
    """
    (file,) = store.paths("imdb")
    return text_dataset(
        "imdb", _reviews(file), store, vocabulary=vocabulary, length=length, vectors=vectors, dimension=dimension
    )


def _reviews(file: Path) -> dict[str, tuple[list[str], list[int]]]:
    """(texts, labels) of the training and of the test set. Raises Failure for a damaged or incomplete archive."""
    reviews: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    with parsing(f"imdb: {file} is not the archive"):
        for name, content in members(file, REVIEW.fullmatch, LONGEST):
            _, part, label, _ = name.removeprefix("./").split("/")
            reviews[part].append((CLASSES[label], name, _text(name, content)))
    for part in ("train", "test"):
        if {label for label, _, _ in reviews[part]} != set(CLASSES.values()):
            raise Failure(f"imdb: {file} has no reviews in aclImdb/{part}/pos or in aclImdb/{part}/neg")
    ordered = {part: sorted(reviews[part]) for part in ("train", "test")}
    return {part: ([text for *_, text in rows], [label for label, *_ in rows]) for part, rows in ordered.items()}


def _text(name: str, content: bytes) -> str:
    """The text of a review. Raises ValueError, which names the file, unless it is in UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: {error}") from error
