"""Sweeps over an explicit list of runs: a file holds the overrides of each, and `hydra.sweeper.jobs=FILE` runs them.

No torch.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sobench.errors import Failure, UsageError
from sobench.system.files import parse_json

FOLDER = ".jobs"
KEY = "hydra.sweeper.jobs"


def write(root: Path, name: str, jobs: Sequence[Sequence[str]]) -> Path:
    """Write the overrides of each job to runs/.jobs/<name>-<digest>.json. Raises Failure."""
    from sobench.system.files import write_atomically

    text = json.dumps([list(job) for job in jobs], indent=0).encode()
    path = Path(root) / FOLDER / f"{name}-{hashlib.sha256(text).hexdigest()[:12]}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    except OSError as error:
        raise Failure(f"runs: cannot write {error.filename or path}: {error.strerror or error}") from error
    return path


def read(file: Any) -> list[list[str]]:
    """The jobs of a file, one list of overrides a run. Raises UsageError for a missing or wrong file.

    file: the value of hydra.sweeper.jobs, of whatever type it was given as.
    """
    try:
        jobs = parse_json(Path(file).read_bytes())
    except (OSError, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or "it is not JSON"
        raise UsageError(
            f"{KEY}: cannot read {file}: {reason}; allowed: a file that `sobench plan` has written"
        ) from error
    lists = isinstance(jobs, list) and all(isinstance(job, list) for job in jobs)
    entries = [override for job in jobs for override in job] if lists else []
    if not entries or not all(isinstance(override, str) for override in entries):
        raise UsageError(f"{KEY}: {file} holds no jobs; allowed: [[KEY=VALUE, ...], ...], one list a run")
    return jobs


def option(file: Path) -> str:
    """The override of a command line that runs the jobs of a file."""
    return f"{KEY}={word(str(file))}"


def overrides(settings: Mapping[str, Any]) -> list[str]:
    """The overrides that compose a run's configuration again, from its settings (config.yaml of its directory)."""
    from sobench.config.files import GROUPS

    if "budget" in settings:  # runs that were made before this setting took all samples
        settings = {**settings, "budget": {"samples": None, **settings["budget"]}}
    groups = [group for group in GROUPS if group in settings]
    made = [f"{group}={settings[group]['name']}" for group in groups]
    for key, value in settings.items():
        if key == "experiment":  # its settings are among the others
            continue
        if key == "seed":
            made.append(f"seed={value}")
        elif not isinstance(value, dict):
            made.append(f"++{key}={quoted(value)}")
        else:
            made += [
                f"++{key}.{name}={quoted(part)}"
                for name, part in value.items()
                if not (key in groups and name == "name")
            ]
    return made


def word(text: str) -> str:
    """A text in the grammar of Hydra's overrides, without quotation marks where it needs none."""
    return text if re.fullmatch(r"[\w./-]+", text) else quoted(text)


def quoted(value: Any) -> str:
    """A value in the grammar of Hydra's overrides."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{quoted(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(quoted, value)) + "]"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)
