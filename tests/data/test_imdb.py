"""IMDb from archives in the format of the official one."""

import gzip
import tarfile

import pytest
import tiny_data
import torch

from sobench.data.imdb import imdb
from sobench.data.store import Store
from sobench.errors import Failure

MEMBERS = {
    "aclImdb/train/pos/10_9.txt": b"good<br />film",
    "aclImdb/train/neg/2_1.txt": b"bad film",
    "aclImdb/README": b"read",
    "aclImdb/train/pos/1_10.txt": "good caf\u00e9".encode(),
    "aclImdb/train/unsup/0_0.txt": b"unseen",
    "aclImdb/test/pos/0_10.txt": b"film film unseen",
    "aclImdb/test/neg/0_3.txt": b"bad",
    "aclImdb/train/urls_pos.txt": b"good",
}


def store(tmp_path, content: bytes, name: str = "aclImdb_v1.tar.gz") -> Store:
    (tmp_path / "mirror/imdb").mkdir(parents=True)
    (tmp_path / "mirror/imdb" / name).write_bytes(content)
    return Store(tmp_path / "mirror", tmp_path / "cache")


@pytest.mark.parametrize("name", ["aclImdb_v1.tar.gz", "aclImdb_labelled_50k.tar.gz"])
@pytest.mark.parametrize("order", [1, -1])
def test_reviews_in_the_order_of_class_and_name(tmp_path, name, order):
    """The samples do not depend on the order of the archive, and reviews without a label are skipped."""
    members = dict(list(MEMBERS.items())[::order])
    data = imdb(store(tmp_path, tiny_data.archive(members), name), length=3, vectors=None, dimension=4)
    film, good, bad, cafe = 2, 3, 4, 5  # film and good twice, then bad and café once
    assert data.train[0].tolist() == [[0, bad, film], [0, good, film], [0, good, cafe]] and data.train[1].tolist() == [
        0,
        1,
        1,
    ]
    assert data.test[0].tolist() == [[0, 0, bad], [film, film, 1]] and data.test[1].tolist() == [0, 1]
    assert data.train[0].dtype == data.train[1].dtype == torch.int64 and data.vectors.shape == (6, 4)
    assert str(data) == "imdb: 3 train, 2 test, inputs of 3 words, 2 classes, 4 words, their vectors drawn"
    assert data.classes == data.outputs == 2 and data.input_shape == (3,) and data.validation is None
    assert not (tmp_path / "cache").exists(), "nothing is unpacked"


@pytest.mark.parametrize(
    "content, message",
    [
        (b"x" * 600, "is not the archive, or it is damaged"),
        (tiny_data.archive(MEMBERS)[:200], "is not the archive, or it is damaged"),
        (
            tiny_data.archive({"aclImdb/train/pos/0_9.txt": b"x"}),
            "no reviews in aclImdb/train/pos or in aclImdb/train/neg",
        ),
    ],
)
def test_another_file(tmp_path, content, message):
    with pytest.raises(Failure, match=message):
        imdb(store(tmp_path, content), vectors=None)


def announced(size: int) -> bytes:
    """An archive whose first review announces this many bytes."""
    entry = tarfile.TarInfo("aclImdb/train/pos/0_9.txt")
    entry.size = size
    return gzip.compress(entry.tobuf(tarfile.GNU_FORMAT) + b"good film".ljust(512, b"\0") + bytes(1024))


@pytest.mark.parametrize(
    "content, message",
    [
        (announced(2**80), r"0_9.txt has 1,208,925,819,614,629,174,706,176 bytes; allowed: up to 1,048,576"),
        (announced(2**20), "damaged"),
        (
            tiny_data.archive(MEMBERS | {"aclImdb/test/neg/0_3.txt": b"caf\xe9"}),
            "test/neg/0_3.txt: 'utf-8' codec can't",
        ),
        (gzip.compress(2 * gzip.decompress(tiny_data.archive(MEMBERS))[:8192]), "10_9.txt is there twice"),
    ],
    ids=["a size that no file has", "a size that the archive has not", "no text", "twice"],
)
def test_what_a_review_cannot_be(tmp_path, content, message):
    with pytest.raises(Failure, match=message) as caught:
        imdb(store(tmp_path, content), vectors=None)
    assert "\n" not in str(caught.value)


def test_the_checksum_at_the_end_is_verified(tmp_path):
    """The archive ends before the file does: gzip's checksum is that of bytes which tarfile does not read."""
    content = tiny_data.archive(MEMBERS)
    with pytest.raises(Failure, match="is not the archive, or it is damaged .CRC check failed"):
        imdb(store(tmp_path, content[:-8] + bytes([content[-8] ^ 1]) + content[-7:]), vectors=None)


def test_not_at_hand(tmp_path):
    (tmp_path / "mirror").mkdir()
    here = Store(tmp_path / "mirror", tmp_path / "cache")
    assert here.source("imdb").urls and here.stand_in("imdb") is None
    assert not here.source("imdb").verifiable
