"""Metrics of the user's own: functions of the outputs and targets of a whole set, beside loss and accuracy.

A metric is a function of outputs [N, C], the logits, and the targets of the same samples as the loss takes them. It
returns one number. It is called without gradients, in evaluation mode, once for each set of an evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sobench.config import registry
from sobench.config.by_path import short_name
from sobench.errors import UsageError, described

OURS = ("loss", "accuracy", "mse", "rmse", "r2", "character_loss", "bits_per_character")
"""The names of sobench's own metrics."""


class Metrics:
    """The metrics of a run, by names or paths. Raises UsageError for a name that is taken, and for no function."""

    def __init__(self, paths: Sequence[str]):
        self._functions: dict[str, tuple[str, Callable[[Tensor, Tensor], Any]]] = {}
        for path in paths:
            function, name = registry.load("metrics", path), short_name(path)
            if not callable(function):
                kind = type(function).__name__
                raise UsageError(f"{registry.named('metrics', path)} is of type {kind}; allowed: a function")
            if name in self._functions or name in OURS:
                taken = "sobench's own" if name in OURS else self._functions[name][0]
                raise UsageError(f"metrics: got {path!r}, {name} is the name of {taken} too; allowed: another name")
            self._functions[name] = path, function

    def __bool__(self) -> bool:
        return bool(self._functions)

    @torch.no_grad()
    def __call__(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """The value of each by its name. Raises UsageError for one that fails, or that is no number."""
        return {name: _value(path, function, outputs, targets) for name, (path, function) in self._functions.items()}

    def check(self, outputs: Tensor, targets: Tensor) -> None:
        """Raises UsageError, as a call does, and for a value that is not finite. outputs: of the initial model."""
        for name, value in self(outputs, targets).items():
            if not math.isfinite(value):
                path = self._functions[name][0]
                raise UsageError(f"{registry.named('metrics', path)} returns {value}; {_allowed(outputs, targets)}")


def _value(path: str, function: Callable[[Tensor, Tensor], Any], outputs: Tensor, targets: Tensor) -> float:
    with registry.calling("metrics", path):
        value = function(outputs, targets)
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        got = f"a tensor {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        text = f"{registry.named('metrics', path)} returns {got} ({described(error)})"
        raise UsageError(f"{text}; {_allowed(outputs, targets)}") from error


def _allowed(outputs: Tensor, targets: Tensor) -> str:
    return f"allowed: a finite number for outputs {list(outputs.shape)} and targets {list(targets.shape)}"
