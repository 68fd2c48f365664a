"""Hydra's compositions, one for each choice of config groups in a process: most tests make the same few choices."""

from __future__ import annotations

import os
import pickle
import sysconfig
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobRuntime

from sobench.config import files, hydra_private, registry

KINDS = registry.KINDS.values()


COMPOSE = ConfigLoaderImpl._load_configuration_impl
"""Hydra's own composition, which nothing keeps."""

LOAD = ConfigRepository.load_config
"""Hydra's own reading of a file, with its defaults list, which nothing keeps."""


def load_once(patch: pytest.MonkeyPatch) -> None:
    """Make a configuration of each file of YAML once for each of its contents, and copy no store of Hydra's."""
    loaded: dict[Any, bytes] = {}

    def load_once(repository, config_path):
        source = repository._find_object_source(config_path, ObjectType.CONFIG)
        if source is None or source.scheme() != "file":
            return LOAD(repository, config_path)
        file = Path(source.path, source._normalize_file_name(config_path))
        key = source.provider, str(file), file.read_bytes()
        if key not in loaded:
            result = LOAD(repository, config_path)
            loaded[key] = pickle.dumps(result)
            return result
        return pickle.loads(loaded[key])

    patch.setattr(ConfigRepository, "load_config", load_once)
    # a composition copies the store with its sources; what is stored is copied again where it is read
    patch.setattr(ConfigStore, "__deepcopy__", lambda store, memo: store, raising=False)


def texts_below(folder: str) -> list[tuple[str, bytes]]:
    """The paths of the files below a folder, from there, and their contents; what Python has compiled is left out."""
    found = (file for file in sorted(Path(folder).rglob("*")) if file.is_file() and file.suffix != ".pyc")
    return [(str(file.relative_to(folder)), file.read_bytes()) for file in found]


def compose_once(patch: pytest.MonkeyPatch) -> None:
    """Compose the configuration of each choice of config groups once, and set all other values on a copy of it.

    Choices determine a configuration where conf/, packages and files of the same contents are searched, and the
    ConfigStore is the same. Everything else is composed as usual, and so is what raises.
    """
    merge, interpolation_map = hydra_private.Halves.merged_files, defaults_list._create_interpolation_map
    conf, installed = str(files.conf_dir()), {kind: registry.entries(kind) for kind in KINDS}
    made: dict[Any, bytes] = {}
    groups: dict[Any, bool] = {}

    def files_beside_ours(paths: Iterable[str]) -> tuple[Any, ...] | None:
        """The contents of other folders that are searched, and of packages that a test has installed in any folder.

        None if somebody else has installed one meanwhile: all packages are in one folder then, too large to be read.
        """
        folders = {path.removeprefix("file://") for path in paths} - {conf}
        entries = [entry for kind in KINDS for entry in registry.entries(kind).items() - installed[kind].items()]
        packages = {str(entry.dist.locate_file("")) for _, entry in entries if entry.dist}
        if sysconfig.get_path("purelib") in packages:
            return None
        searched = [text for folder in sorted(folders) if "/" in folder for text in (folder, *texts_below(folder))]
        of_packages = [text for folder in sorted(packages) for text in texts_below(folder)]
        return *(tuple(registry.entries(kind)) for kind in KINDS), *searched, "packages", *of_packages

    def once(key: Any, make: Callable[[], Any]) -> Any:
        if key not in made:
            value = make()
            made[key] = pickle.dumps(value)
            return value
        return pickle.loads(made[key])

    def is_choice(loader: ConfigLoaderImpl, others: tuple[Any, ...], override: Override) -> bool:
        """As Hydra's defaults list decides it."""
        key = others, override.key_or_group
        if key not in groups:
            groups[key] = loader.repository.group_exists(override.key_or_group)
        return groups[key] and not isinstance(override.value(), dict)

    def compose_once(loader, config_name, overrides, run_mode, from_shell=True, validate_sweep_overrides=True):
        def anew(overrides=overrides):
            return COMPOSE(loader, config_name, list(overrides), run_mode, from_shell, validate_sweep_overrides)

        searched = [element.path for element in loader.config_search_path.get_path()]
        searched = [path for path in searched if not path.startswith(("pkg://", "structured://"))]
        others = files_beside_ours(searched)
        if others is None or any(word in text for text in overrides for word in ("searchpath", "env_", ".py:")):
            return anew()
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        if validate_sweep_overrides:
            loader.validate_sweep_overrides_legal(parsed, run_mode, from_shell)
        single = [override for override in parsed if not override.is_sweep_override()]
        choices = [override.input_line for override in single if is_choice(loader, others, override)]
        values = [override for override in single if not is_choice(loader, others, override)]
        store = ConfigStore.instance().repo["hydra"]
        stored = (frozenset(store.get(group, ())) for group in ("launcher", "sweeper"))
        # apart from that the mode tells whether `group: ???` is an error, and conf/ has none
        config = once(
            (others, config_name, *choices, JobRuntime.instance().get("name"), *stored), lambda: anew(choices)
        )
        loader._apply_overrides_to_config(values, config)
        config.hydra.runtime.cwd = os.getcwd()
        config.hydra.overrides.hydra = [o.input_line for o in parsed if o.is_hydra_override()]
        ours = [override for override in parsed if not override.is_hydra_override()]
        config.hydra.overrides.task = [override.input_line for override in ours]
        names = config.hydra.job.config.override_dirname
        config.hydra.job.override_dirname = get_overrides_dirname(
            ours, kv_sep=names.kv_sep, item_sep=names.item_sep, exclude_keys=names.exclude_keys
        )
        return config

    def merge_once(halves, choices):
        others = files_beside_ours(source.path for source in halves._files.get_sources() if source.scheme() == "file")
        if others is None or any(".py:" in (choice.input_line or "") for choice in choices):
            return merge(halves, choices)
        return once((others, *(choice.input_line for choice in choices)), lambda: merge(halves, choices))

    def map_if_needed(overrides, defaults, self_added):
        """The choices by which a defaults list names members: few lists do, and a map takes 2 ms."""
        return (
            interpolation_map(overrides, defaults, self_added) if any(d.is_interpolation() for d in defaults) else None
        )

    patch.setattr(ConfigLoaderImpl, "_load_configuration_impl", compose_once)
    patch.setattr(hydra_private.Halves, "merged_files", merge_once)
    patch.setattr(defaults_list, "_create_interpolation_map", map_if_needed)
