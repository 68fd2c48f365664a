"""Data sets in LIBSVM's form: files written here, and the real files if they are there."""

import bz2
import lzma
import os

import numpy as np
import pytest
import tiny_data
import torch

from sobench.data import Store
from sobench.data.libsvm import libsvm
from sobench.errors import Failure, UsageError

TRAIN = b"2 1:0.5 3:-1\n-7 2:2\n5 \n2 1:1e-1\n"
TEST = b"5 1:1\n-7 4:3\n"
DENSE = [[0.5, 0, -1, 0], [0, 2, 0, 0], [0, 0, 0, 0], [0.1, 0, 0, 0]]


def store(tmp_path, **files) -> Store:
    (tmp_path / "mirror/libsvm").mkdir(parents=True)
    for name, content in files.items():
        (tmp_path / "mirror/libsvm" / {"a9a_t": "a9a.t"}.get(name, name.replace("_", "."))).write_bytes(content)
    return Store(tmp_path / "mirror", tmp_path / "cache")


CHANGES = {"plain": lambda b: b, "CRLF": lambda b: b.replace(b"\n", b"\r\n"), "no last end": lambda b: b.rstrip()}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_the_matrix_and_the_labels_in_order(tmp_path, change):
    data = libsvm(store(tmp_path, a9a=change(TRAIN), a9a_t=change(TEST)), set="a9a")
    assert torch.equal(data.train[0], torch.tensor(DENSE))
    assert torch.equal(data.test[0], torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 3]])), "as wide as the wider file"
    assert data.train[1].tolist() == [1, 0, 2, 1] and data.test[1].tolist() == [2, 0]
    assert data.train[0].dtype == torch.float32 and data.train[1].dtype == torch.int64
    assert str(data) == "libsvm-a9a: 4 train, 2 test, inputs 4, 3 classes"


def test_bz2(tmp_path):
    data = libsvm(store(tmp_path, usps_bz2=bz2.compress(TRAIN), usps_t_bz2=bz2.compress(TEST)), set="usps")
    assert torch.equal(data.train[0], torch.tensor(DENSE))


def webspam(tmp_path, samples):
    content = lzma.compress(tiny_data.svmlight(np.random.default_rng(0), samples, 3, (1, 1, -1)))
    folder = tmp_path / "mirror/libsvm"
    folder.mkdir(parents=True)
    (folder / "webspam_wc_normalized_unigram.svm.xz").write_bytes(content)
    return Store(tmp_path / "mirror", tmp_path / "cache")


def test_a_set_of_one_file_is_split_one_in_seven_by_class(tmp_path):
    data = libsvm(webspam(tmp_path, 210), set="webspam")
    assert len(data.train[0]) == 180 and len(data.test[0]) == 30
    assert data.train[1].bincount().tolist() == [60, 120] and data.test[1].bincount().tolist() == [10, 20]
    again = libsvm(Store(tmp_path / "mirror", tmp_path / "cache"), set="webspam")
    assert torch.equal(again.test[0], data.test[0])


def test_standardize(tmp_path):
    """Columns are standardized by the training set; the last one is constant there, and becomes 0."""
    rng = np.random.default_rng(0)
    here = store(tmp_path, a9a=tiny_data.svmlight(rng, 50, 4, (0, 1)), a9a_t=tiny_data.svmlight(rng, 20, 4, (0, 1)))
    plain, standard = libsvm(here, set="a9a"), libsvm(here, set="a9a", standardize=True)
    train, test = (part[0][:, :3].double() for part in (plain.train, plain.test))
    expected = (test - train.mean(0)) / train.std(0, correction=0)
    torch.testing.assert_close(standard.test[0][:, :3].double(), expected, rtol=1e-5, atol=1e-6)
    assert standard.train[0][:, :3].mean(0).abs().max() < 1e-6
    assert not standard.train[0][:, 3].any() and not standard.test[0][:, 3].any()


BAD = {
    "not numbers": (dict(a9a=b"one two\n", a9a_t=TEST), "a9a is not in LIBSVM's form, or it is damaged"),
    "index 0": (dict(a9a=b"1 0:1\n2 1:1\n", a9a_t=TEST), "a9a is not in LIBSVM's form"),
    "a label never trained on": (
        dict(a9a=TRAIN, a9a_t=b"4 1:1\n"),
        "the test set has the label 4, which the training set",
    ),
    "one label": (dict(a9a=b"1 1:1\n1 2:1\n", a9a_t=b"1 1:1\n"), "the training set has the label 1 alone"),
}


@pytest.mark.parametrize("files, message", BAD.values(), ids=BAD.keys())
def test_bad_files(tmp_path, files, message):
    with pytest.raises(Failure, match=message) as caught:
        libsvm(store(tmp_path, **files), set="a9a")
    assert "\n" not in str(caught.value)


def test_damaged_compression(tmp_path):
    with pytest.raises(Failure, match="usps.bz2 is not in LIBSVM's form, or it is damaged"):
        libsvm(store(tmp_path, usps_bz2=bz2.compress(TRAIN)[:-6], usps_t_bz2=bz2.compress(TEST)), set="usps")


@pytest.mark.parametrize("name", ["a8a", None, "../a9a"])
def test_an_unknown_set(tmp_path, name):
    with pytest.raises(
        UsageError, match="dataset.set: got .*, allowed: a9a, letter, mnist, pendigits, satimage, usps, webspam"
    ):
        libsvm(Store(None, tmp_path), set=name)


REAL = {  # training samples, test samples, features, samples of each class of the training set
    "a9a": (32561, 16281, 123, [24720, 7841]),
    "letter": (15000, 5000, 16, None),
    "pendigits": (7494, 3498, 16, None),
    "satimage": (4435, 2000, 36, None),
    "usps": (7291, 2007, 256, [1194, 1005, 731, 658, 652, 556, 664, 645, 542, 644]),
}


@pytest.mark.skipif(not os.environ.get("SOBENCH_DATA"), reason="SOBENCH_DATA names no mirror with the real sets")
@pytest.mark.parametrize(
    "name", [name if name == "a9a" else pytest.param(name, marks=pytest.mark.slow) for name in REAL]
)
def test_the_real_ones(tmp_path, name):
    train, test, features, histogram = REAL[name]
    data = libsvm(Store(os.environ["SOBENCH_DATA"], tmp_path / "cache"), set=name)
    assert data.train[0].shape == (train, features) and data.test[0].shape == (test, features)
    assert histogram is None or data.train[1].bincount().tolist() == histogram
