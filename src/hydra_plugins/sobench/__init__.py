"""The plug-ins of sobench for Hydra, which instantiates them: sweepers, a configuration source, a search path.

Hydra imports this package for every command that composes, so that it imports neither torch nor much of sobench.
"""

from hydra_plugins.sobench.optuna_sweeper import OptunaSweeper
from hydra_plugins.sobench.search_path import OwnConfigurations
from hydra_plugins.sobench.source import PluginSource
from hydra_plugins.sobench.sweeper import GridSweeper

__all__ = ["GridSweeper", "OptunaSweeper", "OwnConfigurations", "PluginSource"]
