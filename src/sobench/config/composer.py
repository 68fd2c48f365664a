"""Composes the configurations of a sweep: with Hydra once for each choice of config groups. No torch.

Hydra takes some 100 ms for one composition, most of it to read and merge files. The cells of a sweep often differ by
values (`optimizer.lr=0.1`) and share their files. A `Composer` merges the files of each choice of groups once, and sets
the values of a cell on a copy, by Hydra's own functions. Of choices that differ in several groups it merges the files
of each member once, not those of each combination. The result equals Hydra's own composition.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from sobench.config import hydra_private, secrets

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.override_parser.types import Override as HydraOverride
    from omegaconf import DictConfig

    Choices = tuple[HydraOverride, ...]
    Merged = tuple[DictConfig, str | None]

Lines = tuple[str | None, ...]
"""Overrides as they were written."""

SET_LATER = "seed"
"""The key that is set for each run of a cell, after the composition of the cell."""


class Composer:
    """The configurations of one command. The merged files are kept as long as the object lives.

    hydra_overrides: overrides of Hydra's own, which `job` adds to those of each job.
    """

    def __init__(self, loader: ConfigLoader, hydra_overrides: Sequence[str] = ()):
        secrets.guard_interpolations()
        self._loader, self._hydra_overrides = loader, list(hydra_overrides)
        self._halves = hydra_private.Halves(loader, hydra_overrides)
        self._merged: dict[Any, bytes] = {}
        self._first: dict[Lines, Choices] = {}
        self._dependent: dict[Lines, bool] = {}
        self._independent: dict[Lines, bool] = {}
        self._seen: set[tuple[Lines, frozenset[str]]] = set()

    def cell(self, overrides: Sequence[str]) -> tuple[DictConfig, str | None]:
        """The configuration of a cell without the node `hydra`, and its experiment, or None. Raises Hydra's exceptions.

        Interpolations may be resolved in it, unless they depend on SET_LATER.
        """
        try:
            choices, values = self._halves.split(overrides)
            chosen = _lines(choices)
            keys = frozenset(value.key_or_group for value in values)
            has_dict = any(isinstance(value.value(), dict) for value in values)

            def merged() -> tuple[DictConfig, str | None]:
                return self._copy(chosen, lambda: self._merged_files(tuple(choices)))

            def resolved() -> tuple[DictConfig, str | None]:
                config, experiment = merged()
                resolve_constants(config, keys | {SET_LATER})
                return config, experiment

            is_first = (chosen, keys) not in self._seen
            self._seen.add((chosen, keys))
            config, experiment = merged() if has_dict or is_first else self._copy((chosen, keys), resolved)
            self._halves.set_values(config, values)
            return config, experiment
        except Exception:  # Hydra has the message, which names the overrides
            whole = hydra_private.compose(overrides, self._loader)
            return hydra_private.without_hydra(whole), hydra_private.experiment_of(whole)

    def job(self, overrides: Sequence[str]) -> DictConfig:
        """The whole configuration of a job, the node `hydra` included. Raises Hydra's exceptions."""
        try:
            choices, values = self._halves.split(overrides)
            if not any(override.is_hydra_override() for override in (*choices, *values)):
                chosen = [*self._hydra_overrides, *(str(choice.input_line) for choice in choices)]
                config = self._copy(tuple(chosen), lambda: hydra_private.compose(chosen, self._loader))
                self._halves.set_values(config, values)
                self._halves.note_overrides(config, overrides)
                return config
        except Exception:  # as above
            pass
        return hydra_private.compose([*self._hydra_overrides, *overrides], self._loader)

    def _merged_files(self, choices: Choices) -> Merged:
        """`Halves.merged_files`, put together from those of choices that differ in one group from the first ones.

        That is possible where each member changes the node of its own group alone.
        """
        groups = tuple(self._halves.group_of(choice) or choice.input_line for choice in choices)
        first = self._first.setdefault(groups, choices)
        changed = {
            group: (*first[:place], choice, *first[place + 1 :])
            for place, (group, choice) in enumerate(zip(groups, choices, strict=True))
            if group is not None and choice.input_line != first[place].input_line
        }
        alone = len(changed) > 1 and len(set(groups)) == len(groups) and not self._depend(first)
        if not alone or not all(self._is_independent(group, one, first) for group, one in changed.items()):
            return self._halves.merged_files(choices)
        from omegaconf import open_dict

        whole, experiment = self._of(first)
        with open_dict(whole):
            for group, one in changed.items():
                whole[group] = self._of(one)[0][group]
        return whole, experiment

    def _of(self, choices: Choices) -> Merged:
        return self._copy(_lines(choices), lambda: self._halves.merged_files(choices))

    def _depend(self, choices: Choices) -> bool:
        """Whether some choice depends on another, see `Halves.chooses_by_choices`."""
        key = _lines(choices)
        if key not in self._dependent:
            self._dependent[key] = self._halves.chooses_by_choices(choices)
        return self._dependent[key]

    def _is_independent(self, group: str, one: Choices, first: Choices) -> bool:
        """Whether these choices, which differ in one group, differ in the node of that group alone."""
        key = _lines(one)
        if key not in self._independent:
            (a, of_a), (b, of_b) = self._of(one), self._of(first)
            same = [node for node in a if node != group] == [node for node in b if node != group]
            others = ({k: node for k, node in c.items_ex(resolve=False) if k != group} for c in (a, b))
            self._independent[key] = of_a == of_b and same and next(others) == next(others)
        return self._independent[key]

    def _copy(self, key: Any, make: Callable[[], Any]) -> Any:
        """A copy of what `make` returns, which is called once for each key.

        A copy is made by unpickling, which takes a quarter of the time of OmegaConf's own copy.
        """
        if key not in self._merged:
            self._merged[key] = pickle.dumps(make())
        return pickle.loads(self._merged[key])


def _lines(choices: Iterable[HydraOverride]) -> Lines:
    return tuple(choice.input_line for choice in choices)


def resolve_constants(config: DictConfig, keys: frozenset[str]) -> None:
    """Replace interpolations by their values, unless these may depend on what is set at `keys`, dotted paths.

    OmegaConf parses an interpolation each time that it resolves it, and ten of them take as long as all else of a cell.
    To see what depends on a top-level node, the node is hidden: then an interpolation that needs it has no value.
    """
    from omegaconf import DictConfig

    if any(_leads_elsewhere(config, key) for key in keys):
        return
    changed = {key.partition(".")[0] for key in keys}
    visible = DictConfig(dict(config.items_ex(resolve=False)) | dict.fromkeys(changed, "${_hidden_}"))
    for node, key, value in list(_constants(config, visible)):
        node[key] = value


def _leads_elsewhere(config: DictConfig, path: str) -> bool:
    """Whether a dotted path goes through an interpolation: what is set there is set on another node."""
    from omegaconf import OmegaConf

    node: Any = config
    for key in path.split(".")[:-1]:
        if not OmegaConf.is_dict(node) or key not in node:
            return False
        if OmegaConf.is_interpolation(node, key):
            return True
        node = node[key]
    return False


def _constants(node: DictConfig, visible: DictConfig) -> Iterator[tuple[DictConfig, Any, Any]]:
    """The interpolations below a node that have a value in a copy of it, `visible`: their node, key and value.

    Those in lists are left out, and those whose value is a node or has a meaning of its own to OmegaConf.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for key, part in cast("Iterable[tuple[Any, Any]]", node.items_ex(resolve=False)):
        if OmegaConf.is_interpolation(node, key):
            try:
                value = visible[key]
            except OmegaConfBaseException:
                continue
            if value is None or isinstance(value, (int, float)) or isinstance(value, str) and not _is_special(value):
                yield node, key, value
        elif OmegaConf.is_dict(part) and part and not OmegaConf.is_interpolation(visible, key):
            yield from _constants(part, visible[key])


def _is_special(text: str) -> bool:
    """Whether OmegaConf may take a string for an interpolation or for a missing value."""
    return "$" in text or text == "???"
