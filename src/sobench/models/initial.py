"""Initialisations of a model's weights, by the names that the setting `init` takes."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

LAYERS = (nn.Linear, nn.modules.conv._ConvNd)


def default(model: nn.Module) -> None:
    """Leave the weights as the model initialised them."""


def lecun_normal(model: nn.Module) -> None:
    """Initialise Linear and convolution layers in place: weights N(0, 1) / sqrt(fan_in), biases 0.

    Source: LeCun, Bottou, Orr and Mueller (1998). Random numbers come from torch's global generator.
    """
    for layer in model.modules():
        if isinstance(layer, LAYERS):
            nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


INITIAL: dict[str, Callable[[nn.Module], None]] = {"default": default, "lecun_normal": lecun_normal}
"""Name -> the function that initialises a model in place."""
