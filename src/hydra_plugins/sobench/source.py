"""A configuration source for optimizers of other packages: `optimizer=theirs` works without YAML.

Hydra instantiates it.
"""

from __future__ import annotations

from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf

GROUP = "optimizer"


class PluginSource(ConfigSource):
    """sobench-plugins://optimizers, searched after conf/: a configuration is a constructor's signature."""

    @staticmethod
    def scheme() -> str:
        return "sobench-plugins"

    def load_config(self, config_path: str) -> ConfigResult:
        from sobench.config.signature import optimizer_defaults

        name = self._name(config_path)
        assert name is not None  # as is_config says
        config = OmegaConf.create(optimizer_defaults(name))
        return ConfigResult(
            provider=self.provider, path=self.full_path(), config=config, header={"package": None}, defaults_list=None
        )

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return config_path in ("", GROUP)

    def is_config(self, config_path: str) -> bool:
        return self._name(config_path) in self._names()

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        if config_path == "":
            return [GROUP] if results_filter in (None, ObjectType.GROUP) else []
        return self._names() if config_path == GROUP and results_filter in (None, ObjectType.CONFIG) else []

    @staticmethod
    def _name(config_path: str) -> str | None:
        group, _, name = config_path.removesuffix(".yaml").partition("/")
        return name if group == GROUP else None

    @staticmethod
    def _names() -> list[str]:
        from sobench.config import registry

        return list(registry.entries("optimizers"))
