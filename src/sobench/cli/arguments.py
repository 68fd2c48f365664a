"""Turn the arguments of a command into the runs that they are about: what `sobench run -m` takes, or a folder."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sobench.errors import UsageError

if TYPE_CHECKING:
    from sobench.config.run import Run

OVERRIDES = "settings, as for `sobench run -m` (optimizer=sgd,adam budget=cpu seed=0,1 runs=DIR ...)"
EXPERIMENT = "experiment="


@dataclass(frozen=True)
class Selection:
    """The runs that a command is about: those of an experiment or of settings, or all runs in a folder.

    experiment: its name, if there is one. overrides: the other settings, as `sobench run -m` takes them.
    """

    experiment: str | None
    overrides: list[str]

    @property
    def is_everything(self) -> bool:
        """Whether nothing selects runs, so that the command is about all runs in the folder."""
        return self.experiment is None and not selecting(self.overrides)

    @property
    def folder(self) -> Path:
        """The folder of the runs, where nothing selects runs: the value of `runs=DIR`, else `runs`."""
        return Path(value_of("runs", self.overrides) or "runs")

    @property
    def settings(self) -> list[str]:
        """All settings, with that of the experiment."""
        return [f"{EXPERIMENT}{self.experiment}", *self.overrides] if self.experiment else self.overrides

    @property
    def arguments(self) -> list[str]:
        """The arguments of `sobench run` that make these runs. An experiment is a sweep by itself."""
        return self.settings if self.experiment else ["-m", *self.settings]

    @property
    def words(self) -> list[str]:
        """The arguments of the other commands: the experiment is a word."""
        return [self.experiment, *self.overrides] if self.experiment else self.overrides

    def runs(self) -> list[Run]:
        """The runs of the experiment or of the settings. Raises UsageError."""
        from sobench.config.grid import expand

        return expand(self.settings)


def selection(words: Iterable[str | None]) -> Selection:
    """What these arguments select. An experiment is a word, or the setting `experiment=NAME`.

    Raises UsageError for two experiments, and as `check_overrides`.
    """
    given = [word for word in words if word]
    named = [word.removeprefix(EXPERIMENT) for word in given if word.startswith(EXPERIMENT)]
    bare = [word for word in given if not is_override(word)]
    if len(bare) > 1:
        check_overrides(bare[1:])
    experiments = [name for name in dict.fromkeys([*bare, *named]) if name != "null"]
    if len(experiments) > 1:
        raise UsageError(f"experiment: got {' and '.join(experiments)}, allowed: one experiment")
    overrides = [word for word in given if is_override(word) and not word.startswith(EXPERIMENT)]
    return Selection(experiments[0] if experiments else None, check_overrides(overrides))


def of_command(args: argparse.Namespace) -> Selection:
    """What the arguments `experiment` and `overrides` of a command select. Raises as `selection`."""
    return selection([args.experiment, *args.overrides])


def require_runs(selected: Selection, command: str) -> Selection:
    """The selection. Raises UsageError if nothing selects runs."""
    if selected.is_everything:
        allowed = f"an experiment, or settings as for `sobench run -m`: sobench {command} optimizer=sgd,adam seed=0,1"
        raise UsageError(f"{command}: got {' '.join(selected.words) or 'no argument'}, allowed: {allowed}")
    return selected


def selecting(overrides: Iterable[str]) -> list[str]:
    """The settings that select the runs, without those that say where and how they are made."""
    return [override for override in overrides if _selects(override)]


def _selects(override: str) -> bool:
    from sobench.config.advice import changes_nothing

    key = key_of(override)
    if key.startswith("hydra"):
        return key.startswith(("hydra.sweeper", "hydra/sweeper"))
    return not changes_nothing(key)


def split(words: str) -> list[str]:
    """The names in a word, separated by commas."""
    return [name for name in words.split(",") if name]


def checked_optimizer(name: str, command: str) -> str:
    """The name of an optimizer, or the path of one. Raises UsageError for another word."""
    from sobench.config import registry

    if registry.is_member("optimizer", name):
        return name
    known = registry.members("optimizer")
    raise UsageError(
        f"{command}: got {name!r}, which is no optimizer, experiment, folder or setting; "
        f"{registry.suggestion(name, known, 'sobench list optimizers')}"
    )


def value_of(key: str, overrides: Iterable[str]) -> str | None:
    """The value of a setting of one value, without the quotation marks that Hydra takes; None if it is not given."""
    values = [override.partition("=")[2] for override in overrides if key_of(override) == key]
    if not values:
        return None
    value = values[-1]
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value


def key_of(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def is_override(word: str) -> bool:
    """Whether an argument is a setting: KEY=VALUE, or ~KEY, which removes one."""
    return "=" in word or word.startswith("~")


def check_overrides(overrides: Sequence[str]) -> list[str]:
    """The overrides as they are. Raises UsageError for one that is not KEY=VALUE, and as `advice.check`."""
    from sobench.config import advice

    for override in overrides:
        if not is_override(override):
            raise UsageError(advice.not_a_setting(override, overrides))
    advice.check(overrides)
    return list(overrides)
