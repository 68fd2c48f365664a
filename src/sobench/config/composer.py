"""Composes the configurations of a sweep: with Hydra once for each choice of config groups. No torch.

Hydra takes some 100 ms for one composition, most of it to read and merge files. The cells of a sweep often differ by
values (`optimizer.lr=0.1`) and share their files. A `Composer` merges the files of each choice of groups once, and sets
the values of a cell on a copy, by Hydra's own functions. Of choices that differ in several groups it merges the files
of each member once, not those of each combination. The result equals Hydra's own composition.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from sobench.config import hydra_private, secrets

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from hydra.core.override_parser.types import Override as HydraOverride
    from omegaconf import DictConfig

    Choices = tuple[HydraOverride, ...]
    Merged = tuple[DictConfig, str | None]
    Constant = tuple[DictConfig, Any, Any]

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
            split, values = self._halves.split(overrides)
            choices = tuple(split)
            set_later = frozenset({SET_LATER, *(value.key_or_group for value in values)})
            seen = (_lines(choices), set_later)
            if any(isinstance(value.value(), dict) for value in values):
                config, experiment = self._merged_files(choices, None)
            elif seen not in self._seen:  # to resolve takes as long as to put together, and pays from the second on
                self._seen.add(seen)
                config, experiment = self._merged_files(choices, set_later)
            else:
                config, experiment = self._resolved(choices, set_later)
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

    def _merged_files(self, choices: Choices, set_later: frozenset[str] | None) -> Merged:
        """`Halves.merged_files`, put together from those of choices that differ in one group from the first ones.

        That is possible where each member changes the node of its own group alone. set_later: dotted paths of the
        values that are set on the files; interpolations that do not depend on them may be resolved. None: none may.
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
            return self._of(choices)
        from omegaconf import flag_override, open_dict

        whole, experiment = self._of(first) if set_later is None else self._resolved(first, set_later.union(changed))
        with open_dict(whole), flag_override(whole, "no_deepcopy_set_nodes", True):  # `_node` returns a copy
            for group, one in changed.items():
                whole[group] = self._node(group, one)
        return whole, experiment

    def _resolved(self, choices: Choices, set_later: frozenset[str]) -> Merged:
        """The merged files, with the interpolations resolved that do not depend on these dotted paths."""

        def resolved() -> Merged:
            config, experiment = self._merged_files(choices, set_later)
            resolve_constants(config, set_later)
            return config, experiment

        return self._copy((_lines(choices), set_later), resolved)

    def _of(self, choices: Choices) -> Merged:
        return self._copy(_lines(choices), lambda: self._halves.merged_files(choices))

    def _node(self, group: str, choices: Choices) -> Any:
        """A copy of the node of a group in the merged files."""

        def alone() -> Any:
            node = self._of(choices)[0][group]
            node._set_parent(None)  # of which a copy would be a part of the copy
            return node

        return self._copy((_lines(choices), group), alone)

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
            self._independent[key] = self._beside(group, one) == self._beside(group, first)
        return self._independent[key]

    def _beside(self, group: str, choices: Choices) -> str:
        """The merged files without the node of a group, and the experiment, as text."""
        from omegaconf import OmegaConf

        config, experiment = self._of(choices)
        contents: Any = OmegaConf.to_container(config, resolve=False)
        return repr(({key: node for key, node in contents.items() if key != group}, experiment))

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
    found = [*_constants(config, visible)]
    for name in changed:
        found += _constants_of_hidden(config, name, visible)
    for node, key, value in found:
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


def _constants(node: DictConfig, visible: DictConfig) -> Iterator[Constant]:
    """The interpolations below a node that have a value in a copy of it, `visible`: their node, key and value.

    Those in lists are left out, and those whose value is a node or has a meaning of its own to OmegaConf.
    """
    from omegaconf import OmegaConf

    for key, part in cast("Iterable[tuple[Any, Any]]", node.items_ex(resolve=False)):
        if OmegaConf.is_interpolation(node, key):
            if (value := _value(visible, key)) is not _UNKNOWN:
                yield node, key, value
        elif OmegaConf.is_dict(part) and part and not OmegaConf.is_interpolation(visible, key):
            yield from _constants(part, visible[key])


def _constants_of_hidden(config: DictConfig, name: str, visible: DictConfig) -> Iterator[Constant]:
    """The same for the interpolations of a top-level node that is hidden in `visible`, unless they look from their own
    place."""
    from omegaconf import OmegaConf

    if OmegaConf.is_missing(config, name) or OmegaConf.is_interpolation(config, name):
        return
    node: Any = config.get(name)
    texts: Any = OmegaConf.to_container(node, resolve=False) if OmegaConf.is_dict(node) else {}
    for key, text in texts.items():
        if OmegaConf.is_interpolation(node, key) and not _RELATIVE.search(text):
            visible[_PLACE] = text
            if (value := _value(visible, _PLACE)) is not _UNKNOWN:
                yield node, key, value


_PLACE = "_place_"
_RELATIVE = re.compile(r"[{:,\s]\.")
"""The beginning of a reference from the interpolation's own place: ${.lr}, ${oc.select:..lr}."""

_UNKNOWN = object()


def _value(visible: DictConfig, key: Any) -> Any:
    """The value of an interpolation; _UNKNOWN if it has none, or one with a meaning of its own to OmegaConf."""
    from omegaconf.errors import OmegaConfBaseException

    try:
        value = visible[key]
    except OmegaConfBaseException:
        return _UNKNOWN
    simple = value is None or isinstance(value, (int, float)) or isinstance(value, str) and not _is_special(value)
    return value if simple else _UNKNOWN


def _is_special(text: str) -> bool:
    """Whether OmegaConf may take a string for an interpolation or for a missing value."""
    return "$" in text or text == "???"
