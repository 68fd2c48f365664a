"""What sobench plugs into Hydra: sweepers, and configurations that have no YAML or stand alone. Light to import."""

from hydra_plugins.sobench.optuna_sweeper import OptunaSweeper
from hydra_plugins.sobench.search_path import OwnConfigurations
from hydra_plugins.sobench.source import PluginSource
from hydra_plugins.sobench.sweeper import GridSweeper

__all__ = ["GridSweeper", "OptunaSweeper", "OwnConfigurations", "PluginSource"]
