"""free_mlp: only the free weights change, whatever an optimizer does, and their gradient is that of the perceptron."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sobench.errors import UsageError
from sobench.models.free import FreeLinear, free_mlp
from sobench.models.mlp import mlp

SHAPE, WIDTHS = (2, 3), [5, 4]


def model(seed: int = 0, free: int = 2) -> torch.nn.Sequential:
    torch.manual_seed(seed)
    return free_mlp(SHAPE, 3, widths=WIDTHS, activation="tanh", free=free)


def test_it_starts_as_the_perceptron_of_the_same_seed():
    torch.manual_seed(0)
    plain = mlp(SHAPE, 3, widths=WIDTHS, activation="tanh")
    x = torch.randn(7, *SHAPE)
    assert torch.equal(model()(x), plain(x))


def test_only_the_free_weights_have_a_gradient_and_it_is_the_perceptrons():
    free, (x, y) = model(), (torch.randn(7, *SHAPE), torch.arange(7) % 3)
    torch.manual_seed(0)
    plain = mlp(SHAPE, 3, widths=WIDTHS, activation="tanh")
    F.cross_entropy(free(x), y).backward()
    F.cross_entropy(plain(x), y).backward()
    assert [name for name, p in free.named_parameters() if p.requires_grad] == ["5.weight"]
    layer = free[-1]
    torch.testing.assert_close(layer.free(layer.weight.grad), layer.free(plain[-1].weight.grad))
    assert layer.weight.grad.count_nonzero() == 2
    assert len(set(layer.places[:, 1].tolist())) == 2, "of different columns"


def test_what_is_written_elsewhere_changes_nothing():
    free, x = model(), torch.randn(7, *SHAPE)
    before, layer = free(x), free[-1]
    with torch.no_grad():
        layer.weight.add_(1 - layer.mask)
    assert torch.equal(free(x), before)
    with torch.no_grad():
        layer.weight.add_(layer.mask)
    assert not torch.allclose(free(x), before)


def test_places_are_drawn_with_the_parameters():
    assert torch.equal(model(1)[-1].places, model(1)[-1].places)
    assert len({tuple(model(seed)[-1].places.flatten().tolist()) for seed in range(5)}) > 1


def test_more_free_weights_than_columns_is_one_line():
    with pytest.raises(UsageError, match="model.free: got 5, allowed: at most 4"):
        model(free=5)
    assert isinstance(model(free=4)[-1], FreeLinear)
