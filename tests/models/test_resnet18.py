"""ResNet-18: He et al.'s count of layers and parameters, and one Hessian-vector product through it."""

import pytest
import torch
from torch import nn

from sobench.errors import UsageError
from sobench.losses import CrossEntropy
from sobench.models.resnet18 import resnet18
from sobench.objective import Objective


def test_layers():
    """A 7x7 convolution to 64 channels, four stages of two blocks of 64 to 512 channels, projections, one linear."""
    model = resnet18((3, 32, 32), 10)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    spatial = [m for m in convolutions if m.kernel_size == (3, 3)]
    assert convolutions[0].kernel_size == (7, 7) and len(spatial) == 16 and len(convolutions) == 20
    channels = [64] * 4 + [128] * 4 + [256] * 4 + [512] * 4
    assert [m.out_channels for m in spatial] == channels
    assert (model.fc.in_features, model.fc.out_features) == (512, 10)
    weights = 3 * 64 * 49 + sum(9 * a * b for a, b in zip([64, *channels], channels)) + 64 * 128 + 128 * 256 + 256 * 512
    normalised = 2 * (64 + sum(channels) + 128 + 256 + 512)
    assert sum(p.numel() for p in model.parameters()) == weights + normalised + 512 * 10 + 10


def test_hessian_product_is_symmetric_and_leaves_the_statistics():
    torch.manual_seed(0)
    model = resnet18((3, 32, 32), 2)
    f = Objective(model, CrossEntropy(), (torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 1, 0])))
    H = f.hessian()
    u, v = torch.randn(2, f.space.size)
    a, b = u.dot(H @ v), v.dot(H @ u)
    assert a.isfinite() and abs(a - b) <= 1e-3 * (abs(a) + abs(b))
    assert not model.bn1.running_mean.any()


@pytest.mark.parametrize("shape", [(1, 28, 28), (784,)])
def test_refused(shape):
    with pytest.raises(UsageError, match="resnet18 takes colour images, got inputs .*; allowed: 3 x height x width"):
        resnet18(shape, 10)
