"""Hydra's compositions, each made once in a process: most tests compose the same few configurations."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobRuntime

from sobench.config import files, hydra_private, registry

KINDS = registry.KINDS.values()


def compose_once(patch: pytest.MonkeyPatch) -> None:
    """Compose each configuration once, and unpickle it afterwards.

    Overrides determine a configuration where conf/ and packages alone are searched for files, no plug-in of a test is
    installed or named by its path, and the ConfigStore is the same. Everything else is composed as usual, and so is
    what raises.
    """
    compose, merge = ConfigLoaderImpl._load_configuration_impl, hydra_private.Halves.merged_files
    conf, installed = str(files.conf_dir()), {kind: registry.entries(kind) for kind in KINDS}
    made: dict[Any, bytes] = {}

    def determined(paths: Iterable[str]) -> bool:
        ours = all(path.removeprefix("file://") == conf for path in paths if "/" in path.removeprefix("file://"))
        return ours and all(registry.entries(kind) == installed[kind] for kind in KINDS)

    def once(key: Any, make: Callable[[], Any]) -> Any:
        if key not in made:
            value = make()
            made[key] = pickle.dumps(value)
            return value
        return pickle.loads(made[key])

    def compose_once(loader, config_name, overrides, run_mode, from_shell=True, validate_sweep_overrides=True):
        def anew():
            return compose(loader, config_name, overrides, run_mode, from_shell, validate_sweep_overrides)

        searched = [element.path for element in loader.config_search_path.get_path()]
        searched = [path for path in searched if not path.startswith(("pkg://", "structured://"))]
        if not determined(searched) or any("searchpath" in o or ".py:" in o for o in overrides):
            return anew()
        store = ConfigStore.instance().repo["hydra"]
        stored = (frozenset(store.get(group, ())) for group in ("launcher", "sweeper"))
        if validate_sweep_overrides:
            parsed = OverridesParser.create().parse_overrides(list(overrides))
            loader.validate_sweep_overrides_legal(parsed, run_mode, from_shell)
        # apart from that the mode tells whether `group: ???` is an error, and conf/ has none
        key = config_name, *overrides, JobRuntime.instance().get("name"), *stored
        config = once(key, anew)
        config.hydra.runtime.cwd = os.getcwd()
        return config

    def merge_once(halves, choices):
        paths = [source.path for source in halves._files.get_sources() if source.scheme() == "file"]
        if not determined(paths) or any(".py" in (choice.input_line or "") for choice in choices):
            return merge(halves, choices)
        return once(tuple(choice.input_line for choice in choices), lambda: merge(halves, choices))

    patch.setattr(ConfigLoaderImpl, "_load_configuration_impl", compose_once)
    patch.setattr(hydra_private.Halves, "merged_files", merge_once)
