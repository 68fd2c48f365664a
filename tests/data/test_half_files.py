"""Files that are parts of a data set, special files, and small files that unpack to more than the memory holds."""

import bz2
import gzip
import io
import json
import lzma
import re
import tarfile
import tracemalloc
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import tiny_data
from harness import SMALL, SPECIAL, command

from sobench.data import Store, load, reading
from sobench.data.imdb import imdb
from sobench.data.libsvm import libsvm
from sobench.data.npz import npz
from sobench.data.sars_cov2 import sars_cov2
from sobench.data.sources import File, Source, declared
from sobench.data.vectors import initial_vectors
from sobench.errors import Failure, SobenchError
from sobench.system import environment


def store(folder, name, files, **changes) -> Store:
    """A store of one data set with these files, and these changes of its declaration."""
    source = replace(declared()[name], **changes)
    (folder / source.folder).mkdir(parents=True)
    for file, content in files.items():
        (folder / source.folder / file).write_bytes(content)
    return Store(folder, folder / "cache", {name: source})


@contextmanager
def refused(message: str, memory: float = 20e6):
    """The block raises an error in one line, after it has allocated little."""
    tracemalloc.start()
    try:
        with pytest.raises(SobenchError, match=message) as caught:
            yield
        assert "\n" not in str(caught.value) and tracemalloc.get_traced_memory()[1] < memory
    finally:
        tracemalloc.stop()


# Parts of a data set


def reviews(**counts: int) -> bytes:
    """An archive with this many reviews in each folder, by names such as train_pos."""
    names = [f"aclImdb/{folder.replace('_', '/')}/{i}_9.txt" for folder, n in counts.items() for i in range(n)]
    return tiny_data.archive(dict.fromkeys(names, b"a film"))


@pytest.mark.parametrize("name", ["aclImdb_v1.tar.gz", "aclImdb_labelled_50k.tar.gz"])
@pytest.mark.parametrize(
    "counts, message",
    [
        ({"train_pos": 3, "train_neg": 3, "test_pos": 2, "test_neg": 2}, ""),
        (
            {"train_pos": 3, "train_neg": 3, "test_pos": 1, "test_neg": 1},
            "the test set of .* has 2 samples, 1 of a class; allowed: 4, 2 of each class",
        ),
        (
            {"train_pos": 4, "train_neg": 2, "test_pos": 2, "test_neg": 2},
            "the training set of .* has 6 samples, 2 to 4 of a class; allowed: 6, 3 of each class",
        ),
    ],
    ids=["whole", "half of the test set", "another share of the classes"],
)
def test_imdb_has_the_published_rows_of_each_class(tmp_path, name, counts, message):
    here = store(tmp_path, "imdb", {name: reviews(**counts)}, rows=(6, 4))
    options = {"vectors": None, "dimension": 3, "length": 4}
    if not message:
        assert len(load("imdb", options, here).train[1]) == 6
    else:
        with refused(message):
            load("imdb", options, here)


@pytest.mark.parametrize("lines, count", [(9, "has 9 samples; allowed: 10"), (11, "more than 10 samples; allowed: 10")])
def test_a_text_file_has_the_published_rows(tmp_path, lines, count):
    files = {"a9a": b"1 1:1\n-1 2:1\n" * 5, "a9a.t": b"1 1:1\n-1 2:1\n" * 2}
    assert len(load("libsvm", {"set": "a9a"}, store(tmp_path / "1", "libsvm-a9a", files, rows=(10, 4))).train[0]) == 10
    cut = files | {"a9a": b"".join((b"1 1:1\n-1 2:1\n" * 6).splitlines(keepends=True)[:lines])}
    with refused(count):
        load("libsvm", {"set": "a9a"}, store(tmp_path / "2", "libsvm-a9a", cut, rows=(10, 4)))


@pytest.mark.parametrize("suffix, module", [(".gz", gzip), (".bz2", bz2), (".xz", lzma)])
def test_a_compressed_file_that_is_cut_anywhere_is_refused_without_declared_rows(tmp_path, suffix, module):
    name, text = f"usps{suffix}", b"".join(b"%d 1:0.%d 3:0.%d\n" % (i % 2 + 1, i, 7 * i) for i in range(40))
    whole, place, source = module.compress(text), tmp_path / name, Source("libsvm-usps", "", files={name: File(name)})
    place.write_bytes(whole)
    data = Store(tmp_path, tmp_path / "cache", {source.name: source})
    assert len(libsvm(data, set="usps").train[1]) + len(libsvm(data, set="usps").test[1]) == 40
    for length in range(1, len(whole)):
        place.write_bytes(whole[:length])
        with pytest.raises(Failure, match=f"{name} is not in LIBSVM's form, or it is damaged") as caught:
            libsvm(data, set="usps")
        assert "\n" not in str(caught.value), length


def test_a_partial_stand_in_may_have_any_number_of_rows(tmp_path):
    stream = io.BytesIO()
    np.savez(stream, **tiny_data.cifar(np.random.default_rng(0), 10))
    here = store(tmp_path, "cifar10", {"cifar10.npz": stream.getvalue()})
    assert len(load("cifar10", {}, here).train[0]) == tiny_data.SAMPLES["train"] != here.source("cifar10").rows[0]


def test_the_declared_rows_are_those_of_the_data_sets_pages():
    """IMDb: Maas et al. (2011), section 4.2, as many positive as negative reviews. webspam has 350,000 lines."""
    assert declared()["imdb"].rows == (25000, 25000) and declared()["imdb"].balanced
    assert sum(declared()["libsvm-webspam"].rows) == 350_000
    whole = {name: source for name, source in declared().items() if source.files and source.kind != "vectors"}
    assert [name for name, source in whole.items() if len(source.rows) != 2] == ["faces_synthetic"]


# Special files


@pytest.mark.parametrize("kind", SPECIAL)
def test_a_special_file_as_ones_own_data(workplace, kind):
    """The checksum of the file is part of the run's identity, so that it is asked for before the loader."""
    SPECIAL[kind](workplace / "own.npz")
    done = command("run", "dataset=npz", "dataset.path=own.npz", *SMALL)
    assert done.code == 2 and done.errors == ["sobench: dataset.path: own.npz is not a file"]
    SPECIAL[kind](workplace / "own.txt")
    words = ["dataset=imdb", "model=lstm", "dataset.vectors=own.txt", "data.mirror=mirror"]
    (workplace / "mirror/imdb").mkdir(parents=True)
    archive = reviews(train_pos=1, train_neg=1, test_pos=1, test_neg=1)
    (workplace / "mirror/imdb/aclImdb_v1.tar.gz").write_bytes(archive)
    done = command("run", *words, "budget=smoke", "threads=1")
    assert done.code == 2 and len(done.errors) == 1 and "'own.txt', which is not a file" in done.err


@pytest.mark.parametrize("kind", SPECIAL)
def test_a_special_file_among_images(tmp_path, kind):
    rng = np.random.default_rng(0)
    tiny_data.write_scans(tmp_path / "sars_cov2", rng)
    SPECIAL[kind](tmp_path / "sars_cov2/COVID/0.png")
    with refused("COVID/0.png is not an image, or it is damaged .it is not a file"):
        sars_cov2(Store(tmp_path, tmp_path / "cache"))


# What unpacks to more than the memory holds


def test_arrays_beyond_the_memory_are_refused_by_their_shapes(tmp_path, monkeypatch):
    """Four kilobytes that unpack to 4 MB: x has 10^6 bytes, which become numbers of 4 bytes."""
    x, y = np.zeros((1000, 1000), np.uint8), np.arange(1000) % 2
    np.savez_compressed(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x[:10], y_test=y[:10])
    needed = 4 * (x.size + x[:10].size) + 8 * (y.size + 10)
    monkeypatch.setattr(environment, "available_memory", lambda device: needed - 1)
    with refused(rf"own.npz: it needs {needed:,} bytes of memory; allowed: up to {needed - 1:,}", memory=1e6):
        npz(Store(None, tmp_path), path=str(tmp_path / "own.npz"))
    monkeypatch.setattr(environment, "available_memory", lambda device: needed)
    assert len(npz(Store(None, tmp_path), path=str(tmp_path / "own.npz")).train[0]) == 1000


def test_a_single_array_is_refused_by_its_first_bytes(tmp_path):
    with (tmp_path / "own.npz").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (3 << 30,)})
        file.truncate(file.tell() + (3 << 30))  # a file with a hole
    with refused("it is a single array", memory=1e6):
        npz(Store(None, tmp_path), path=str(tmp_path / "own.npz"))


@pytest.mark.parametrize("end", ["txt", "json"])
def test_a_line_of_a_gigabyte(tmp_path, monkeypatch, end):
    monkeypatch.setattr(environment, "available_memory", lambda device: 8 << 30)
    (file := tmp_path / f"own.{end}").touch()
    with file.open("rb+") as stream:
        stream.truncate(1 << 30)
    message = {"txt": "line 1 has more than 1,048,576 bytes", "json": "needs 17,179,869,184 bytes of memory"}[end]
    with refused(message):
        initial_vectors(Store(None, tmp_path), str(file), ["a"], 3)


def test_a_json_file_within_the_memory_is_read(tmp_path):
    (tmp_path / "own.json").write_text(json.dumps({"a": [1, 2, 3]}))
    assert initial_vectors(Store(None, tmp_path), str(tmp_path / "own.json"), ["a"], 3)[0][2].tolist() == [1, 2, 3]


def test_a_line_with_more_numbers_than_features(tmp_path):
    """The numbers are counted before the line is parsed; the message names the first index that is too large."""
    line = b"1 " + b" ".join(b"%d:1" % i for i in range(1, 200)) + b"\n"
    here = store(tmp_path, "libsvm-a9a", {"a9a": line, "a9a.t": line})
    with refused("a9a, line 1: got '124:1'; allowed: .* from 124 to 123"):
        libsvm(here, set="a9a")


def pax(size: int) -> bytes:
    """An archive whose first header announces attributes of this size, which tarfile reads at once."""
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, size
    return gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(4096))


def test_an_archive_that_unpacks_to_too_much(tmp_path, monkeypatch):
    with refused(r"a part of it has 2,147,483,648 bytes; allowed: up to 1,048,576"):
        imdb(store(tmp_path / "1", "imdb", {"aclImdb_v1.tar.gz": pax(2**31)}), vectors=None)
    whole = reviews(train_pos=1, train_neg=1, test_pos=1, test_neg=1)
    monkeypatch.setattr(reading, "UNPACKED", len(gzip.decompress(whole)))
    imdb(store(tmp_path / "2", "imdb", {"aclImdb_v1.tar.gz": whole}), vectors=None, dimension=3)
    behind = gzip.compress(gzip.decompress(whole) + bytes(4 << 20))
    with refused(re.escape("it unpacks to more than")):
        imdb(store(tmp_path / "3", "imdb", {"aclImdb_v1.tar.gz": behind}), vectors=None)
    with pytest.raises(Failure, match="is not the archive, or it is damaged"):
        imdb(store(tmp_path / "4", "imdb", {"aclImdb_v1.tar.gz": behind[:-1]}), vectors=None)
