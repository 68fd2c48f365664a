"""The configuration of a run as plain data, and what of it identifies the run. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from sobench.config import secrets
from sobench.config.validation import validate
from sobench.errors import UsageError

NOT_IDENTITY = (
    "threads",
    "checkpoint",
    "progress",
    "runs",
    "reports",
    "data",
    "budgets",
    "logger",
    "experiment",
    "gpu",
    "isolate",
    "slots",
    "sweep",
    "timeout",
)
"""Top-level keys that cannot change a run's result."""

NOTHING: dict[str, Any] = {
    "instrument": {"name": "none"},
    "batches": "reshuffled",
    "validation": 0,
    "convergence": None,
    "init": "default",
}
"""Settings that a run is not told apart by, where they have these values: those that came after the first runs were made."""

NOTHING_OF: dict[tuple[str, str], dict[str, Any]] = {
    ("model", "vgg"): {"activation": "relu", "batch_norm": True, "classifier": []},
}
"""The same for the settings of one member of a group: (group, name) -> settings."""


def plain(config: DictConfig) -> dict[str, Any]:
    """The composed configuration as a nested dict, interpolations resolved and every key checked; a data file of the user's
    own with its checksum. Raises UsageError, one line with the key, what it got and what is allowed.
    """
    return with_contents(resolved(config))


def resolved(config: DictConfig) -> dict[str, Any]:
    """`plain`, from the configuration alone: no file of the user's is looked at."""
    try:
        ours = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
        settings = OmegaConf.to_container(ours, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise UsageError(f"{error.full_key}: must be given, there is no default") from error
    except OmegaConfBaseException as error:
        raise UsageError(f"{error.full_key or 'configuration'}: {str(error).splitlines()[0]}") from error
    secrets.refuse(settings)
    validate(settings)
    return settings | _asked_by(config)


def _asked_by(config: DictConfig) -> dict[str, str]:
    """The experiment that Hydra composed the configuration for; Hydra takes its own part away before a run's task."""
    from hydra.core.hydra_config import HydraConfig

    hydra = config.get("hydra") or (HydraConfig.get() if HydraConfig.initialized() else None)
    experiment = hydra and hydra.runtime.choices.get("experiment")
    return {"experiment": experiment} if experiment else {}


def refers_to(config: DictConfig, name: str) -> bool:
    """Whether an interpolation anywhere in the composed configuration has this name in it."""

    def strings(node: Any) -> Iterator[str]:
        if isinstance(node, str):
            yield node
        elif isinstance(node, (dict, list)):
            for part in node.values() if isinstance(node, dict) else node:
                yield from strings(part)

    ours = {key: node for key, node in OmegaConf.to_container(config, resolve=False).items() if key != "hydra"}
    return any("${" in text and name in text for text in strings(ours))


def identity(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Exactly what can change a run's result, its seed apart."""
    kept = {k: v for k, v in settings.items() if k not in NOT_IDENTITY and k != "seed"}
    kept["budget"] = {k: settings["budget"][k] for k in ("epochs", "steps", "seconds")}
    if kept["dataset"].get("sha256"):
        kept["dataset"] = {k: v for k, v in kept["dataset"].items() if k != "path"}
    if kept["convergence"]["change"] is None:
        kept["convergence"] = None
    for key, nothing in NOTHING.items():
        if kept[key] == nothing:
            del kept[key]
    for (group, name), nothing in NOTHING_OF.items():
        if kept[group]["name"] == name:
            kept[group] = {k: v for k, v in kept[group].items() if k not in nothing or v != nothing[k]}
    return _canonical(kept)


def _canonical(value: Any) -> Any:
    """A value with its whole numbers as integers: lr=1 and lr=1.0 are the same run."""
    if isinstance(value, dict):
        return {key: _canonical(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_canonical(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def with_contents(settings: dict[str, Any]) -> dict[str, Any]:
    """A data file of the user's own is what it holds, wherever it lies: its checksum is filled in where none was given."""
    dataset = settings["dataset"]
    if dataset.get("path") and dataset.get("sha256", "") is None:
        path = Path(dataset["path"])
        try:
            stat = path.stat()
            dataset["sha256"] = _sha256(path.absolute(), stat.st_size, stat.st_mtime_ns)
        except OSError:
            pass  # the loader says what is wrong with it
    return settings


@lru_cache
def _sha256(path: Path, size: int, changed: int) -> str:
    from sobench.system.files import digest

    return digest(path, "sha256").removeprefix("sha256:")
