"""Activation functions by the names that `model.activation` takes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from sobench.config.registry import suggestion
from sobench.errors import UsageError


class Sin(nn.Module):
    """sin(x), element by element."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(x)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "elu": nn.ELU,
    "softplus": nn.Softplus,
    "sin": Sin,
    "none": nn.Identity,
}
"""Name -> the class of the module, with torch's default arguments."""


def activation(name: str) -> nn.Module:
    """A new module of the activation `name`. Raises UsageError for an unknown name."""
    if name not in ACTIVATIONS:
        raise UsageError(f"model.activation: got {name!r}, {suggestion(name, ACTIVATIONS)}")
    return ACTIVATIONS[name]()
