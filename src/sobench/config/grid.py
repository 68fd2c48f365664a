"""Expands the overrides of a command line into the runs that they ask for. Starts and writes nothing. No torch.

    overrides --Hydra--> master configuration --params x cells x values--> one list of overrides a job --> Run

`hydra.sweeper.params` is the grid of an experiment: every combination of values is a job. `hydra.sweeper.cells` are
zipped settings, each cell a list of overrides, so that every optimizer comes with its own learning rate. A config group
named on the command line (`optimizer=sgd`) selects among the cells; a synthetic data set (`dataset=curves_synthetic`)
takes the place of its original in them. Every other override applies to all cells.

`hydra.sweeper.tuned` names a file of tuned settings, which replace those of the cells. `hydra.sweeper.trials` replaces
the cells by the trials of hyperparameter tuning; see sobench.config.tuning. `hydra.sweeper.jobs` names a file that
lists the overrides of each run; see sobench.config.jobs.

`budget.grid=first`, of the budget `smoke`, takes a part of an experiment: the first seed, the first value of each
hyperparameter, and cells enough for every method on every model and for every problem. Values that the command line
names are all taken.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sobench.config import advice, files, hydra_private, identity, jobs, tuning
from sobench.config.composer import SET_LATER, Composer
from sobench.config.files import GROUPS
from sobench.config.hydra_private import Override, config_loader, readable_errors
from sobench.config.rules import Rule, check
from sobench.config.run import Run
from sobench.errors import UsageError
from sobench.system.text import Wait

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from omegaconf import DictConfig

Cells = list[list[str]]
Overrides = tuple[str, ...]

LARGEST = 100_000
"""Runs of a grid: a larger one is a mistake, and would fill the memory."""


# Runs


def expand(overrides: Sequence[str], loader: ConfigLoader | None = None) -> list[Run]:
    """Every run of a sweep, in order and without duplicates.

    loader: Hydra's configuration loader, by default one of its own. Raises UsageError for an error in any of the runs.
    """
    with config_loader(loader) as loader:
        return of_jobs(job_overrides(overrides, loader), loader)


def of_jobs(jobs: Iterable[Sequence[str]], loader: ConfigLoader | None = None) -> list[Run]:
    """The run of each list of overrides, in order and without duplicates. Raises UsageError as `expand`."""
    with config_loader(loader) as loader:
        composer = Composer(loader)
        split = [(job, *seedless(job)) for job in jobs]
        cells = _compose_cells(list(dict.fromkeys(cell for _, cell, _ in split)), composer)
        runs: dict[str, Run] = {}
        for job, cell, seed in split:
            first = cells[cell]
            run = first.seeded(seed, job) if first else _compose_run(job, composer)
            runs.setdefault(run.id, run)
        return list(runs.values())


def seedless(job: Sequence[str]) -> tuple[Overrides, int | None]:
    """The overrides of a job without its seed, and the seed; all overrides and None where it is not a plain number."""
    seeds = [override for override in job if re.match(r"[+~]*seed(=|$)", override)]
    number = re.fullmatch(r"seed=(0|[1-9][0-9]*)", seeds[0]) if len(seeds) == 1 else None
    if number is None:
        return tuple(job), None
    return tuple(override for override in job if override != seeds[0]), int(number[1])


def _compose_cells(cells: Sequence[Overrides], composer: Composer) -> dict[Overrides, Run | None]:
    """The run of each cell (see `_compose_cell`), with a line on standard error where that takes long."""
    wait = Wait("configurations to compose and check", len(cells))
    runs = {}
    for cell in cells:
        runs[cell] = _compose_cell(cell, composer)
        wait.one_done()
    return runs


def _compose_cell(cell: Overrides, composer: Composer) -> Run | None:
    """A run of the cell, composed and checked: its runs differ by their seed alone.

    None where a setting refers to the seed: then each run has to be composed by itself.
    """
    config, experiment = _compose(cell, composer)
    written = identity.unresolved(config)
    if identity.refers_to(written, SET_LATER):
        return None
    return Run.of(identity.with_contents(identity.resolved(config, written, experiment)), cell)


def _compose_run(job: Sequence[str], composer: Composer) -> Run:
    """A run that is composed by itself."""
    config, experiment = _compose(job, composer)
    settings = identity.resolved(config, identity.unresolved(config), experiment)
    return Run.of(identity.with_contents(settings), job)


def _compose(overrides: Sequence[str], composer: Composer) -> tuple[DictConfig, str | None]:
    """The configuration of one job or cell, and its experiment. Raises UsageError."""
    with readable_errors(overrides):
        return composer.cell(overrides)


# Jobs


def job_overrides(overrides: Sequence[str], loader: ConfigLoader) -> list[list[str]]:
    """The overrides of each job: every combination of the grid's values, for each of the experiment's cells."""
    with readable_errors(overrides):
        parsed = hydra_private.parse_overrides(overrides, loader)
        config = _sweep(parsed, loader)
        settings = _sweeper_of(config)
        params = hydra_private.parse_overrides([f"{key}={value}" for key, value in settings["params"].items()], loader)
    of_experiment, of_command = _values(params), _values(parsed)
    is_part = config.budget.get("grid") == "first" and not (settings["jobs"] or settings["trials"])
    if is_part:
        of_experiment |= {key: of_experiment[key][:1] for key in of_experiment if _is_repeated(key)}
    cells = checked(settings["cells"])
    if settings["jobs"]:
        cells = jobs.read(settings["jobs"])
    elif settings["trials"]:
        cells, of_experiment["seed"] = tuning.trials(settings)
    elif settings["tuned"]:
        cells = tuning.chosen(cells, settings["tuned"])
    cells = selected(selected(cells, of_experiment), of_command)
    if is_part:
        cells = covering(cells)
    values = of_experiment | of_command
    selecting = group_keys(cells)
    grid = [values[key] for key in values if not cells or key not in selecting]
    _check_size(" ".join(overrides), math.prod(map(len, grid)) * max(1, len(cells)))
    return [[*job, *cell] for cell in cells or [[]] for job in itertools.product(*grid)]


def _check_size(text: str, runs: float) -> None:
    """Raises UsageError for a grid, or one setting of it, of more than LARGEST runs."""
    if not runs <= LARGEST:  # the length of a range may be NaN
        size = f"{runs:,}" if math.isfinite(runs) else "endless"
        raise UsageError(f"{text}: a grid of {size} runs; allowed: at most {LARGEST:,}")


def values_of(overrides: Sequence[str]) -> dict[str, list[str]]:
    """The values of each key of a command line, as overrides KEY=VALUE. Raises UsageError as `expand`."""
    with readable_errors(overrides):
        return _values(hydra_private.parse_overrides(overrides))


def data_sets_of(experiment: str) -> dict[str, dict[str, Any]]:
    """The data sets that the files of an experiment choose, in its defaults, its grid or its cells.

    By name, with the settings that hold for all cells. Read from the files, without a composition.
    Raises UsageError for a data set that does not exist.
    """
    stated = files.of_experiment(experiment)
    cells = [setting for cell in stated.get("hydra.sweeper.cells") or () for setting in cell]
    of_cells = {setting.partition("=")[2] for setting in cells if setting.startswith("dataset=")}
    of_grid = {name.strip() for name in str(stated.get("hydra.sweeper.params.dataset") or "").split(",")} - {""}
    names = of_cells | of_grid or {str(stated.get("dataset.name") or files.chosen(())["dataset"])}
    own = {key.removeprefix("dataset."): stated[key] for key in stated if key.startswith("dataset.")}
    settings = {name: files.group_defaults("dataset", name) for name in sorted(names)}
    return {name: {**of_name, **own, "name": of_name["name"]} for name, of_name in settings.items()}


def sweeper(overrides: Sequence[str], loader: ConfigLoader | None = None) -> dict[str, Any]:
    """The node hydra.sweeper of an experiment: params, cells, tune, tuned, ... Raises UsageError."""
    with config_loader(loader) as loader, readable_errors(overrides):
        return _sweeper_of(_sweep(hydra_private.parse_overrides(overrides, loader), loader))


def _sweep(parsed: Sequence[Override], loader: ConfigLoader) -> DictConfig:
    """The configuration of a whole sweep: of its experiment, and of its budget unless budgets are swept."""
    of_sweep = [override.text for override in parsed if override.is_hydra or override.key == "experiment"]
    of_budget = [override for override in parsed if _group_of(override.key) == "budget"]
    if not any(override.is_sweep for override in of_budget):
        of_sweep += [override.text for override in of_budget]
    return hydra_private.compose(of_sweep, loader, sweep=True)


def _sweeper_of(config: DictConfig) -> dict[str, Any]:
    from omegaconf import OmegaConf

    node = config.hydra.sweeper
    settings: Any = OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else node
    check("hydra.sweeper", settings, Rule((dict,), "settings of the sweeper"))
    check("hydra.sweeper.params", settings.get("params"), Rule((dict,), "values of settings: {optimizer.lr: '0.1,1'}"))
    return settings


def _is_repeated(key: str) -> bool:
    """Whether a grid over this key repeats the same methods on the same problems: seeds and hyperparameters."""
    return key == "seed" or key.startswith("optimizer.")


def for_hydra(overrides: Sequence[str]) -> list[str]:
    """The overrides of a command line in the form in which Hydra accepts them.

    Hydra also composes one configuration without what is swept. A setting of a group that is swept, or that an
    experiment's cells choose, may not exist in it. Such a setting becomes a sweep of one value, choice(VALUE), which
    only the runs see. An experiment with a grid or with cells is a sweep, also if its file does not say so.
    """
    named = (re.match(r"(\w+)=[^[{]*[,(]", override) for override in overrides)
    swept = {match[1] for match in named if match} & set(GROUPS)
    experiment = [override for override in overrides if override.startswith("experiment=")]
    if experiment and any(_group_of(override) in GROUPS for override in overrides):
        swept |= group_keys(sweeper(experiment)["cells"])
    words = [_as_choice(override) if _group_of(override) in swept else override for override in overrides]
    return ["-m", *words] if _is_sweep_unsaid(overrides) else words


def _is_sweep_unsaid(overrides: Sequence[str]) -> bool:
    """Whether an experiment has several runs, and neither its file nor the command line chooses a mode of Hydra."""
    if any(word.startswith(("-", "hydra.mode=")) for word in overrides):
        return False
    named = [word.partition("=")[2] for word in overrides if word.startswith("experiment=")]
    stated = files.of_experiment(named[-1]) if named else {}
    sweeps = any(key.startswith(("hydra.sweeper.params", "hydra.sweeper.cells")) for key in stated)
    return sweeps and "hydra.mode" not in stated


def _group_of(override: str) -> str:
    """ "optimizer" of "optimizer.lr=1"; the whole override where its key has no dot."""
    return override.split(".")[0]


def _as_choice(override: str) -> str:
    """An override with one value as a sweep of that value; any other as it is."""
    key, equals, value = override.partition("=")
    if not equals or hydra_private.parse_overrides([override])[0].is_sweep:
        return override
    return f"{key}=choice({value})"


def _values(parsed: Sequence[Override]) -> dict[str, list[str]]:
    """The values of each key as overrides KEY=VALUE, Hydra's own keys left out.

    Raises UsageError for an interval, and for several values of a setting that changes no result.
    """
    values = {}
    for override in parsed:
        if override.is_hydra:
            continue
        if not override.is_sweep:
            values[override.key] = [override.text]
        elif override.is_discrete:
            _check_size(override.text, override.count())
            values[override.key] = [f"{override.key}={value}" for value in override.values()]
            if not values[override.key]:
                raise UsageError(f"{override.text}: no value; allowed: at least one")
            advice.check_sweep(override.key, values[override.key])
        else:
            raise UsageError(
                f"{override.text}: allowed in a sweep: a list of values, range() or choice(); "
                "hydra/sweeper=optuna searches an interval()"
            )
    return values


# Cells


def checked(cells: Any) -> Cells:
    """The cells unchanged. Raises UsageError unless they are lists of settings KEY=VALUE."""
    lists = isinstance(cells, list) and all(isinstance(cell, list) and cell for cell in cells)
    if not (lists and all(isinstance(setting, str) and "=" in setting for cell in cells for setting in cell)):
        raise UsageError(
            f"hydra.sweeper.cells: got {cells!r}, allowed: lists of quoted settings, as "
            '[["optimizer=sgd","optimizer.lr=0.1"],["optimizer=adam","optimizer.lr=0.01"]]'
        )
    return cells


def group_keys(cells: Cells) -> set[str]:
    """The config groups that the cells choose a member of."""
    return {_key_of(setting) for cell in cells for setting in cell} & set(GROUPS)


def selected(cells: Cells, values: dict[str, list[str]]) -> Cells:
    """The cells that choose the given members of config groups, without the settings that are given.

    values: by key, the overrides KEY=VALUE that are given. Raises UsageError for a member that no cell chooses.
    """
    keys = sorted(group_keys(cells) & set(values))
    cells = cells + [cell for key in keys for value in values[key] for cell in _synthetic(cells, value)]
    for key in keys:
        members = sorted({setting for cell in cells for setting in cell if setting.startswith(f"{key}=")})
        for value in values[key]:
            if value not in members:
                allowed = ", ".join(member.partition("=")[2] for member in members)
                got = value.partition("=")[2]
                raise UsageError(f"{key}: got {got!r}, allowed in this experiment: {allowed}")
    cells = [cell for cell in cells if all(set(cell) & set(values[key]) for key in keys)]
    replaced = set(values) - set(GROUPS)
    return [[setting for setting in cell if _key_of(setting) not in replaced] for cell in cells]


def covering(cells: Cells) -> Cells:
    """Cells enough for every method on every model that it comes with, and for every problem, in their order.

    A problem is a data set, a model and a loss. The cells of a problem that choose the same optimizer are its methods
    in order: the second cell of K-FAC is the same method on each problem, though its learning rate may differ. A
    problem without a method of its own gets its last cell: experiments name first-order methods, the cheap ones, last.
    """
    firsts, last, counts = {}, {}, Counter()
    for place, cell in enumerate(cells):
        problem = tuple(setting for setting in cell if _group_of(_key_of(setting)) in ("dataset", "model", "loss"))
        model = tuple(setting for setting in problem if _group_of(_key_of(setting)) == "model")
        optimizer = next((setting for setting in cell if setting.startswith("optimizer=")), "")
        counts[problem, optimizer] += 1
        firsts.setdefault((model, optimizer, counts[problem, optimizer]), (place, problem))
        last[problem] = place
    covered = {problem for _, problem in firsts.values()}
    places = {place for place, _ in firsts.values()} | {last[problem] for problem in last if problem not in covered}
    return [cells[place] for place in sorted(places)]


def _synthetic(cells: Cells, value: str) -> Cells:
    """For dataset=NAME_synthetic: the cells of NAME with this value, unless it has cells of its own."""
    original = value.removesuffix("_synthetic")
    if original == value or not original.startswith("dataset=") or any(value in cell for cell in cells):
        return []
    return [[value if setting == original else setting for setting in cell] for cell in cells if original in cell]


def _key_of(setting: str) -> str:
    return setting.partition("=")[0]
