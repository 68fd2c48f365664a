"""LeNet-5: its layers, its number of parameters, and the initialisations of weights."""

import pytest
import torch
from torch import nn

from sobench.errors import UsageError
from sobench.models.initial import INITIAL
from sobench.models.lenet import lenet


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 32, 32), (3, 32, 32)])
def test_shapes_and_parameters(shape):
    model = lenet(shape, 10, activation="sigmoid", pooling="average")
    convolutions = shape[0] * 25 * 6 + 6 + 6 * 25 * 16 + 16
    assert sum(p.numel() for p in model.parameters()) == convolutions + 400 * 120 + 120 + 120 * 84 + 84 + 84 * 10 + 10
    x = torch.randn(2, *shape)
    sizes = []
    for layer in model:
        x = layer(x)
        sizes.append(tuple(x.shape[1:]))
    assert sizes == [
        (6, 28, 28),
        (6, 28, 28),
        (6, 14, 14),
        (16, 10, 10),
        (16, 10, 10),
        (16, 5, 5),
        (400,),
        (120,),
        (120,),
        (84,),
        (84,),
        (10,),
    ]


def test_pooling_and_activation():
    kinds = [type(layer) for layer in lenet((1, 28, 28), 3, activation="elu", pooling="max")]
    assert kinds.count(nn.MaxPool2d) == 2 and kinds.count(nn.ELU) == 4


@pytest.mark.parametrize(
    "shape, options, message",
    [
        ((784,), {}, "lenet takes images, got inputs 784; allowed: channels x 28 x 28 or channels x 32 x 32"),
        ((3, 30, 30), {}, "got inputs 3x30x30"),
        ((1, 28, 28), {"pooling": "mean"}, "model.pooling: got 'mean', allowed: average | max"),
        ((1, 28, 28), {"activation": "tan"}, "model.activation: got 'tan'"),
    ],
)
def test_refused(shape, options, message):
    with pytest.raises(UsageError) as caught:
        lenet(shape, 10, **({"activation": "tanh", "pooling": "max"} | options))
    assert message in str(caught.value)


def test_lecun_normal():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(4, 64, 5), nn.BatchNorm2d(64), nn.Flatten(), nn.Linear(300, 200), nn.Linear(3, 2, bias=False)
    )
    norm = model[1].weight.clone()
    INITIAL["lecun_normal"](model)
    for layer, fan_in in ((model[0], 100), (model[3], 300)):
        n = layer.weight.numel()
        assert abs(layer.weight.std().item() * fan_in**0.5 - 1) < 4 / (2 * n) ** 0.5  # four standard errors
        assert not layer.bias.any()
    assert torch.equal(model[1].weight, norm)
