"""From the words of a command line to the runs they ask for. Nothing is started, nothing is written, no torch.

    overrides --Hydra--> master configuration --params x cells x values--> one list of overrides a job --> Run

`hydra.sweeper.params` is the grid of an experiment; `hydra.sweeper.cells` are zipped settings, each a list of overrides, so
that every optimizer comes with its own learning rate. A config group named on the command line (`optimizer=sgd`) selects
among the cells, and a look-alike (`dataset=curves_synthetic`) takes the place of its original in them; any other override
applies to all of them.

`hydra.sweeper.tuned` names a file of chosen settings, which take the place of those of the cells; `hydra.sweeper.trials` makes
of the cells those of the grid that they are chosen from. See sobench.config.tuning.
`hydra.sweeper.jobs` names a file of jobs, see sobench.config.jobs: any runs.

The cells of an experiment, each a list of settings as `optimizer.lr=0.1`; which of them a command line selects. No torch.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sobench.config import files, identity, tuning
from sobench.config.compositions import Compositions, Words
from sobench.config.files import GROUPS
from sobench.config.hydra_errors import readable_errors
from sobench.config.jobs import read as read_jobs
from sobench.config.run import Run
from sobench.errors import UsageError
from sobench.system.text import Wait


def expand(overrides: Sequence[str], loader=None) -> list[Run]:
    """Every run of a sweep, in order, each once. Raises UsageError for whatever is wrong with any of them."""
    with _loader(loader) as loader:
        jobs = [(job, *seedless(job)) for job in job_overrides(overrides, loader)]
        cells = _cells(list(dict.fromkeys(rest for _, rest, _ in jobs)), Compositions(overrides, loader), loader)
        runs: dict[str, Run] = {}
        for job, rest, seed in jobs:
            run = cells[rest].seeded(seed, job) if cells[rest] else Run.of(identity.plain(compose(job, loader)), job)
            runs.setdefault(run.id, run)
        return list(runs.values())


def seedless(job: Sequence[str]) -> tuple[Words, int | None]:
    """The overrides of a job but for its seed, and the seed; None where they give none, or it is no plain number."""
    rest = tuple(word for word in job if not (word.startswith("seed=") and word[5:].isdecimal()))
    return rest, next((int(word[5:]) for word in job if word not in rest), None)


def _cells(asked: Sequence[Words], kept: Compositions, loader) -> dict[Words, Run | None]:
    """The run of each cell, see `_cell`. What is new is kept, however this ends; where that takes long, a line says how long."""
    new = {words for words in asked if kept.get(words) is None}
    wait, runs = Wait("configurations to compose and check", len(new)), {}
    try:
        for words in asked:
            runs[words] = _cell(words, kept, loader)
            if words in new:
                wait.one_done()
    finally:
        kept.keep()
    return runs


def _cell(words: Words, kept: Compositions, loader) -> Run | None:
    """The run of these words, composed and checked, or as it was kept: all seeds of its cell are the same but for the seed.
    None where a setting refers to the seed, and each has to be composed."""
    settings = kept.get(words)
    if settings is None:
        composed = compose(list(words), loader)
        if identity.refers_to(composed, "seed"):
            return None
        settings = identity.resolved(composed)
        kept.add(words, settings)
    return Run.of(identity.with_contents(settings), words)


def compose(overrides: list[str], loader):
    """One job's configuration, by Hydra. Raises UsageError."""
    from hydra.types import RunMode

    with readable_errors(overrides):
        return loader.load_configuration("config", overrides, run_mode=RunMode.RUN)


def job_overrides(overrides: Sequence[str], loader) -> list[list[str]]:
    """The list of overrides of each job: the grid's values x the experiment's cells."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    with readable_errors(overrides):
        parser = OverridesParser.create(config_loader=loader)
        parsed = parser.parse_overrides(list(overrides))
        sweeper = _sweeper(parsed, loader)
        params = parser.parse_overrides([f"{k}={v}" for k, v in sweeper["params"].items()])
    given = [
        {o.get_key_element(): _values(o) for o in words if not o.is_hydra_override()} for words in (params, parsed)
    ]
    cells = checked(sweeper["cells"])
    if sweeper["jobs"]:
        cells = read_jobs(sweeper["jobs"])
    elif sweeper["trials"]:
        cells, given[0]["seed"] = tuning.trials(sweeper)
    elif sweeper["tuned"]:
        cells = tuning.chosen(cells, sweeper["tuned"])
    for values in given:  # the command line selects among what the experiment selects
        cells = selected(cells, values)
    values = given[0] | given[1]
    grid = [values[key] for key in values if not cells or key not in group_keys(cells)]
    return [[*job, *cell] for cell in cells or [[]] for job in itertools.product(*grid)]


def sweeper(overrides: Sequence[str], loader=None) -> dict[str, Any]:
    """What an experiment says of its sweep: params, cells, tune, tuned."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    with _loader(loader) as loader, readable_errors(overrides):
        return _sweeper(OverridesParser.create(config_loader=loader).parse_overrides(list(overrides)), loader)


def _sweeper(parsed, loader) -> dict[str, Any]:
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    about_sweep = [o.input_line for o in parsed if o.is_hydra_override() or o.get_key_element() == "experiment"]
    found = loader.load_configuration("config", about_sweep, run_mode=RunMode.MULTIRUN).hydra.sweeper
    return OmegaConf.to_container(found, resolve=False)  # a run resolves what its cell refers to


def for_hydra(words: Sequence[str]) -> list[str]:
    """The words of a sweep as Hydra takes them. It also composes a configuration without what is swept, where a setting of
    a group that is swept, or chosen by an experiment's cells, may not exist: as a sweep of one value it is left to the runs."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    swept = {found[1] for word in words if (found := re.match(r"(\w+)=.*[,(]", word))} & set(GROUPS)
    about = [word for word in words if word.startswith("experiment=")]
    if about and any(word.split(".")[0] in GROUPS for word in words):
        swept |= group_keys(sweeper(about)["cells"])
    parser = OverridesParser.create() if swept else None
    alone = lambda word: (
        word.split(".")[0] in swept and "=" in word and not parser.parse_overrides([word])[0].is_sweep_override()
    )
    return [re.sub(r"=(.*)", r"=choice(\1)", word, count=1, flags=re.DOTALL) if alone(word) else word for word in words]


def _values(override) -> list[str]:
    key = override.get_key_element()
    if not override.is_sweep_override():
        return [override.input_line]
    if not override.is_discrete_sweep():
        raise UsageError(
            f"{override.input_line}: allowed in a sweep: a list of values, range() or choice(); "
            "hydra/sweeper=optuna searches an interval()"
        )
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


@contextmanager
def _loader(loader) -> Iterator[Any]:
    """Hydra's configuration loader: the running application's, or one of our own."""
    if loader is not None:
        yield loader
        return
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    with initialize_config_dir(str(files.conf_dir()), version_base="1.3", job_name="sobench"):
        yield GlobalHydra.instance().config_loader()


Cells = list[list[str]]


def checked(cells: Any) -> Cells:
    """Cells as they are. Raises UsageError for what is no list of lists of settings."""
    fine = isinstance(cells, list) and all(isinstance(cell, list) and cell for cell in cells)
    if not (fine and all(isinstance(setting, str) and "=" in setting for cell in cells for setting in cell)):
        raise UsageError(
            f"hydra.sweeper.cells: got {cells!r}, allowed: lists of quoted settings, as "
            '[["optimizer=sgd","optimizer.lr=0.1"],["optimizer=adam","optimizer.lr=0.01"]]'
        )
    return cells


def group_keys(cells: Cells) -> set[str]:
    """The config groups that cells choose among."""
    keys = {setting.split("=", 1)[0] for cell in cells for setting in cell}
    return keys & set(GROUPS)


def selected(cells: Cells, values: dict[str, list[str]]) -> Cells:
    """The cells that name the members of the groups given, without the settings that are given."""
    keys = sorted(group_keys(cells) & set(values))
    cells = cells + [cell for key in keys for value in values[key] for cell in _stand_in(cells, value)]
    for key in keys:
        allowed = sorted({s for cell in cells for s in cell if s.startswith(f"{key}=")})
        for value in values[key]:
            if value not in allowed:
                raise UsageError(
                    f"{key}: got {value.split('=', 1)[1]!r}, allowed in this experiment: "
                    + ", ".join(a.split("=", 1)[1] for a in allowed)
                )
    cells = [cell for cell in cells if all(set(cell) & set(values[key]) for key in keys)]
    return [[s for s in cell if s.split("=", 1)[0] not in values or s.split("=", 1)[0] in GROUPS] for cell in cells]


def _stand_in(cells: Cells, value: str) -> Cells:
    """The cells of a data set as cells of its look-alike, NAME_synthetic for NAME, where that is the value."""
    original = value.removesuffix("_synthetic")
    alike = original != value and original.startswith("dataset=") and not any(value in cell for cell in cells)
    return [[value if s == original else s for s in cell] for cell in cells if original in cell] if alike else []
