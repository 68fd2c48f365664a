"""The last check of every data set, those of plug-ins too: its values are finite, and its labels are classes."""

import pytest
import torch

from sobench.data import Dataset, Store, load
from sobench.data.dataset import Description, described, held_out
from sobench.data.sources import declared
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


@pytest.mark.parametrize("note", ["", "25 words, 4 with vectors of file.json"])
@pytest.mark.parametrize("own", [0, 3])
@pytest.mark.parametrize(("targets", "classes"), [(LABELS, 3), (NUMBERS, None)])
def test_the_description_in_a_record_is_read_again(targets, classes, own, note):
    validation = (INPUTS[:own], targets[:own]) if own else None
    data = Dataset("a-b", (INPUTS, targets), (INPUTS[:2], targets[:2]), classes, validation=validation, note=note)
    assert described(str(data)) == Description("a-b", 4, own, 2, note)


def test_rows_held_out_leave_the_training_set_unless_the_set_has_its_own():
    given = Description("a", 7291, 0, 2007)
    assert held_out(7291, 0.2) == 1458 == round(7291 / 5)
    assert given.held_out(0.2) == Description("a", 7291 - 1458, 1458, 2007) and given.held_out(0.0) == given
    assert Description("a", 70, 10, 20).held_out(0.2) == Description("a", 70, 10, 20)
    assert Description("a", 70, 10, 20).held_out(0.0) == Description("a", 70, 0, 20)


@pytest.mark.parametrize("samples", [1, 3, 7, 10])
def test_a_part_is_evenly_spaced_and_has_every_class_of_a_sorted_set(samples):
    """Sample i of n is number floor(i N / n): gaps differ by at most one, and a smaller set is taken whole."""
    labels = torch.arange(20).div(4, rounding_mode="floor")
    inputs = torch.arange(20.0).view(20, 1)
    data = Dataset("a", (inputs, labels), (inputs[:7], labels[:7]), 5, validation=(inputs[:12], labels[:12]), note="n")
    part = data.part(samples)
    assert part.train[0].flatten().tolist() == [i * 20 // samples for i in range(samples)]
    gaps = part.train[0].flatten().diff().tolist()
    assert not gaps or max(gaps) - min(gaps) <= 1
    assert samples < 5 or set(part.train[1].tolist()) == {0, 1, 2, 3, 4}
    assert part.validation is not None and len(part.validation[0]) == samples and len(part.test[0]) == min(7, samples)
    assert all(
        torch.equal(inputs[x.long().flatten()], x) and torch.equal(labels[x.long().flatten()], y)
        for x, y in (part.train, part.test, part.validation)
    )
    assert described(str(part)) == Description("a", samples, samples, min(7, samples), "n, evenly spaced samples")
    assert data.part(None) is data and data.part(20) is data


def test_the_declared_rows_are_those_of_the_set(tmp_path):
    found = described(str(load("digits", {}, Store(None, tmp_path))))
    assert found is not None and (found.train, found.test) == declared()["digits"].rows
