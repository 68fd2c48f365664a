"""A model that is a function of its modules and its input."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class Model(nn.Module):
    """Modules by name, and forward(x) = function(self, x)."""

    def __init__(self, function: Callable[[Model, Tensor], Tensor], **modules: nn.Module):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)
