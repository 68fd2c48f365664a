"""`sobench tune --suite`: tune optimizers on every problem of a suite, by one grid or by that of each experiment."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from sobench.cli.answer import Answer, shown
from sobench.cli.arguments import EXPERIMENT, check_overrides, checked_optimizer, is_override, key_of, selecting, split
from sobench.cli.tuning import Tuning, require_choice
from sobench.errors import UsageError
from sobench.system import text

if TYPE_CHECKING:
    from sobench.config.suites import SuiteProblem

SUITE = "suite="


@dataclass(frozen=True)
class Request:
    """What is tuned.

    optimizers: with none, those for which the experiments declare grids. grid: the values to try, by setting; with
    none, the grids of the experiments. conditions: settings of the problems. others: settings that change no result.
    """

    optimizers: list[str]
    grid: Mapping[str, Sequence[Any]]
    conditions: list[str]
    others: list[str]

    @property
    def variant(self) -> list[str]:
        """The settings by which the folders of the trials are named."""
        return [*self.conditions, *([f"optimizer={','.join(self.optimizers)}"] if self.optimizers else [])]


def named(args: argparse.Namespace) -> str | None:
    """The suite that the arguments of `sobench tune` name, as --suite NAME or suite=NAME; None without one."""
    given = [args.experiment or "", *args.overrides]
    words = [word.removeprefix(SUITE) for word in given if word.startswith(SUITE)]
    return args.suite or next(iter(words), None)


def tune(suite: str, args: argparse.Namespace) -> Answer:
    """Run the missing trials on all problems in one sweep, select the best of each, and write the choices.

    Raises UsageError for every wrong argument before any run, and Failure if no trial finished.
    """
    from sobench.cli.by_need import launch
    from sobench.config import suites

    problems = suites.read(suite).problems
    request = _request([args.experiment, *args.overrides])
    tunings = {problem.name: _tuning(problem, request) for problem in problems}
    runs = list({run.id: run for its in tunings.values() for run in its.runs}.values())
    code = launch(runs, request.others)
    require_choice(list(tunings.values()), suite)
    files = {name: its.write() for name, its in tunings.items()}
    lines = [*_table(tunings), *_places(tunings, files), _next(suite, tunings, request)]
    documents = [{"problem": name, **its.document(files[name])} for name, its in tunings.items()]
    return Answer(partial(dict, suite=suite, problems=documents), shown(*lines), code)


# What is asked for


def _request(words: Sequence[str | None]) -> Request:
    """The words of the command line by kind. Raises UsageError for a wrong one."""
    from sobench.config import grid
    from sobench.config.tuning import values_of

    given = [word for word in words if word and not word.startswith(SUITE)]
    for word in given:
        if word.startswith((EXPERIMENT, "seed=")):
            raise UsageError(
                f"tune: got {word} with a suite; allowed: the experiments and the tuning seeds of the suite"
            )
    settings = check_overrides([word for word in given if is_override(word)])
    values = grid.values_of(settings)
    names = [name for word in given if not is_override(word) for name in split(word)]
    names += [choice.partition("=")[2] for choice in values.pop("optimizer", [])]
    optimizers = [checked_optimizer(name, "tune") for name in dict.fromkeys(names)]
    own = _of_grid(values)
    if own and not optimizers:
        raise UsageError(
            f"tune: got {', '.join(own)} without an optimizer; allowed: optimizer=NAME, as sgd or mine.py:Mine"
        )
    fixed = [setting for setting in settings if key_of(setting) not in (*own, "optimizer")]
    conditions = selecting(fixed)
    grids = {key: [values_of([setting])[key] for setting in texts] for key, texts in own.items()}
    return Request(optimizers, grids, conditions, [setting for setting in fixed if setting not in conditions])


def _of_grid(values: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The settings that are hyperparameters, by key. Raises UsageError for several values of another, or if none of
    these has several.
    """
    from sobench.config.tuning import HYPERPARAMETERS

    own = {key: texts for key, texts in values.items() if key.partition(".")[0] in HYPERPARAMETERS}
    for key, texts in values.items():
        if key not in own and len(texts) > 1:
            raise UsageError(
                f"{key}: got {len(texts)} values, but the suite makes the problems; allowed in the grid: "
                f"hyperparameters ({', '.join(HYPERPARAMETERS)})"
            )
    if own and all(len(texts) == 1 for texts in own.values()):
        (first, *_) = (text for texts in own.values() for text in texts)
        raise UsageError(f"tune: got {first} alone, so that nothing varies; allowed: {first},VALUE,...")
    return own


def _tuning(problem: SuiteProblem, request: Request) -> Tuning:
    from sobench.config.grid import of_jobs

    search = problem.search(request.optimizers, request.grid, request.conditions)
    others = [setting for setting in request.others if not setting.startswith("hydra")]
    runs = of_jobs([*job, *others] for job in problem.trials(search))
    return Tuning.of(problem.experiment, search, runs, [*problem.settings, *request.variant])


# The answer


def _table(tunings: Mapping[str, Tuning]) -> list[str]:
    """A row for each problem and optimizer: the chosen settings, their score, and what to know about them."""
    from sobench.report import choice, tune_pages

    rows = [["problem", "cell", "chosen", "metric", "score", "trials", ""]]
    for name, its in tunings.items():
        for search in its.searches:
            best, edge = search.best, ", ".join(key.rpartition(".")[2] for key in search.edge)
            chosen = choice.in_words(best.values) if best else "nothing: none finished"
            score = f"{best.score.mean:.4g}" if best else ""
            about = f"edge of its grid: {edge}" if edge else ""
            trials = tune_pages.count(search)
            rows.append([name, search.label, chosen, its.criterion["metric"], score, trials, about])
    return text.table(rows)


def _places(tunings: Mapping[str, Tuning], files: Mapping[str, Sequence[Any]]) -> list[str]:
    """Where the trials and the choices are."""
    pages = [f"trials of {name}: {paths[0]}" for name, paths in files.items()]
    kept = dict.fromkeys(its.kept for its in tunings.values() if its.kept)
    return [*pages, *(f"chosen: {path}" for path in kept)]


def _next(suite: str, tunings: Mapping[str, Tuning], request: Request) -> str:
    """The command that compares with the choices."""
    from sobench.config.suites import optimizers_of

    cells = [cell for its in tunings.values() for cell in its.sweeper["cells"]]
    names = optimizers_of(cells)
    methods = dict.fromkeys(["adamw", *names]) if len(names) == 1 else names
    settings = [setting for setting in request.conditions if not setting.startswith("hydra")]
    words = ["sobench", "compare", ",".join(methods), "--suite", suite, "--run", *settings]
    return f"used by: {shlex.join(words)}"
