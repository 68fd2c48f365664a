"""What a choice in the configuration needs to have installed: the package, and the extra of sobench that brings it. No torch."""

from __future__ import annotations

import importlib.util

from sobench.errors import UsageError

NEEDS = {"tensorboard": "tensorboard", "wandb": "wandb"}
"""Name -> the package it needs, which is the extra of sobench that brings it."""


def check_installed(name: str) -> None:
    """Raises UsageError if the package that a logger needs is not there."""
    needs = NEEDS.get(name)
    if needs and importlib.util.find_spec(needs) is None:
        raise UsageError(f"logger: {name} needs {needs}; pip install 'sobench[{name}]'")
