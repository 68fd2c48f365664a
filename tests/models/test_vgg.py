"""VGG: its layers against the paper's table 1, its parameters counted by hand, its initialisation by its variance."""

import pytest
import torch
from torch import nn

from sobench.errors import UsageError
from sobench.models.vgg import vgg

D = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"]
"""Model D: 16 layers with weights when three fully connected ones are counted; here there is one."""


def make(size=32, outputs=10, depth=16, width=64):
    torch.manual_seed(0)
    return vgg((3, size, size), outputs, depth=depth, width=width)


def test_model_d():
    model = list(make())
    seen = [layer for layer in model if isinstance(layer, (nn.Conv2d, nn.MaxPool2d))]
    assert [layer.out_channels if isinstance(layer, nn.Conv2d) else "M" for layer in seen] == D
    for i, layer in enumerate(model):
        if isinstance(layer, nn.Conv2d):
            assert (layer.kernel_size, layer.padding, layer.stride, layer.bias is None) == ((3, 3), (1, 1), (1, 1), False)
            assert isinstance(model[i + 1], nn.BatchNorm2d) and isinstance(model[i + 2], nn.ReLU) and not model[i + 2].inplace
    assert isinstance(model[-1], nn.Linear) and (model[-1].in_features, model[-1].out_features) == (512, 10)


def test_number_of_parameters():
    channels = [3, *(c for c in D if c != "M")]
    convolutions = sum(9 * a * b + b for a, b in zip(channels, channels[1:]))
    assert sum(p.numel() for p in make(outputs=100).parameters()) == convolutions + 2 * sum(channels[1:]) + 512 * 100 + 100


@pytest.mark.parametrize("size, features", [((32, 32), 1), ((33, 63), 1), ((64, 32), 2)])
def test_any_size_that_survives(size, features):
    model = vgg((1, *size), 7, depth=11, width=4)
    assert model[-1].in_features == 32 * features
    assert model(torch.randn(2, 1, *size)).shape == (2, 7)


@pytest.mark.parametrize("shape, options, message", [
    ((3, 31, 32), {}, "halves images five times, got inputs 3x31x32; allowed: .*32 or more a side"),
    ((784,), {}, "got inputs 784"),
    ((3, 32, 32), {"depth": 12}, "model.depth: got 12, allowed: 11, 13, 16, 19"),
])
def test_refused(shape, options, message):
    with pytest.raises(UsageError, match=message):
        vgg(shape, 10, **({"depth": 16, "width": 4} | options))


def test_initialisation():
    for layer in make():
        if isinstance(layer, nn.Conv2d):
            deviation = (2 / (9 * layer.out_channels)) ** 0.5
            n = layer.weight.numel()
            assert abs(layer.weight.std().item() / deviation - 1) < 4 / (2 * n) ** 0.5  # four standard errors
            assert abs(layer.weight.mean().item()) < 4 * deviation / n**0.5 and not layer.bias.any()
        if isinstance(layer, nn.BatchNorm2d):
            assert (layer.weight == 1).all() and not layer.bias.any()
