"""MNIST from files in its format, and from the real files if they are there."""

import os

import numpy as np
import pytest
import torch
from torchvision.datasets import MNIST

from sobench.data import Store
from sobench.data.mnist import mnist
from sobench.data.sources import declared
from sobench.errors import Failure, UsageError


def test_decodes_the_arrays_that_were_written(small, tmp_path):
    data = mnist(small.store(small.write(tmp_path / "mirror"), tmp_path / "cache"))
    for part, (inputs, targets) in (("train", data.train), ("t10k", data.test)):
        images = small.arrays[f"{part}-images-idx3-ubyte.gz"]
        expected = torch.from_numpy(images.astype(np.float32) / np.float32(255))[:, None]
        assert torch.equal(inputs, expected)
        assert torch.equal(targets, torch.from_numpy(small.arrays[f"{part}-labels-idx1-ubyte.gz"]).long())
    assert data.input_shape == (1, 28, 28) and data.classes == 10


def test_standardize(small, tmp_path):
    data = mnist(small.store(small.write(tmp_path / "mirror"), tmp_path / "cache"), standardize=True)
    train = small.arrays["train-images-idx3-ubyte.gz"].astype(np.float64)
    expected = (small.arrays["t10k-images-idx3-ubyte.gz"] - train.mean()) / train.std()
    np.testing.assert_allclose(data.test[0][:, 0].double().numpy(), expected, rtol=1e-5, atol=1e-6)
    assert abs(float(data.train[0].double().mean())) < 1e-6
    assert float(data.train[0].double().std(correction=0)) == pytest.approx(1, abs=1e-6)


def test_a_second_load_is_the_same_object_and_another_option_is_not(small, tmp_path):
    store = small.store(small.write(tmp_path / "mirror"), tmp_path / "cache")
    first = mnist(store)
    assert mnist(store) is first
    assert mnist(store, standardize=True) is not first


def test_a_file_damaged_after_the_first_load_is_noticed(small, tmp_path):
    store = small.store(small.write(tmp_path / "mirror"), tmp_path / "cache")
    mnist(store)
    (tmp_path / "mirror/MNIST/raw/t10k-labels-idx1-ubyte.gz").write_bytes(b"damaged")
    with pytest.raises(Failure, match="t10k-labels-idx1-ubyte.gz"):
        mnist(store)


def test_declared_files_are_those_of_torchvision():
    source = declared()["mnist"]
    assert {(name, file.checksum) for name, file in source.files.items()} == {
        (name, f"md5:{md5}") for name, md5 in MNIST.resources
    }
    assert list(source.urls) == MNIST.mirrors


@pytest.mark.skipif(not os.environ.get("SOBENCH_DATA"), reason="SOBENCH_DATA names no mirror with the real MNIST")
def test_the_real_one(tmp_path):
    data = mnist(Store(os.environ["SOBENCH_DATA"], tmp_path / "cache"))
    assert data.train[0].shape == (60000, 1, 28, 28) and data.test[0].shape == (10000, 1, 28, 28)
    assert data.train[1].bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert data.test[1].bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert float(data.train[0].double().mean()) == pytest.approx(0.1307, abs=5e-5)
    assert float(data.train[0].double().std()) == pytest.approx(0.3081, abs=5e-5)
    assert data.train[0].min() == 0 and data.train[0].max() == 1
    assert not (tmp_path / "cache").exists(), "what the mirror has is not copied"


def test_size_and_per_feature(small, tmp_path):
    store = small.store(small.write(tmp_path / "mirror"), tmp_path / "cache")
    data = mnist(store, size=14)
    images = small.arrays["t10k-images-idx3-ubyte.gz"].astype(np.float64) / 255
    expected = images.reshape(20, 14, 2, 14, 2).mean((2, 4))
    np.testing.assert_allclose(data.test[0][:, 0].numpy(), expected, rtol=1e-6)
    assert mnist(store, size=16).input_shape == (1, 16, 16)
    standard = mnist(store, size=14, standardize=True, per_feature=True).train[0].double()
    assert standard.mean(0).abs().max() < 1e-6 and (standard.std(0, correction=0) - 1).abs().max() < 1e-6
    with pytest.raises(UsageError, match="dataset.size: got 29"):
        mnist(store, size=29)
