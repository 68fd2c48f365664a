"""Plug-ins that a run uses: their distributions, and the state of the files that define them. No torch.

The run's own record cannot be made again from it if such a file was edited: the checksum and the flag `dirty` tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sobench.config import registry
from sobench.config.registry import Entry
from sobench.config.validation import COMPANIONS
from sobench.system import checkout
from sobench.system.files import digest


def plugins(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """{key in the configuration: description} of everything in a run that is not sobench's own; see `_described`."""
    chosen = ((key, registry.find(kind, name)) for key, kind, name in parts(settings))
    return {key: _described(entry) for key, entry in chosen if entry and not registry.is_ours(entry)}


def parts(settings: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Key, kind and name of everything that a run takes from the registry, besides its loggers."""
    yield from (one for one in registry.chosen(settings) if one[0] != "logger")
    for label, companion in (settings["instrument"].get("companions") or {}).items():
        yield f"{COMPANIONS}.{label}", "optimizers", companion["name"]


def _described(entry: Entry) -> dict[str, Any]:
    """Distribution and version; the module or the path of the file, and the SHA-256 checksum of the file; the commit of
    its git checkout.

    dirty: whether a file in the module's folder has changed since the commit. None stands for what there is not.
    """
    file, package = registry.source_file(entry), registry.package_of(entry)
    try:
        sha256 = digest(file, "sha256").removeprefix("sha256:") if file else None
    except OSError:
        sha256 = None
    commit, dirty = (file and checkout.commit(file.parent, ".")) or (None, None)
    return {
        "distribution": package.name if package else None,
        "version": package.version if package else None,
        "module": registry.module_of(entry),
        "sha256": sha256,
        "commit": commit,
        "dirty": dirty,
    }
