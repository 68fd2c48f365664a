"""What sobench uses of Hydra beyond `hydra.main`: the one module to look at when Hydra is upgraded. No torch.

Hydra (1.3) has no public way to parse overrides, to compose with a given loader, to start a launcher, or to say which
key an error is about. These functions use `hydra.core`, the configuration loader, and the text of Hydra's messages.
Hydra is imported inside the functions, since commands that compose nothing start faster without it.

Classes that Hydra instantiates or calls itself depend on its interfaces too: those of `hydra_plugins/sobench` and
`sobench.execution.remote.CellLoader`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sobench.config import files, registry
from sobench.errors import UsageError

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.override_parser.types import Override as HydraOverride
    from hydra.errors import MissingConfigException
    from hydra.plugins.launcher import Launcher
    from hydra.types import HydraContext
    from omegaconf import DictConfig

CONFIG = "config"
"""The primary configuration, conf/config.yaml."""


# Composition


@contextmanager
def config_loader(loader: ConfigLoader | None = None) -> Iterator[ConfigLoader]:
    """The loader given, which is that of the running application; for None, a loader of conf/ of its own."""
    if loader is not None:
        yield loader
        return
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    with initialize_config_dir(str(files.conf_dir()), version_base="1.3", job_name="sobench"):
        yield GlobalHydra.instance().config_loader()


def compose(overrides: Sequence[str], loader: ConfigLoader, sweep: bool = False) -> DictConfig:
    """The configuration of one run with these overrides; of a whole sweep, with sweep=True.

    Raises Hydra's exceptions.
    """
    from hydra.types import RunMode

    return loader.load_configuration(CONFIG, list(overrides), run_mode=RunMode.MULTIRUN if sweep else RunMode.RUN)


def search_path(loader: ConfigLoader) -> list[str]:
    """The folders that configurations are searched in, and URLs for those that are no folders."""
    return [element.path.removeprefix("file://") for element in loader.get_search_path().get_path()]


def remove_stored(group: str, names: Collection[str]) -> None:
    """Remove nodes of other packages from the ConfigStore, as "joblib.yaml" of the group "hydra/launcher".

    Hydra would merge a file of conf/ with the node of its name: with a warning, or with an error (Optuna's).
    """
    from hydra.core.config_store import ConfigStore

    nodes: dict[str, Any] = ConfigStore.instance().repo
    for part in group.split("/"):
        nodes = nodes.get(part, {})
    for name in names:
        nodes.pop(name, None)


def experiment_of(config: DictConfig) -> str | None:
    """The experiment that a composed configuration names; None without one.

    Hydra removes its own node from the configuration of a run's task and keeps it in the process instead.
    """
    from hydra.core.hydra_config import HydraConfig

    hydra = config.get("hydra") or (HydraConfig.get() if HydraConfig.initialized() else None)
    return hydra.runtime.choices.get("experiment") if hydra else None


def job_number() -> int:
    """The index, from 0, of the job that Hydra runs now in this process, within its sweep."""
    from hydra.core.hydra_config import HydraConfig

    return HydraConfig.get().job.num


def make_launcher(
    context: HydraContext, loader: Any, config: DictConfig, task: Callable[[DictConfig], Any]
) -> Launcher:
    """The launcher that `config` chooses, which composes its jobs with `loader` and calls `task` with each."""
    from hydra.core.plugins import Plugins
    from hydra.types import HydraContext

    return Plugins.instance().instantiate_launcher(
        hydra_context=HydraContext(config_loader=loader, callbacks=context.callbacks),
        config=config,
        task_function=task,
    )


# Overrides


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, both reals or both whole numbers; on a logarithmic scale or not."""

    low: float
    high: float
    log: bool


class Override:
    """One parsed override of a command line, KEY=VALUE in Hydra's grammar."""

    def __init__(self, parsed: HydraOverride):
        self._parsed = parsed

    @property
    def text(self) -> str:
        """The override as it was written."""
        return self._parsed.input_line or ""

    @property
    def key(self) -> str:
        return self._parsed.get_key_element()

    @property
    def is_hydra(self) -> bool:
        """Whether it is a setting of Hydra's own."""
        return self._parsed.is_hydra_override()

    @property
    def is_sweep(self) -> bool:
        """Whether it has several values: a list of values, range(), choice() or interval()."""
        return self._parsed.is_sweep_override()

    @property
    def is_discrete(self) -> bool:
        """Whether its values can be listed: interval() has none that can."""
        return self._parsed.is_discrete_sweep()

    def values(self) -> list[str]:
        """The values of a discrete sweep, in the grammar of overrides."""
        return list(self._parsed.sweep_string_iterator())

    def interval(self) -> Interval:
        """The interval() of a sweep that is not discrete; tag(log,...) makes its scale logarithmic."""
        swept: Any = self._parsed.value()
        return Interval(swept.start, swept.end, "log" in swept.tags)


def parse_overrides(overrides: Sequence[str], loader: ConfigLoader | None = None) -> list[Override]:
    """The overrides, parsed; with a loader, a sweep over all members of a group (glob) is resolved.

    Raises Hydra's exceptions.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return [
        Override(parsed) for parsed in OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
    ]


# Errors


@contextmanager
def readable_errors(overrides: Sequence[str]) -> Iterator[None]:
    """Turn exceptions of Hydra and OmegaConf into a UsageError of one line: key, value, what is allowed."""
    import yaml
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except MissingConfigException as error:
        raise UsageError(_unknown_choice(error)) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(_unknown_key(str(error), overrides) or _malformed(error) or first_line(error)) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{mark.name}: no YAML: line {mark.line + 1}: " if mark else "no YAML: "
        raise UsageError(f"{where}{error.problem or error.context}") from error
    except ValueError as error:
        if str(error).startswith("Only one of --run"):
            flags = " ".join(word for word in overrides if word.startswith("-"))
            raise UsageError(f"{flags}: {first_line(error).lower()}") from error
        if "Config group override must be" not in str(error):
            raise
        raise UsageError(_not_a_choice(overrides)) from error


def _unknown_choice(error: MissingConfigException) -> str:
    """The line for a group, and a member that it does not have."""
    path = error.missing_cfg_file or CONFIG
    group, _, got = path.rpartition("/") if path.startswith("hydra/") else path.partition("/")
    known = error.options if group.startswith("hydra") else files.members(group)
    return f"{group}: got {got!r}, {registry.suggestion(got, known)}" if known else first_line(error)


def _not_a_choice(overrides: Sequence[str]) -> str:
    """The line for a group whose value is not a name."""
    for override in overrides:
        group, _, got = override.lstrip("+").partition("=")
        if group in files.GROUPS and got not in files.members(group):
            return f"{group}: got {got!r}, {registry.suggestion(got, files.members(group))}"
    return f"{' '.join(overrides)}: allowed: KEY=VALUE"


def _unknown_key(message: str, overrides: Sequence[str]) -> str | None:
    """The line for an override of a key that does not exist; None for a message about something else."""
    named = re.search(r"(?:Could not override|Error merging override|Key) '?([\w.@/-]+)", message)
    if not named:
        return None
    key = named[1].partition("=")[0]
    parent, _, leaf = key.rpartition(".")
    known = files.known_keys(parent, files.chosen(overrides))
    return f"{key}: no such key" + (f", {registry.suggestion(leaf, known)}" if known else "")


def _malformed(error: Exception) -> str | None:
    """The line for text that is not an override, or for a sweep without -m; None for another error."""
    message = str(error)
    if message.startswith(("Ambiguous value for argument", "Sweep parameters")):
        return f"{_quoted(message)}: several values are a sweep; allowed: one value, or -m for a sweep"
    override = getattr(error, "override", None)
    if override or hasattr(error, "override") or message.startswith("Error parsing override"):
        text = override or _quoted(message)
        return f"{text}: not a setting; allowed: KEY=VALUE, quoted where the value has spaces or brackets"
    return None


def _quoted(message: str) -> str:
    """What stands between the first two quotation marks of one of Hydra's messages."""
    return message.split("'")[1]


def first_line(error: Exception) -> str:
    """The first line of an exception's text, without what Hydra and OmegaConf append; its kind if there is no text."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
