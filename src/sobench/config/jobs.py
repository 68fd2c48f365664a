"""Sweeps of any runs: a file holds the overrides of each, and `hydra.sweeper.jobs=FILE` makes them. No torch."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sobench.errors import Failure, UsageError

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


def read(file: object) -> list[list[str]]:
    """The jobs of a file. Raises UsageError for one that is not there or holds something else."""
    try:
        jobs = json.loads(Path(file).read_bytes())
    except (OSError, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or "it is not JSON"
        raise UsageError(
            f"{KEY}: cannot read {file}: {reason}; allowed: a file that `sobench plan` has written"
        ) from error
    words = (
        [word for job in jobs for word in job]
        if isinstance(jobs, list) and all(isinstance(job, list) for job in jobs)
        else []
    )
    if not words or not all(isinstance(word, str) for word in words):
        raise UsageError(f"{KEY}: {file} holds no jobs; allowed: [[KEY=VALUE, ...], ...], one list a run")
    return jobs


def option(file: Path) -> str:
    """The word of a command line that makes the jobs of a file."""
    plain = re.fullmatch(r"[\w./-]+", str(file))
    return f"{KEY}={file if plain else quoted(str(file))}"


def overrides(settings: Mapping[str, Any]) -> list[str]:
    """The words that compose a run's configuration again, from config.yaml of its directory."""
    from sobench.config.files import GROUPS

    groups = [group for group in GROUPS if group in settings]
    words = [f"{group}={settings[group]['name']}" for group in groups]
    for key, value in settings.items():
        if key == "experiment":  # what it set is all here
            continue
        if key == "seed":
            words.append(f"seed={value}")
        elif not isinstance(value, dict):
            words.append(f"++{key}={quoted(value)}")
        else:
            words += [
                f"++{key}.{name}={quoted(part)}"
                for name, part in value.items()
                if not (key in groups and name == "name")
            ]
    return words


def quoted(value: Any) -> str:
    """A value in the grammar of Hydra's overrides."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{quoted(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(quoted, value)) + "]"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return (
        {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else repr(value)
    )
