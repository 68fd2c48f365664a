"""VGG (Simonyan and Zisserman) as it is trained on images of 32 pixels a side, with few linear layers.

"Model D" is depth 16: 3x3 convolutions of padding 1, each followed by BatchNorm and the activation, 2x2 max-pooling after each of
five blocks, then linear layers: those of `classifier`, as the convolutions with BatchNorm and activation, and one to the outputs.
Depths 11, 13 and 19 are models A, B and E with the same changes. The defaults are the thesis's (3.7.2 and 4.7.2): ReLU, one
linear layer in place of the original's three, BatchNorm added.

csfd's VGG-11: ELU, and hidden linear layers of 512 and 512; "the batch normalization is applied before the activation" is read of
all of its activations, the linear layers' too. groupednewton's VGG-11': ELU, no BatchNorm, one linear layer.

Initialisation: convolution weights N(0, sqrt(2 / (k^2 out))). Where the sources are silent: convolution biases, which
are kept though BatchNorm makes them ineffective, are 0; BatchNorm is 1 and 0; linear layers have torch's default.
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
    """`width` channels in the first block: 64 is the original. classifier: widths of linear layers before the last. Raises
    UsageError unless inputs are images that survive five halvings, 32 pixels or more a side."""
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
    nn.init.zeros_(layer.bias)
    return layer
