"""The diabetes data of scikit-learn: every patient once, a split that is always the same, and standardized numbers."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes

import sobench.data.diabetes as module
from sobench.data.diabetes import diabetes
from sobench.errors import Failure


def test_every_patient_is_in_exactly_one_part():
    data = diabetes(standardize=False)
    assert str(data) == "diabetes: 354 train, 88 test, inputs 10, 1 real targets"
    x, y = load_diabetes(return_X_y=True, scaled=False)
    ours = sorted(map(tuple, torch.cat([torch.cat(part, 1) for part in (data.train, data.test)]).tolist()))
    assert ours == sorted(map(tuple, np.column_stack([x, y]).astype(np.float32).tolist()))


def test_standardized_by_the_training_patients():
    plain, data = diabetes(standardize=False), diabetes()
    for i in range(2):
        train = plain.train[i].double()
        mean, deviation = train.mean(0), train.std(0, correction=0)
        for part in ("train", "test"):
            expected = (getattr(plain, part)[i].double() - mean) / deviation
            torch.testing.assert_close(getattr(data, part)[i].double(), expected, rtol=1e-5, atol=1e-5)


def test_both_parts_have_the_whole_range_of_targets():
    data = diabetes()
    assert abs(data.test[1].mean()) < 0.05 and abs(data.test[1].std() - 1) < 0.1


def test_a_file_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setattr(module, "INPUTS", "sklearn/none.csv.gz")
    with pytest.raises(Failure, match="of scikit-learn is not there, or it is damaged .*; install scikit-learn again"):
        diabetes()
