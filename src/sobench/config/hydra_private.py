"""What sobench uses of Hydra beyond `hydra.main`: the one module to look at when Hydra is upgraded. No torch.

Hydra (1.3) has no public way to parse overrides, to compose with a given loader, to start a launcher, or to say which
key an error is about. These functions use `hydra.core`, the configuration loader, and the text of Hydra's messages.
Hydra is imported inside the functions, since commands that compose nothing start faster without it.

Classes that Hydra instantiates or calls itself depend on its interfaces too: those of `hydra_plugins/sobench` and
`sobench.execution.remote.JobLoader`.
"""

from __future__ import annotations

import math
import re
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sobench.config import advice, files, registry, secrets
from sobench.errors import UsageError

if TYPE_CHECKING:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.override_parser.types import Override as HydraOverride
    from hydra.errors import MissingConfigException
    from hydra.plugins.launcher import Launcher
    from hydra.types import HydraContext
    from omegaconf import DictConfig

CONFIG = "config"
"""The primary configuration, conf/config.yaml."""


# Composition


def version_base() -> dict[str, str]:
    """The argument of Hydra's entry points that asks for the defaults of 1.3; nothing for 1.4, which deprecates it."""
    from hydra import __version__

    return {"version_base": "1.3"} if __version__.startswith("1.3.") else {}


@contextmanager
def config_loader(loader: ConfigLoader | None = None) -> Iterator[ConfigLoader]:
    """The loader given, which is that of the running application; for None, a loader of conf/ of its own."""
    secrets.guard_interpolations()
    if loader is not None:
        yield loader
        return
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    with initialize_config_dir(str(files.conf_dir()), **version_base(), job_name="sobench"):
        yield GlobalHydra.instance().config_loader()


def compose(overrides: Sequence[str], loader: ConfigLoader, sweep: bool = False) -> DictConfig:
    """The configuration of one run with these overrides; of a whole sweep, with sweep=True.

    Raises Hydra's exceptions, and UsageError for a file that copies environment variables into the configuration.
    """
    from hydra.types import RunMode

    mode = RunMode.MULTIRUN if sweep else RunMode.RUN
    config = loader.load_configuration(CONFIG, list(overrides), run_mode=mode)
    if config.hydra.job.env_copy:
        raise UsageError(secrets.COPIED)
    return config


class Halves:
    """The two halves of a composition by Hydra: the files that the overrides choose, and the values that they set.

    Hydra merges the files that the members of config groups name, and then sets all other overrides on the result, one
    after another. So the first half is the same for all overrides that choose the same members. Each file is read once.
    The methods raise Hydra's exceptions.

    searched: overrides of Hydra's own; hydra.searchpath among them says where files are looked for.
    """

    def __init__(self, loader: ConfigLoader, searched: Sequence[str] = ()):
        self._loader: ConfigLoaderImpl = loader  # pyright: ignore[reportAttributeAccessIssue] - the only one there is
        _, self._files = self._loader._parse_overrides_and_create_caching_repo(CONFIG, list(searched))
        self._parsed: dict[str, HydraOverride] = {}
        self._groups: dict[str, bool] = {}

    def split(self, overrides: Sequence[str]) -> tuple[list[HydraOverride], list[HydraOverride]]:
        """The overrides that choose members of groups, and the others, each in the order given."""
        from hydra.types import RunMode

        parsed = [self._parse(override) for override in overrides]
        self._loader.validate_sweep_overrides_legal(parsed, RunMode.RUN, from_shell=True)
        return [o for o in parsed if self._is_choice(o)], [o for o in parsed if not self._is_choice(o)]

    def _parse(self, text: str) -> HydraOverride:
        from hydra.core.override_parser.overrides_parser import OverridesParser

        if text not in self._parsed:
            (self._parsed[text],) = OverridesParser.create().parse_overrides([text])
        return self._parsed[text]

    def _is_choice(self, override: HydraOverride) -> bool:
        """Whether Hydra takes an override for the choice of a group's member, as its defaults list does."""
        group = override.key_or_group
        if group not in self._groups:
            self._groups[group] = self._files.group_exists(group)
        return self._groups[group] and not isinstance(override.value(), dict)

    def merged_files(self, choices: Sequence[HydraOverride]) -> tuple[DictConfig, str | None]:
        """The merged files without the node `hydra`, and the experiment that is chosen, or None."""
        from hydra._internal.defaults_list import create_defaults_list
        from omegaconf import DictConfig, OmegaConf

        listed = create_defaults_list(self._files, CONFIG, list(choices), prepend_hydra=True, skip_missing=False)
        config = OmegaConf.create({})
        for default in listed.defaults:
            if not (default.config_path or "").startswith("hydra/"):
                part = self._loader._load_single_config(default, self._files).config
                config.merge_with(without_hydra(part) if isinstance(part, DictConfig) else part)
        OmegaConf.set_struct(config, True)
        return config, listed.overrides.known_choices.get("experiment")

    def group_of(self, choice: HydraOverride) -> str | None:
        """The group of a choice GROUP=MEMBER in which the member is placed at the group's own node, else None."""
        group = choice.key_or_group
        plain = choice.package is None and not (choice.is_add() or choice.is_force_add() or choice.is_delete())
        return group if plain and group in files.GROUPS and isinstance(choice.value(), str) else None

    def chooses_by_choices(self, choices: Sequence[HydraOverride]) -> bool:
        """Whether a file in the defaults list names a member by another choice: `- model: ${dataset}_model`."""
        from hydra._internal.defaults_list import create_defaults_list

        listed = create_defaults_list(self._files, CONFIG, list(choices), prepend_hydra=True, skip_missing=False)
        paths = [default.config_path for default in listed.defaults]
        loaded = [self._files.load_config(path) for path in paths if path and not path.startswith("hydra/")]
        entries = [entry for file in loaded if file for entry in file.defaults_list or []]
        return any("${" in f"{getattr(entry, 'value', '')}{getattr(entry, 'path', '')}" for entry in entries)

    def set_values(self, config: DictConfig, values: Sequence[HydraOverride]) -> None:
        """Set values on merged files, as Hydra does."""
        self._loader._apply_overrides_to_config(list(values), config)

    def note_overrides(self, config: DictConfig, overrides: Sequence[str]) -> None:
        """Write into the node `hydra` of a whole configuration which overrides it is composed with."""
        from hydra._internal.config_loader_impl import get_overrides_dirname

        ours = [o for o in map(self._parse, overrides) if not o.is_hydra_override()]
        names = config.hydra.job.config.override_dirname
        config.hydra.overrides.task = [o.input_line for o in ours]
        config.hydra.job.override_dirname = get_overrides_dirname(
            ours, kv_sep=names.kv_sep, item_sep=names.item_sep, exclude_keys=names.exclude_keys
        )


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


def without_hydra(config: DictConfig) -> DictConfig:
    """The configuration without the node `hydra`."""
    from omegaconf import OmegaConf

    return (
        OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]) if "hydra" in config else config
    )


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
        """The values of a discrete sweep, in the grammar of overrides; a colon, as in a path, as it was written."""
        return [value.replace("\\:", ":") for value in self._parsed.sweep_string_iterator()]

    def count(self) -> float:
        """The number of values of a discrete sweep, without listing them; not finite if they have no end."""
        from hydra.core.override_parser.types import ChoiceSweep, RangeSweep

        swept: Any = self._parsed.value()
        if isinstance(swept, RangeSweep):
            assert swept.start is not None and swept.stop is not None
            count = -((swept.start - swept.stop) // swept.step) if swept.step else math.inf
            return 0 if count < 0 else count  # it may be NaN
        if isinstance(swept, ChoiceSweep):
            return len(swept.list)
        return len(swept) if isinstance(swept, list) else len(self.values())

    def interval(self) -> Interval:
        """The interval() of a sweep that is not discrete; tag(log,...) makes its scale logarithmic."""
        swept: Any = self._parsed.value()
        return Interval(swept.start, swept.end, "log" in swept.tags)


def check_flags(words: Sequence[str]) -> None:
    """Raises UsageError for a flag of Hydra's that has no effect here, and SystemExit for one that it does not know."""
    from hydra._internal.utils import get_args_parser

    flags, _ = get_args_parser().parse_known_args(list(words))
    if flags.experimental_rerun:
        raise UsageError(
            f"--experimental-rerun {flags.experimental_rerun}: not allowed; the same command again resumes a run"
        )
    if flags.package and not flags.cfg:
        raise UsageError(
            f"--package {flags.package}: it selects what --cfg prints; allowed: --cfg job --package {flags.package}"
        )


def parse_overrides(overrides: Sequence[str], loader: ConfigLoader | None = None) -> list[Override]:
    """The overrides, parsed; with a loader, a sweep over all members of a group (glob) is resolved.

    Raises Hydra's exceptions, and UsageError for an override that reads an environment variable it may not read.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    secrets.check_words(overrides)
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
        raise UsageError(_unknown_key(error, overrides) or _malformed(error, overrides) or first_line(error)) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{mark.name}: no YAML: line {mark.line + 1}: " if mark else "no YAML: "
        raise UsageError(f"{where}{error.problem or error.context}") from error
    except Exception as error:
        if str(error).startswith("Only one of --run"):
            flags = " ".join(word for word in overrides if word.startswith("-"))
            raise UsageError(f"{flags}: {first_line(error).lower()}") from error
        if not _is_of_hydra(error):
            raise
        raise UsageError(_not_a_choice(overrides, first_line(error))) from error


def _is_of_hydra(error: Exception) -> bool:
    """Whether code of Hydra's or OmegaConf's raised the error, or did not expect a value: a wrong type, for instance"""
    frames = list(traceback.walk_tb(error.__traceback__))
    module = frames[-1][0].f_globals.get("__name__", "") if frames else ""
    return module.partition(".")[0] in ("hydra", "omegaconf", "antlr4")


def _unknown_choice(error: MissingConfigException) -> str:
    """The line for a group, and a member that it does not have."""
    path = error.missing_cfg_file or CONFIG
    group, _, got = path.rpartition("/") if path.startswith("hydra/") else path.partition("/")
    if group.startswith("hydra"):
        known = error.options
        return f"{group}: got {got!r}, {registry.suggestion(got, known)}" if known else first_line(error)
    if not files.members(group):
        return first_line(error)
    return f"{group}: got {got!r}, {files.suggestion_for(group, got)}{advice.number_for(group, got)}"


def _not_a_choice(overrides: Sequence[str], reason: str) -> str:
    """The line for a group whose value is not a name; for other overrides, the reason."""
    for override in overrides:
        group, equals, got = override.lstrip("+~").partition("=")
        if equals and group in (*files.GROUPS, "experiment") and not files.is_member(group, got):
            return f"{group}: got {got!r}, {files.suggestion_for(group, got)}{advice.number_for(group, got)}"
    return f"{' '.join(overrides)}: {reason}; allowed: KEY=VALUE"


def _unknown_key(error: Exception, overrides: Sequence[str]) -> str | None:
    """The line for an override of a key that does not exist; None for a message about something else."""
    named = re.search(r"(?:Could not override|Error merging override|Key) '?([\w.@/-]+)", str(error))
    if not named:
        return None
    key, exact = named[1].partition("=")[0], getattr(error.__cause__, "full_key", None) or ""
    return advice.unknown_key(exact if exact.startswith(f"{key}.") else key, overrides)  # of a dict, the key inside it


def _malformed(error: Exception, overrides: Sequence[str]) -> str | None:
    """The line for text that is not an override, or for a sweep without -m; None for another error."""
    message = str(error)
    if message.startswith(("Ambiguous value for argument", "Sweep parameters")):
        key, _, value = _quoted(message).partition("=")
        one = f"; one path: {advice.quoted(key, value)}" if advice.is_path(key) else ""
        return f"{key}={value}: several values are a sweep; allowed: one value, or -m for a sweep{one}"
    override = getattr(error, "override", None)
    if override or hasattr(error, "override") or message.startswith("Error parsing override"):
        return advice.not_a_setting(override or _quoted(message), overrides)
    return None


def _quoted(message: str) -> str:
    """What stands between the first two quotation marks of one of Hydra's messages."""
    return message.partition("'")[2].partition("'")[0]


def first_line(error: Exception) -> str:
    """The first line of an exception's text, without what Hydra and OmegaConf append; its kind if there is no text.

    A line that ends with a colon says only where the error is: then the next one too.
    """
    lines = str(error).strip().splitlines()
    if lines[1:] and lines[0].endswith(":"):
        return f"{lines[0]} {lines[1].strip()}"
    return lines[0] if lines else type(error).__name__
