"""A configuration source for what has no YAML: `optimizer=theirs` of another package, `model=mine.py:Net` of a file.

Hydra instantiates it.
"""

from __future__ import annotations

from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf


class PluginSource(ConfigSource):
    """sobench-plugins://entry_points, searched after the folders: a configuration is the signature of an object."""

    @staticmethod
    def scheme() -> str:
        return "sobench-plugins"

    def load_config(self, config_path: str) -> ConfigResult:
        from sobench.config import signature

        config = OmegaConf.create(signature.defaults(*self._split(config_path)))
        return ConfigResult(
            provider=self.provider, path=self.full_path(), config=config, header={"package": None}, defaults_list=None
        )

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return config_path in ("", *self._groups())

    def is_config(self, config_path: str) -> bool:
        from sobench.config import registry

        group, name = self._split(config_path)
        return group in self._groups() and registry.is_member(group, name)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        if config_path == "":
            return self._groups() if results_filter in (None, ObjectType.GROUP) else []
        return self._names(config_path) if results_filter in (None, ObjectType.CONFIG) else []

    @staticmethod
    def _split(config_path: str) -> tuple[str, str]:
        """The group and the name of a path GROUP/NAME.yaml."""
        group, _, name = config_path.removesuffix(".yaml").partition("/")
        return group, name

    @staticmethod
    def _groups() -> list[str]:
        from sobench.config.files import GROUPS
        from sobench.config.registry import KINDS

        return [group for group in GROUPS if group in KINDS]

    @classmethod
    def _names(cls, group: str) -> list[str]:
        from sobench.config import registry

        return list(registry.members(group)) if group in cls._groups() else []
