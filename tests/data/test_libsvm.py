"""Data sets in LIBSVM's form: files written here, and the real files if they are there."""

import bz2
import lzma
import os
from dataclasses import replace

import numpy as np
import pytest
import tiny_data
import torch
from harness import command, directories, summary

from sobench.data import Store
from sobench.data.libsvm import libsvm
from sobench.data.sources import declared
from sobench.errors import Failure, UsageError

TRAIN = b"2 1:0.5 3:-1\n-7 2:2\n5 \n2 1:1e-1\n"
TEST = b"5 1:1\n-7 4:3\n"
DENSE = [[0.5, 0, -1, 0], [0, 2, 0, 0], [0, 0, 0, 0], [0.1, 0, 0, 0]]


def store(tmp_path, **files) -> Store:
    (tmp_path / "mirror/libsvm").mkdir(parents=True)
    for name, content in files.items():
        (tmp_path / "mirror/libsvm" / {"a9a_t": "a9a.t"}.get(name, name.replace("_", "."))).write_bytes(content)
    free = replace(declared()["libsvm-a9a"], features=0, classes=0, rows=())
    return Store(tmp_path / "mirror", tmp_path / "cache", declared() | {"libsvm-a9a": free})


CHANGES = {
    "plain": lambda b: b,
    "CRLF": lambda b: b.replace(b"\n", b"\r\n"),
    "no last end": lambda b: b.rstrip(),
    "BOM": lambda b: b"\xef\xbb\xbf" + b,
    "comments": lambda b: b"# a comment\n\n" + b.replace(b"\n", b" # 9:nan\n", 1),
}


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
    "not numbers": (dict(a9a=b"one two\n", a9a_t=TEST), "a9a, line 1: got the label 'one'; allowed: a whole number"),
    "index 0": (dict(a9a=b"1 0:1\n2 1:1\n", a9a_t=TEST), "a9a, line 1: got '0:1'; allowed: index:value, with a whole"),
    "NaN": (dict(a9a=TRAIN + b"5 2:1 3:nan\n", a9a_t=TEST), "a9a, line 5: got '3:nan'; allowed: .* number from 3 to"),
    "infinity": (dict(a9a=TRAIN, a9a_t=b"5 1:1\n\n5 1:-inf\n"), r"a9a.t, line 3: got '1:-inf'; allowed: .* a finite"),
    "beyond float32": (
        dict(a9a=b"#\n2 1:1e39\n" + TRAIN, a9a_t=TEST),
        "a9a, line 2: got '1:1e39'; .* single precision",
    ),
    "a label NaN": (dict(a9a=TRAIN + b"nan 1:1\n", a9a_t=TEST), "a9a, line 5: got the label 'nan'; allowed: a whole"),
    "a real label": (dict(a9a=TRAIN + b"2.5 1:1\n", a9a_t=TEST), "a9a, line 5: got the label '2.5'; allowed: a whole"),
    "an index twice": (dict(a9a=b"1 2:1 2:3\n", a9a_t=TEST), "a9a, line 1: got '2:3'; allowed: .* number from 3 to"),
    "no value": (dict(a9a=TRAIN + b"5 2:1 3", a9a_t=TEST), "a9a, line 5: got '3'; allowed: index:value"),
    "a huge index": (
        dict(a9a=TRAIN, a9a_t=TEST + b"5 2147483647:1"),
        "a9a.t, line 3: got '2147483647:1'; .* to 100000 ",
    ),
    "a larger index": (
        dict(a9a=b"1 99999999999999999999:1\n", a9a_t=TEST),
        "a9a, line 1: got '99999999999999999999:1'",
    ),
    "a wide matrix": (dict(a9a=TRAIN * 1000, a9a_t=TEST + b"5 90000:1"), "a9a.t, line 3: got '90000:1'; .* to 33529 "),
    "comments alone": (dict(a9a=b"# no sample\n\n", a9a_t=TEST), "a9a is not in .* damaged .it has no samples"),
    "a long line": (dict(a9a=b"1 1:1" + bytes(2**20), a9a_t=TEST), "line 1 has more than 1,048,576 bytes"),
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


def test_a_declared_set_has_no_more_features_and_classes(tmp_path):
    """Of a set with declared sizes, a damaged index or label is found although it is a number."""
    here = Store(store(tmp_path, a9a=b"-1 1:1\n+1 923:1\n", a9a_t=b"1 1:1\n").mirror, tmp_path / "cache")
    with pytest.raises(Failure, match="a9a, line 2: got '923:1'; allowed: .* number from 1 to 123 "):
        libsvm(here, set="a9a")
    (tmp_path / "mirror/libsvm/a9a").write_bytes(b"-1 1:1\n+1 92:1\n11 2:1\n")
    with pytest.raises(Failure, match="libsvm-a9a: the training set has 3 labels, -1, 1, 11; allowed: 2 labels"):
        libsvm(here, set="a9a")


def test_an_empty_file_is_said_to_be_empty(tmp_path, monkeypatch, capsys):
    def refuse(url, timeout):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    message = "cannot get a9a .*; .*/mirror/libsvm/a9a is empty and is not used; .*; manual download"
    with pytest.raises(Failure, match=message):
        libsvm(store(tmp_path, a9a=b"", a9a_t=TEST), set="a9a")
    assert "libsvm/a9a is empty and is not used" in capsys.readouterr().err


def test_values_that_only_standardized_ones_exceed(tmp_path):
    """A test value far outside a tiny training range is no number in single precision."""
    files = dict(a9a=b"1 1:1e-30\n2 1:2e-30\n", a9a_t=b"1 1:1e30\n")
    assert libsvm(store(tmp_path, **files), set="a9a").test[0].item() == pytest.approx(1e30)
    with pytest.raises(UsageError, match="libsvm-a9a: the inputs of test have values from inf to inf; allowed: finite"):
        libsvm(Store(tmp_path / "mirror", tmp_path / "cache"), set="a9a", standardize=True)


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


def test_a_damaged_file_is_no_run_that_diverged(workplace):
    """The command ends with an error that names the line, and leaves no run that counts as a result."""
    tiny_data.write(workplace / "mirror")
    with (workplace / "mirror/libsvm/a9a").open("ab") as file:
        file.write(b"+1 3:nan\n")
    ended = command("run", "dataset=a9a", "data.mirror=mirror", "model=linear", "budget.steps=3", "batch_size=10")
    assert ended.code == 1
    assert "libsvm/a9a, line 71: got '3:nan'; allowed: index:value, with a whole number from 1 to" in ended.err
    assert "Traceback" not in ended.err and "diverged" not in ended.err
    assert {summary(path)["status"] for path in directories() if (path / "summary.json").exists()} <= {"failed"}
