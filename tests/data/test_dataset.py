"""The last check of every data set, those of plug-ins too: its values are finite, and its labels are classes."""

import pytest
import torch

from sobench.data import Dataset
from sobench.errors import UsageError

INPUTS, LABELS, NUMBERS = torch.ones(4, 3), torch.tensor([0, 1, 2, 1]), torch.ones(4, 2)


def changed(tensor: torch.Tensor, value: float) -> torch.Tensor:
    other = tensor.clone()
    other.view(-1)[-1] = value
    return other


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("part", ["train", "test", "validation"])
def test_values_that_are_not_finite(part, value):
    good = dict.fromkeys(("train", "test", "validation"), (INPUTS, NUMBERS))
    Dataset("own", **good, classes=None)
    for kind, bad in (("inputs", (changed(INPUTS, value), NUMBERS)), ("targets", (INPUTS, changed(NUMBERS, value)))):
        with pytest.raises(UsageError, match=f"own: the {kind} of {part} have values from .* allowed: finite"):
            Dataset("own", **(good | {part: bad}), classes=None)


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_that_are_no_class(label):
    Dataset("own", (INPUTS, LABELS), (INPUTS, LABELS), 3)
    with pytest.raises(UsageError, match=r"own: test has labels from .*; allowed: 0 to 2"):
        Dataset("own", (INPUTS, LABELS), (INPUTS, changed(LABELS, label)), 3)
