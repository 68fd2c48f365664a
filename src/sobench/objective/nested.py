"""The tensors among the arguments or results of a function of torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor


def tensors_in(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among `values`, and in lists and tuples among them."""
    tensors: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            tensors.append(value)
        elif isinstance(value, (list, tuple)):
            tensors += tensors_in(value)
    return tensors
