"""The digits of scikit-learn: counts, scaling, and a split that is always the same."""

import gzip
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import sobench.data.digits as module
from sobench.data import Store
from sobench.data.digits import digits
from sobench.errors import Failure


@pytest.fixture
def store(tmp_path):
    return Store(None, tmp_path / "cache")


def test_shapes_and_range(store, tmp_path):
    data = digits(store)
    assert data.train[0].shape == (1437, 1, 8, 8) and data.test[0].shape == (360, 1, 8, 8)
    assert data.train[0].dtype == torch.float32 and data.train[1].dtype == torch.int64
    assert (data.input_shape, data.classes, data.outputs) == ((1, 8, 8), 10, 10)
    assert data.train[0].min() == 0 and data.train[0].max() == 1
    assert str(data) == "digits: 1437 train, 360 test, inputs 1x8x8, 10 classes"
    assert not list(tmp_path.iterdir()), "digits need no file and leave none"


def test_every_image_is_in_exactly_one_part_with_its_own_label(store):
    data = digits(store)
    images, labels = load_digits(return_X_y=True)
    rows = [
        torch.cat([inputs.reshape(len(inputs), 64) * 16, targets[:, None].float()], 1)
        for inputs, targets in (data.train, data.test)
    ]
    ours = sorted(map(tuple, torch.cat(rows).tolist()))
    assert ours == sorted(map(tuple, np.column_stack([images, labels]).tolist()))


@pytest.mark.filterwarnings("ignore:loadtxt")
@pytest.mark.parametrize(
    "content",
    [None, b"", b"no archive", b"0," * 64 + b"?", b"0," * 64 + b"1"],
    ids=["missing", "empty", "no archive", "no number", "one line"],
)
def test_an_installation_without_its_file_is_one_line(store, tmp_path, monkeypatch, content):
    file = tmp_path / "digits.csv.gz"
    if content is not None:
        file.write_bytes(gzip.compress(content) if content.startswith(b"0") else content)
    monkeypatch.setattr(module, "FILE", str(file))
    with pytest.raises(
        Failure, match=r"of scikit-learn is not there, or it is damaged \(.*\); install scikit-learn again"
    ):
        digits(store)


def test_split_is_stratified(store):
    data = digits(store)
    train, test = (targets.bincount(minlength=10) for _, targets in (data.train, data.test))
    assert ((test - (train + test) / 5).abs() <= 1).all()


def test_split_does_not_depend_on_the_seed(store):
    np.random.seed(1), torch.manual_seed(1)
    first = digits(store)
    np.random.seed(2), torch.manual_seed(2)
    second = digits(store)
    assert torch.equal(first.train[0], second.train[0]) and torch.equal(first.test[1], second.test[1])


def test_standardize_uses_the_training_images_only(store):
    plain, standard = digits(store), digits(store, standardize=True)
    pixels = plain.train[0].double()
    mean, deviation = pixels.mean(), pixels.std(correction=0)
    for part in ("train", "test"):
        expected = (getattr(plain, part)[0].double() - mean) / deviation
        torch.testing.assert_close(getattr(standard, part)[0].double(), expected, rtol=1e-6, atol=1e-6)


def test_scikit_learn_is_not_imported():
    """Nor by the other set that is a file of it."""
    code = (
        "import sys; from sobench.data.digits import digits; from sobench.data.diabetes import diabetes\n"
        "digits(None); diabetes(); assert not {'sklearn', 'scipy'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
