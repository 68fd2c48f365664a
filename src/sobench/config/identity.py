"""The configuration of a run as plain data, and the part of it that identifies the run. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from sobench.config import by_path, groups, secrets
from sobench.config.files import NOT_IDENTITY
from sobench.config.hydra_private import experiment_of, first_line, without_hydra
from sobench.config.validation import validate
from sobench.errors import UsageError

NOTHING: dict[str, Any] = {
    "instrument": {"name": "none"},
    "batches": "reshuffled",
    "validation": 0,
    "convergence": None,
    "init": "default",
    "metrics": [],
}
"""Settings that do not identify a run while they have these values: they were added after the first runs were made."""

_KRONECKER = ("kfac", "kbfgs", "kbfgs_l", "kbfgs20", "kbfgs20_l")

NOTHING_OF: dict[tuple[str, str], dict[str, Any]] = {
    **{("optimizer", name): {"sharing": "expand"} for name in _KRONECKER},
    ("optimizer", "newton_krylov"): {"early_termination": True},
    ("model", "vgg"): {"activation": "relu", "batch_norm": True, "classifier": []},
}
"""The same for the settings of one member of a group: (group, name) -> settings."""


def plain(config: DictConfig) -> dict[str, Any]:
    """The composed configuration as a nested dict: interpolations resolved, every key checked.

    The checksum of a user's own data file is filled in. Raises UsageError, one line with the key, its value and what is
    allowed.
    """
    ours = without_hydra(config)
    return with_contents(resolved(ours, unresolved(ours), experiment_of(config)))


def unresolved(config: DictConfig) -> Any:
    """A composed configuration without the node `hydra` as plain data, with its interpolations as they are written."""
    return OmegaConf.to_container(config, resolve=False)


def resolved(config: DictConfig, written: Any, experiment: str | None) -> dict[str, Any]:
    """As `plain`, but without the checksum of a data file.

    config: the composed configuration without the node `hydra`. written: the same, `unresolved`. experiment: the one
    that it is composed with.
    """
    try:
        container = written
        if any("$" in text or text == "???" for text in _texts(written)):  # else there is nothing to resolve
            container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        key = error.full_key
        of_data = "; input_shape and outputs alone are given by the data set" if str(key).startswith("model.") else ""
        raise UsageError(f"{key}: must be given, there is no default; allowed: {key}=VALUE{of_data}") from error
    except OmegaConfBaseException as error:
        raise UsageError(f"{error.full_key or 'configuration'}: {first_line(error)}") from error
    assert isinstance(container, dict)
    settings = _with_portable_paths(container)
    if settings.get("experiment"):
        raise UsageError(
            f"experiment: the settings of {experiment} are not those of a run; allowed: a first line "
            "`# @package _global_` in its file"
        )
    secrets.refuse(settings)
    try:
        validate(settings)
    except UsageError as error:
        raise UsageError(_as_typed(str(error), settings, written)) from error
    settings["optimizer"] = groups.canonical(settings["optimizer"])
    return settings | {"experiment": experiment} if experiment else settings


def _as_typed(message: str, settings: Mapping[str, Any], written: Any) -> str:
    """The message about a setting, with `${oc.env:NAME}` in place of the value of the environment variable.

    settings, written: with the interpolations resolved, and as they are written.
    """
    value: Any = settings
    for name in message.partition(": ")[0].split("."):
        if not (isinstance(value, dict) and isinstance(written, dict) and name in value and name in written):
            return message
        value, written = value[name], written[name]
    if not any("oc.env" in text for text in _texts(written)):
        return message
    return message.replace(f"got {value!r}", f"got {written if isinstance(written, str) else repr(written)}", 1)


def _with_portable_paths(settings: Mapping[Any, Any]) -> dict[str, Any]:
    """The settings with the paths of files, in place of names, as they identify a run; see `by_path.portable`."""
    return {
        str(key): _with_portable_paths(value)
        if isinstance(value, dict)
        else by_path.portable(value)
        if key in ("name", "loss") and by_path.is_path(value)
        else [by_path.portable(name) if by_path.is_path(name) else name for name in value]
        if key == "metrics" and isinstance(value, list)
        else value
        for key, value in settings.items()
    }


def refers_to(written: Any, name: str) -> bool:
    """Whether any interpolation of an `unresolved` configuration contains this name."""
    return any("${" in text and name in text for text in _texts(written))


def _texts(part: Any) -> Iterator[str]:
    """Every string in nested dicts and lists."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, (dict, list)):
        for inner in part.values() if isinstance(part, dict) else part:
            yield from _texts(inner)


def identity(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that can change a run's result, without its seed: runs of one cell have this in common."""
    counted = {k: v for k, v in settings.items() if k not in NOT_IDENTITY and k != "seed"}
    budget = settings["budget"]
    counted["budget"] = {k: budget[k] for k in ("epochs", "steps", "seconds")}
    if budget.get("samples") is not None:  # a later setting, which old configurations lack
        counted["budget"]["samples"] = budget["samples"]
    if counted["dataset"].get("sha256"):
        counted["dataset"] = {k: v for k, v in counted["dataset"].items() if k != "path"}
    if counted["convergence"]["change"] is None:
        counted["convergence"] = None
    for key, nothing in NOTHING.items():
        if counted.get(key, nothing) == nothing:
            counted.pop(key, None)
    for (group, name), nothing in NOTHING_OF.items():
        if counted[group]["name"] == name:
            counted[group] = {k: v for k, v in counted[group].items() if k not in nothing or v != nothing[k]}
    return _canonical(counted)


def _canonical(value: Any) -> Any:
    """A value with its whole numbers as integers, so that lr=1 and lr=1.0 are the same run."""
    if isinstance(value, dict):
        return {key: _canonical(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_canonical(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def with_contents(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the checksum of the user's own data file, which identifies it, filled in if none was given.

    A file that cannot be read is left to the data set's loader to report.
    """
    dataset = settings["dataset"]
    if dataset.get("path") and dataset.get("sha256", "") is None:
        path = Path(dataset["path"])
        try:
            stat = path.stat()
            dataset["sha256"] = _sha256(path.absolute(), stat.st_size, stat.st_mtime_ns)
        except OSError:
            pass
    return settings


@lru_cache
def _sha256(path: Path, size: int, changed: int) -> str:
    from sobench.system.files import digest

    return digest(path, "sha256").removeprefix("sha256:")
