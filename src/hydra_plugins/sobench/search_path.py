"""The files of conf/hydra/ stand alone, whatever the launchers' and sweepers' own packages say under the same name."""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class OwnConfigurations(SearchPathPlugin):
    """Hydra would merge a file with the node that a package has stored under its name: with a warning, or (Optuna's) an error."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        from hydra.core.config_store import ConfigStore

        from sobench.config.files import conf_dir

        for group in ("launcher", "sweeper"):
            stored = ConfigStore.instance().repo.get("hydra", {}).get(group, {})
            for file in (conf_dir() / "hydra" / group).glob("*.yaml"):
                stored.pop(file.name, None)
