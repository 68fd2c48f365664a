"""How weights start, whatever the model: the setting `init`, by its field names."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

LAYERS = (nn.Linear, nn.modules.conv._ConvNd)


def default(model: nn.Module) -> None:
    """As the model made them."""


def lecun_normal(model: nn.Module) -> None:
    """Weights of Linear and convolution layers N(0, 1) / sqrt(fan_in), their biases 0 (LeCun, Bottou, Orr and Mueller, 1998)."""
    for layer in model.modules():
        if isinstance(layer, LAYERS):
            nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


INITIAL: dict[str, Callable[[nn.Module], None]] = {"default": default, "lecun_normal": lecun_normal}
