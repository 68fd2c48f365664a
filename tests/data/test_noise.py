"""The data set noise: its shape, its numbers (the same at every call), and its errors."""

import pytest
import torch

from sobench.data.noise import noise
from sobench.errors import UsageError


def test_noise():
    data = noise(None, shape=(3, 8, 8), classes=4, train=400, test=100)
    again = noise(None, shape=(3, 8, 8), classes=4, train=400, test=100)
    assert data.input_shape == (3, 8, 8) and data.outputs == 4 and torch.equal(data.train[0], again.train[0])
    assert abs(data.train[0].mean()) < 0.02 and abs(data.train[0].std() - 1) < 0.02
    assert set(data.train[1].tolist()) == {0, 1, 2, 3} and not torch.equal(data.train[0][:100], data.test[0])
    assert "random numbers and random labels" in str(data)


@pytest.mark.parametrize("shape", [(), (3, 0), (3, 2.5), (True,)])
def test_refused(shape):
    with pytest.raises(UsageError, match=r"dataset.shape: got .*, allowed: whole numbers from 1 on"):
        noise(None, shape=shape, classes=2, train=1, test=1)
