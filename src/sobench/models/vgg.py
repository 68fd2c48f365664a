"""VGG (Simonyan and Zisserman) in its form for images of 32 pixels a side, with few linear layers.

Architecture: 3x3 convolutions of padding 1, each followed by BatchNorm and the activation; 2x2 max-pooling after each
of five blocks; linear layers of the widths `classifier`, also with BatchNorm and activation; one linear layer to the
outputs. Depth 16 is the original's "model D"; depths 11, 13 and 19 are models A, B and E with the same changes. The
defaults are the thesis's (3.7.2 and 4.7.2): ReLU, one linear layer in place of the original's three, BatchNorm added.

csfd's VGG-11 has ELU and hidden linear layers of 512 and 512. Its "the batch normalization is applied before the
activation" is read as all activations, those of the linear layers included. groupednewton's VGG-11' has ELU, no
BatchNorm, and one linear layer.

Initialisation: convolution weights N(0, sqrt(2 / (k^2 out))). Where the sources are silent: convolution biases are 0
(they are kept, though BatchNorm makes them ineffective), BatchNorm is 1 and 0, and linear layers have torch's default.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from sobench.errors import UsageError
from sobench.models.activations import activation as named

BLOCKS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Depth -> convolutions in each block."""

WIDTHS = (1, 2, 4, 8, 8)
"""Channels of each block, in units of the first one's."""


def vgg(
    input_shape: Sequence[int],
    outputs: int,
    *,
    depth: int,
    width: int,
    activation: str = "relu",
    batch_norm: bool = True,
    classifier: Sequence[int] = (),
) -> nn.Sequential:
    """VGG: images [N, C, H, W], H and W of 32 or more, to outputs [N, outputs].

    depth: 11, 13, 16 or 19. width: the channels of the first block, 64 in the original. activation: a name of
    ACTIVATIONS. batch_norm: BatchNorm before each activation. classifier: the widths of linear layers before the last.
    Raises UsageError for another depth, an unknown activation, or inputs that are not images or are too small.
    """
    if depth not in BLOCKS:
        raise UsageError(f"model.depth: got {depth}, allowed: {', '.join(map(str, BLOCKS))}")
    if len(input_shape) != 3 or min(input_shape[1:]) < 32:
        shape = "x".join(map(str, input_shape))
        raise UsageError(
            f"model: vgg halves images five times, got inputs {shape}; allowed: channels x height x width, "
            "32 or more a side"
        )
    channels, height, side = input_shape
    layers: list[nn.Module] = []
    for convolutions, factor in zip(BLOCKS[depth], WIDTHS, strict=True):
        for _ in range(convolutions):
            channels, before = factor * width, channels
            norm = [nn.BatchNorm2d(channels)] if batch_norm else []
            layers += [_convolution(before, channels), *norm, named(activation)]
        layers.append(nn.MaxPool2d(2))
    features = channels * (height // 32) * (side // 32)
    layers.append(nn.Flatten())
    for units in classifier:
        norm = [nn.BatchNorm1d(units)] if batch_norm else []
        layers += [nn.Linear(features, units), *norm, named(activation)]
        features = units
    return nn.Sequential(*layers, nn.Linear(features, outputs))


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.normal_(layer.weight, std=(2 / (9 * outputs)) ** 0.5)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
