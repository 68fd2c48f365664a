"""ResNet: its number of parameters, the padding shortcut by its definition, the variance of its initial weights."""

import pytest
import torch
from torch import nn

from sobench.errors import UsageError
from sobench.models.resnet import Block, resnet


def make(shape=(3, 32, 32), outputs=10, depth=32, width=1):
    torch.manual_seed(0)
    return resnet(shape, outputs, depth=depth, width=width)


def count(depth, width, outputs):
    """Convolutions without bias, two numbers a channel for BatchNorm, one linear layer."""
    a, b, c = 16 * width, 32 * width, 64 * width
    n = (depth - 2) // 6
    convolutions = 9 * (3 * a + 2 * n * a * a + a * b + (2 * n - 1) * b * b + b * c + (2 * n - 1) * c * c)
    return convolutions + 2 * (a + 2 * n * (a + b + c)) + c * outputs + outputs


@pytest.mark.parametrize("depth, width, outputs", [(8, 1, 10), (20, 1, 10), (32, 1, 100), (32, 4, 10)])
def test_number_of_parameters(depth, width, outputs):
    assert sum(p.numel() for p in make(depth=depth, width=width, outputs=outputs).parameters()) == count(
        depth, width, outputs
    )


def test_table_6():
    """He et al. print 0.27 million parameters for depth 20, 0.46 for 32 and 1.7 for 110."""
    assert [round(count(depth, 1, 10) / 1e6, digits) for depth, digits in ((20, 2), (32, 2), (110, 1))] == [
        0.27,
        0.46,
        1.7,
    ]


def test_layers_with_weights():
    kinds = [m for m in make().modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(kinds) == 32 and isinstance(kinds[-1], nn.Linear)
    assert all(m.bias is None and m.kernel_size == (3, 3) and m.padding == (1, 1) for m in kinds[:-1])
    assert [m.stride for m in kinds[:-1]].count((2, 2)) == 2 and kinds[11].stride == kinds[21].stride == (2, 2)


@pytest.mark.parametrize(
    "side, sides", [(32, [32, 32, 16, 8]), (8, [8, 8, 4, 2]), (7, [7, 7, 4, 2]), (1, [1, 1, 1, 1])]
)
def test_sizes_of_the_stages(side, sides):
    model = make((1, side, side), depth=8)
    x, seen = torch.randn(2, 1, side, side), []
    for layer in model:
        x = layer(x)
        if isinstance(layer, (nn.ReLU, Block)):
            seen.append(tuple(x.shape[1:]))
    assert seen == [
        (16, sides[0], sides[0]),
        (16, sides[1], sides[1]),
        (32, sides[2], sides[2]),
        (64, sides[3], sides[3]),
    ]
    assert x.shape == (2, 10)


def test_the_shortcut_pads_and_has_no_parameters():
    """A block whose residual is 0 is ReLU of its input: every second pixel, in the middle channels."""
    block = Block(4, 8, 2).eval()
    x = torch.randn(3, 4, 6, 6)
    nn.init.zeros_(block.residual[-1].weight)
    y = block(x)
    expected = torch.zeros(3, 8, 3, 3)
    expected[:, 2:6] = x[:, :, ::2, ::2].clamp(min=0)
    assert torch.equal(y, expected)
    plain = Block(4, 4, 1).eval()
    nn.init.zeros_(plain.residual[-1].weight)
    assert torch.equal(plain(x), x.clamp(min=0))
    assert {type(m) for m in block.modules()} == {Block, nn.Sequential, nn.Conv2d, nn.BatchNorm2d, nn.ReLU}


def test_initialisation():
    for layer in make(width=4).modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            n, fan_in = layer.weight.numel(), layer.weight[0].numel()
            deviation = (2 / fan_in) ** 0.5
            assert abs(layer.weight.std().item() / deviation - 1) < 4 / (2 * n) ** 0.5
            assert abs(layer.weight.mean().item()) < 4 * deviation / n**0.5


@pytest.mark.parametrize(
    "shape, depth, message",
    [
        ((3, 32, 32), 18, "model.depth: got 18, allowed: 6n \\+ 2"),
        ((3, 32, 32), 2, "model.depth: got 2"),
        ((784,), 8, "resnet takes images, got inputs 784"),
    ],
)
def test_refused(shape, depth, message):
    with pytest.raises(UsageError, match=message):
        make(shape, depth=depth)
