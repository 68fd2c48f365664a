"""The packages that a choice in the configuration needs beside sobench's own. No torch."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from sobench.errors import UsageError


@dataclass(frozen=True)
class Extra:
    """An optional dependency. module: what is imported; package: the name that pip installs it by."""

    module: str
    package: str


SUBMITIT = Extra("hydra_plugins.hydra_submitit_launcher", "hydra-submitit-launcher")

EXTRAS: dict[tuple[str, str], Extra] = {
    ("logger", "tensorboard"): Extra("tensorboard", "tensorboard"),
    ("logger", "wandb"): Extra("wandb", "wandb"),
    ("hydra/launcher", "joblib"): Extra("hydra_plugins.hydra_joblib_launcher", "hydra-joblib-launcher"),
    ("hydra/launcher", "submitit_local"): SUBMITIT,
    ("hydra/launcher", "submitit_slurm"): SUBMITIT,
    ("hydra/launcher", "ray"): Extra("hydra_plugins.hydra_ray_launcher", "hydra-ray-launcher"),
    ("hydra/sweeper", "optuna"): Extra("optuna", "optuna"),
}
"""The choices that need more than sobench itself, by config group and name."""

BASELINES = ("pytorch_optimizer", "schedulefree")
"""The modules of the extra `baselines`, whose classes are optimizers by their paths."""


def hint(module: str) -> str:
    """The command that installs a module, "pip install ..."; "" if no extra has it."""
    return "pip install 'sobench[baselines]'" if module in BASELINES else ""


def check_installed(group: str, name: str) -> None:
    """Raises UsageError if the member `name` of a config group needs a package that is not installed."""
    extra = EXTRAS.get((group, name))
    if extra and not is_installed(extra):
        raise UsageError(f"{group}: {name} needs a package that is not installed: pip install {extra.package}")


def installed(group: str) -> list[str]:
    """The members of a config group that need a package, and have it."""
    return [name for (owner, name), extra in EXTRAS.items() if owner == group and is_installed(extra)]


def is_installed(extra: Extra) -> bool:
    """Whether the module of an extra can be imported; it is not imported here."""
    try:
        return importlib.util.find_spec(extra.module) is not None
    except ModuleNotFoundError:  # the package that contains the module is missing
        return False
