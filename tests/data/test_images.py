"""Colour images: the .npz stand-in that several data sets share."""

import numpy as np
import pytest
import tiny_data

from sobench.data.cifar import cifar10
from sobench.data.store import Store
from sobench.data.svhn import svhn


@pytest.mark.parametrize("load", [cifar10, svhn])
def test_an_npz_file_stands_in(tmp_path, load):
    name = load.__name__
    arrays = tiny_data.cifar(np.random.default_rng(0), 10)
    (tmp_path / name).mkdir()
    np.savez(tmp_path / f"{name}/{name}.npz", **arrays)
    data = load(Store(tmp_path, tmp_path / "cache"))
    assert str(data) == f"{name}: 40 train, 20 test, inputs 3x32x32, 10 classes"
    assert data.train[1].tolist() == arrays["y_train"].tolist()
    expected = arrays["x_test"].transpose(0, 3, 1, 2) / np.float32(255)
    assert np.array_equal(data.test[0].numpy(), expected)
