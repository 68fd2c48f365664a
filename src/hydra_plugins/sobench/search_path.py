"""A search path plug-in that lets the files of conf/hydra/ replace those of other packages. Hydra instantiates it."""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class OwnConfigurations(SearchPathPlugin):
    """Removes what the packages of launchers and sweepers have stored under the names of our files.

    The search path stays as it is: this is the hook that Hydra calls after those packages and before the first
    composition.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        from sobench.config.files import conf_dir
        from sobench.config.hydra_private import remove_stored

        for group in ("hydra/launcher", "hydra/sweeper"):
            remove_stored(group, [file.name for file in (conf_dir() / group).glob("*.yaml")])
