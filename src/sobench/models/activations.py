"""Activations by their field names."""

from __future__ import annotations

import torch
from torch import nn

from sobench.config.registry import suggestion
from sobench.errors import UsageError


class Sin(nn.Module):
    """sin(x)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(x)


ACTIVATIONS = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "elu": nn.ELU,
    "softplus": nn.Softplus,
    "sin": Sin,
    "none": nn.Identity,
}


def activation(name: str) -> nn.Module:
    """Raises UsageError for an unknown name."""
    if name not in ACTIVATIONS:
        raise UsageError(f"model.activation: got {name!r}, {suggestion(name, ACTIVATIONS)}")
    return ACTIVATIONS[name]()
