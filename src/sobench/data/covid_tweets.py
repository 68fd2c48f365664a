"""English tweets on COVID-19, informative or not: WNUT-2020, task 2 (Nguyen et al., 2020), from tab-separated files.

The files train.tsv, valid.tsv and test.tsv need a manual download from github.com/VinAIResearch/COVID19Tweet, because
the platform's terms forbid passing tweets on. The first line of a file may be `Id Text Label`; every other line is a
tweet. Kernel SGD, section 4.1, trains on 7,000 tweets, chooses by the 1,000 of `valid.tsv`, and tests on 2,000.
"""

from __future__ import annotations

from pathlib import Path

from sobench.data.dataset import Dataset
from sobench.data.reading import opened, parsing, text_lines
from sobench.data.store import Store
from sobench.data.text import text_dataset
from sobench.errors import Failure

HEAD = ["Id", "Text", "Label"]
CLASSES = {"UNINFORMATIVE": 0, "INFORMATIVE": 1}
FILES = {"train": "train.tsv", "validation": "valid.tsv", "test": "test.tsv"}


def covid_tweets(
    store: Store, *, vocabulary: int = 25000, length: int = 100, vectors: str | None = "glove", dimension: int = 100
) -> Dataset:
    """7,000 training, 1,000 validation and 2,000 test tweets: word ids int64 [N, length], see `sobench.data.text`.

    Labels are int64 [N], 0 for uninformative and 1 for informative. The options are those of `imdb`. Raises Failure if
    a file cannot be obtained or has a line of another form, and UsageError for `vectors` of another dimension.
    """
    parts = {part: _tweets(store.path("covid_tweets", name)) for part, name in FILES.items()}
    return text_dataset(
        "covid_tweets", parts, store, vocabulary=vocabulary, length=length, vectors=vectors, dimension=dimension
    )


def _tweets(file: Path) -> tuple[list[str], list[int]]:
    """The texts and labels of a file, with or without its first line. Raises Failure for a line of another form."""
    texts, labels = [], []
    with parsing(f"covid_tweets: {file} is not a file of tweets"), opened(file) as stream:
        for number, line in text_lines(stream):
            fields = line.split("\t")
            if fields == [""] or (number == 1 and fields == HEAD):
                continue
            if len(fields) != 3 or fields[2] not in CLASSES:
                raise Failure(
                    f"covid_tweets: {file}, line {number}: got {len(fields)} fields, the last {fields[-1][:30]!r}; "
                    f"allowed: Id, Text and {' or '.join(CLASSES)}, tab-separated"
                )
            texts.append(fields[1])
            labels.append(CLASSES[fields[2]])
    if not texts:
        raise Failure(f"covid_tweets: {file} has no tweets")
    return texts, labels
