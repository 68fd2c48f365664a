"""Multi-layer perceptrons, linear models and autoencoders of Linear layers, with torch's default initialisation."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from sobench.models.activations import activation as named


def mlp(input_shape: Sequence[int], outputs: int, *, widths: Sequence[int], activation: str) -> nn.Sequential:
    """A multi-layer perceptron: Linear, activation, ..., Linear on flattened inputs.

    widths: the units of each hidden layer. activation: a name of ACTIVATIONS, after every layer but the last. Inputs
    [N, *input_shape] to outputs [N, outputs]. Raises UsageError for an unknown activation.
    """
    return stack([math.prod(input_shape), *widths, outputs], activation)


def linear(input_shape: Sequence[int], outputs: int) -> nn.Sequential:
    """One linear layer with a bias on flattened inputs, [N, *input_shape] to [N, outputs].

    With loss=cross_entropy it is logistic regression, with loss=squared_hinge a support vector machine.
    """
    return stack([math.prod(input_shape), outputs], "relu")


def autoencoder(
    input_shape: Sequence[int], outputs: int, *, widths: Sequence[int], code: int, activation: str
) -> nn.Sequential:
    """A symmetric autoencoder: hidden layers of `widths`, a linear layer of `code` units, and the encoder mirrored.

    Source: thesis, table 2.4. activation: after every layer but the code layer and the last. Inputs [N, *input_shape]
    to outputs [N, outputs], one for each number of an input. The outputs are logits or values, as the loss takes them.
    Raises UsageError for an unknown activation.
    """
    inputs = math.prod(input_shape)
    encoder = stack([inputs, *widths, code], activation)
    decoder = stack([code, *reversed(widths), outputs], activation)
    return nn.Sequential(*encoder, *list(decoder)[1:])


def stack(sizes: Sequence[int], activation: str) -> nn.Sequential:
    """Flatten, then Linear layers from sizes[0] to sizes[1], ..., sizes[-1] units, with the activation between them."""
    layers: list[nn.Module] = [nn.Flatten()]
    for i, (before, after) in enumerate(zip(sizes, sizes[1:])):
        layers += [named(activation)] * (i > 0) + [nn.Linear(before, after)]
    return nn.Sequential(*layers)
