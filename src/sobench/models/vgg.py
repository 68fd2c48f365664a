"""VGG with batch normalization and one fully connected layer (Simonyan and Zisserman; thesis, 3.7.2 and 4.7.2).

"Model D" is depth 16: 3x3 convolutions of padding 1, each followed by BatchNorm (added by the thesis) and ReLU, 2x2
max-pooling after each of five blocks, and one linear layer from all that the last block gives to the outputs, in place
of the original's three. Depths 11, 13 and 19 are models A, B and E with the same changes.

Initialisation: convolution weights N(0, sqrt(2 / (k^2 out))). Where the sources are silent: convolution biases, which
are kept though BatchNorm makes them ineffective, are 0; BatchNorm is 1 and 0; the linear layer has torch's default.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from sobench.errors import UsageError

BLOCKS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Depth -> convolutions in each block."""

WIDTHS = (1, 2, 4, 8, 8)
"""Channels of each block, in units of the first one's."""


def vgg(input_shape: Sequence[int], outputs: int, *, depth: int, width: int) -> nn.Sequential:
    """`width` channels in the first block: 64 is the original. Raises UsageError unless inputs are images that survive five
    halvings, 32 pixels or more a side."""
    if depth not in BLOCKS:
        raise UsageError(f"model.depth: got {depth}, allowed: {', '.join(map(str, BLOCKS))}")
    if len(input_shape) != 3 or min(input_shape[1:]) < 32:
        shape = "x".join(map(str, input_shape))
        raise UsageError(f"model: vgg halves images five times, got inputs {shape}; allowed: channels x height x width, "
                         "32 or more a side")
    channels, height, side = input_shape
    layers: list[nn.Module] = []
    for convolutions, factor in zip(BLOCKS[depth], WIDTHS, strict=True):
        for _ in range(convolutions):
            layers += [_convolution(channels, factor * width), nn.BatchNorm2d(factor * width), nn.ReLU()]
            channels = factor * width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * (height // 32) * (side // 32), outputs))


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.normal_(layer.weight, std=(2 / (9 * outputs)) ** 0.5)
    nn.init.zeros_(layer.bias)
    return layer
