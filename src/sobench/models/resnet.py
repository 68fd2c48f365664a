"""Residual networks for CIFAR, of depth 6n + 2 (He et al., section 4.2 and table 6; thesis, 3.7.2 and 4.7.2).

Architecture: a 3x3 convolution to 16 channels, three stages of n blocks with 16, 32 and 64 channels, the mean over each
channel, one linear layer. A block adds two 3x3 convolutions with BatchNorm to its input, and applies ReLU. The first
block of stages 2 and 3 halves the image. Its shortcut is "option A": every second pixel, and channels of zeros. `width`
multiplies all channels, those of the first convolution included, which is how "widened by a factor of 4" is read here
(ResNet32-4, thesis, 3.7.3).

Initialisation: all weights Kaiming-normal (fan-in, gain sqrt 2), those of the linear layer included. Convolutions have
no bias, BatchNorm is 1 and 0, and the linear bias has torch's default.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from sobench.errors import UsageError


class Block(nn.Module):
    """ReLU(x + BN(conv(ReLU(BN(conv(x)))))), [N, C, H, W] to [N, C', H / stride, W / stride]."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.stride, self.missing = stride, outputs - inputs
        self.residual = nn.Sequential(
            _convolution(inputs, outputs, stride),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            _convolution(outputs, outputs, 1),
            nn.BatchNorm2d(outputs),
        )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.residual(x) + self.shortcut(x))

    def shortcut(self, x: Tensor) -> Tensor:
        """x itself, or every second pixel of x between channels of zeros, half of them on each side."""
        if self.stride == 1 and not self.missing:
            return x
        before = self.missing // 2
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.missing - before))


def resnet(input_shape: Sequence[int], outputs: int, *, depth: int, width: int) -> nn.Sequential:
    """A residual network: images [N, C, H, W] to outputs [N, outputs].

    depth: 6n + 2, the number of layers with weights. width: a factor of all channels. Raises UsageError for a depth
    that is not 6n + 2 with n >= 1, or inputs that are not images.
    """
    n, rest = divmod(depth - 2, 6)
    if rest or n < 1:
        raise UsageError(f"model.depth: got {depth}, allowed: 6n + 2, as 8, 14, 20, 32, 44, 56, 110")
    if len(input_shape) != 3:
        shape = "x".join(map(str, input_shape))
        raise UsageError(f"model: resnet takes images, got inputs {shape}; allowed: channels x height x width")
    channels = 16 * width
    layers: list[nn.Module] = [_convolution(input_shape[0], channels, 1), nn.BatchNorm2d(channels), nn.ReLU()]
    for stage, planes in enumerate((channels, 2 * channels, 4 * channels)):
        for i in range(n):
            layers.append(Block(channels, planes, stride=2 if stage and not i else 1))
            channels = planes
    head = nn.Linear(channels, outputs)
    nn.init.kaiming_normal_(head.weight)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(layer.weight)
    return layer
