"""A search path plug-in: the user's own folder goes before that of sobench. Hydra instantiates it."""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.plugins.search_path_plugin import SearchPathPlugin


class OwnConfigurations(SearchPathPlugin):
    """Lets files of the user's own replace those of sobench, and files of conf/hydra/ those of other packages.

    What the packages of launchers and sweepers have stored under the names of our files is removed here: this is the
    hook that Hydra calls after those packages and before the first composition.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        from sobench.config.files import conf_dir, conf_dirs, own_conf_dir
        from sobench.config.hydra_private import remove_stored

        ours = [element for element in search_path.get_path() if element.path == str(conf_dir())]
        own = own_conf_dir()
        if own and ours:  # another application composes without them
            search_path.prepend(provider="sobench", path=str(own), anchor=SearchPathQuery(path=ours[0].path))
        for group in ("hydra/launcher", "hydra/sweeper"):
            files = [file for folder in conf_dirs() for file in (folder / group).glob("*.yaml")]
            remove_stored(group, [file.name for file in files])
