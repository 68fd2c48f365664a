"""covid_tweets: reading its three files, and the messages for wrong or missing ones."""

import pytest
import torch

from sobench.data import prepare
from sobench.data.covid_tweets import covid_tweets
from sobench.data.store import Store
from sobench.errors import Failure

HEAD = "Id\tText\tLabel\n"
FILES = {
    "train.tsv": HEAD + '1\t@USER 5 new "cases\tINFORMATIVE\n2\tcases, cases HTTPURL\tUNINFORMATIVE\r\n',
    "valid.tsv": HEAD + "3\tnew user\tINFORMATIVE",
    "test.tsv": HEAD + "4\told user\tUNINFORMATIVE\n5\t5\tINFORMATIVE\n\n",
}


def store(tmp_path, **changes: str) -> Store:
    (tmp_path / "mirror/covid_tweets").mkdir(parents=True)
    for name, text in FILES.items():
        (tmp_path / "mirror/covid_tweets" / name).write_bytes(changes.get(name.removesuffix(".tsv"), text).encode())
    return Store(tmp_path / "mirror", tmp_path / "cache")


def test_three_parts(tmp_path):
    data = covid_tweets(store(tmp_path), length=4, vectors=None, dimension=3)
    cases, five, httpurl, new, user = range(2, 7)
    assert data.train[0].tolist() == [[user, five, new, cases], [0, cases, cases, httpurl]]
    assert data.validation[0].tolist() == [[0, 0, new, user]] and data.test[0].tolist() == [
        [0, 0, 1, user],
        [0, 0, 0, five],
    ]
    assert [part[1].tolist() for part in (data.train, data.validation, data.test)] == [[1, 0], [1], [0, 1]]
    assert data.test[1].dtype == torch.int64
    assert str(data).startswith("covid_tweets: 2 train, 1 validation, 2 test, inputs of 4 words, 2 classes, 5 words")


@pytest.mark.parametrize(
    "line, message",
    [
        (
            "1\ttext",
            "train.tsv, line 2: got 2 fields, the last 'text'; "
            "allowed: Id, Text and UNINFORMATIVE or INFORMATIVE, tab-",
        ),
        ("1\ta\tb\tINFORMATIVE", "line 2: got 4 fields"),
        ("1\ttext\tinformative", "the last 'informative'"),
    ],
)
def test_a_line_of_another_form(tmp_path, line, message):
    with pytest.raises(Failure, match=message):
        covid_tweets(store(tmp_path, train=HEAD + line), vectors=None)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_file_without_its_first_line_loses_no_tweet(tmp_path, mark):
    data = covid_tweets(
        store(tmp_path, train=mark + FILES["train.tsv"].removeprefix(HEAD)), length=4, vectors=None, dimension=3
    )
    assert data.train[1].tolist() == [1, 0]


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "train.tsv is empty"),
        (HEAD, "train.tsv has no tweets"),
        ("\n\n", "train.tsv has no tweets"),
        ("Tweet\tClass\n1\ta\tINFORMATIVE\n", "line 1: got 2 fields, the last 'Class'; allowed: Id, Text and"),
        (f"{HEAD}{HEAD}", "line 2: got 3 fields, the last 'Label'"),
    ],
)
def test_no_tweets(tmp_path, content, message):
    with pytest.raises(Failure, match=message):
        covid_tweets(store(tmp_path, train=content), vectors=None)


def test_a_byte_that_is_no_text_is_named_with_its_line(tmp_path):
    here = store(tmp_path)
    (tmp_path / "mirror/covid_tweets/test.tsv").write_bytes(HEAD.encode() + b"1\tcaf\xe9\tINFORMATIVE\n")
    with pytest.raises(Failure, match=r"test.tsv is not .* damaged \(line 2: 'utf-8' codec can't decode byte 0xe9"):
        covid_tweets(here, vectors=None)


def test_where_they_are_to_be_had(tmp_path):
    """The files are never downloaded: one line gives the reason and the folders for a manual download."""
    (tmp_path / "mirror").mkdir()
    message = (
        r"covid_tweets: cannot get train.tsv: the platform's terms forbid passing tweets on; .*COVID19Tweet; "
        rf"manual download: put it in {tmp_path}/cache/covid_tweets or {tmp_path}/mirror/covid_tweets"
    )
    with pytest.raises(Failure, match=message):
        prepare({"name": "covid_tweets", "vectors": None}, Store(tmp_path / "mirror", tmp_path / "cache"))


def test_word_vectors_are_had_beforehand(tmp_path):
    """With vectors: glove, the run fails before it starts if the vectors cannot be obtained."""
    here = store(tmp_path)
    prepare({"name": "covid_tweets", "vectors": None}, here)
    prepare({"name": "covid_tweets", "vectors": "own.txt"}, here)
    (tmp_path / "mirror/glove").mkdir()
    (tmp_path / "mirror/glove/glove-50d-5k.json").write_bytes(b"{}")
    prepare({"name": "covid_tweets", "vectors": "glove"}, here)
