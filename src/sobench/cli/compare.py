"""`sobench compare`: which method reaches a target first, over one problem or many, and how sure that is."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sobench.cli.answer import Answer, shown
from sobench.cli.arguments import (
    EXPERIMENT,
    Selection,
    check_overrides,
    checked_optimizer,
    is_override,
    key_of,
    selecting,
    split,
    value_of,
)
from sobench.errors import UsageError
from sobench.system.interpreter import paused_gc
from sobench.system.text import plural

if TYPE_CHECKING:
    from sobench.config.run import Run
    from sobench.config.suites import Suite
    from sobench.report.comparison.files import Written
    from sobench.report.comparison.selection import Options, Task
    from sobench.report.comparison.study import Study

SEEDS = 3
METHODS = ("adamw", "sgd")


@dataclass(frozen=True)
class Request:
    """What is compared: the methods that are named (all, if none is), and where their runs are from.

    suite: its name. experiments, overrides: as `sobench run -m` takes them. folder: of runs that exist.
    """

    methods: tuple[str, ...] = ()
    suite: str | None = None
    experiments: tuple[str, ...] = ()
    folder: Path | None = None
    overrides: list[str] = field(default_factory=list)

    @property
    def runs(self) -> Path:
        return self.folder or Path(value_of("runs", self.overrides) or "runs")

    @property
    def reports(self) -> Path:
        return Path(value_of("reports", self.overrides) or "reports")


def compare(args: argparse.Namespace) -> Answer | int:
    """Compare methods on runs that exist; with --run, make the missing ones first.

    Returns the exit code of the runs, if it is not 0. Raises UsageError for every wrong argument, before any run.
    """
    from sobench.report.comparison import files
    from sobench.results.digests import CACHE

    request, options, problems = understood(args)
    if code := problems.make() if args.run else 0:
        return code
    with paused_gc():
        name, study = study_of(args, request, options, problems)
        written = files.write(study, request.reports / files.FOLDER / name, request.runs / CACHE / files.FOLDER)
    return Answer(partial(_document, written), shown(*written.lines, *map(str, written.paths[:2])))


def _document(written: Written) -> dict[str, Any]:
    from sobench.report.compared import Comparison

    return {**Comparison(written.page()).document(), "files": written.paths}


def understood(args: argparse.Namespace) -> tuple[Request, Options, _Problems]:
    """What the arguments ask for. Raises UsageError for every wrong argument."""
    request = _request([args.what, *args.overrides], args.suite)
    options = _options(args, request)
    return request, options, _Problems(request, args.seeds, made=args.run)


def runs_of(suite: str, words: Iterable[str | None]) -> list[Run]:
    """The runs that a comparison on a suite needs, of a few seeds. words: as `sobench compare` takes them."""
    return _Problems(_request(words, suite), None, made=False).runs


def study_of(args: argparse.Namespace, request: Request, options: Options, problems: _Problems) -> tuple[str, Study]:
    """The name of a comparison, and its material from the runs that exist. Raises UsageError."""
    from sobench.report.comparison import selection
    from sobench.report.writer import require_finished
    from sobench.results.axes import COST_AXES, POSITION
    from sobench.results.collection import collect
    from sobench.results.record import MEASURED

    tasks = problems.tasks()
    runs = [run for task in tasks for run in task.runs]
    command = _command(args, request)
    metrics = {options.metric, *(task.metric for task in tasks), *selection.METRICS}
    axes = {*POSITION, *(options.axes or ())} - {*COST_AXES}  # what is measured and the step give them
    wanted = {*filter(None, metrics), *axes, *MEASURED, "warm_start_seconds"}
    results = collect(runs, request.runs, wanted.__contains__)
    require_finished("compare", results, request.runs, f"{command} --run")
    name = args.name or _name(request, tasks)
    return name, selection.study(_title(request, problems.suite, tasks), command, results, tasks, options)


# What is asked for


def _request(words: Iterable[str | None], suite: str | None) -> Request:
    """The words of the command line by kind. Raises UsageError for one that is none."""
    from sobench.config.files import members

    methods: list[str] = []
    experiments: list[str] = []
    overrides: list[str] = []
    folder = None
    for word in filter(None, words):
        if word.startswith("suite="):
            suite = word.removeprefix("suite=")
        elif word.startswith(EXPERIMENT):
            experiments.append(word.removeprefix(EXPERIMENT))
        elif is_override(word):
            overrides.append(word)
        elif word in members("experiment"):
            experiments.append(word)
        elif os.path.isdir(word) and not _is_optimizer(word):
            folder = Path(word)
        else:
            methods += [checked_optimizer(name, "compare") for name in split(word)]
    overrides = check_overrides(overrides)
    sources = [text for text in (suite and f"suite={suite}", *experiments[:1], folder and str(folder)) if text]
    if len(sources) > 1 or (suite and any(key_of(override) == "seed" for override in overrides)):
        got = " and ".join(sources) if len(sources) > 1 else "seed= with a suite"
        raise UsageError(
            f"compare: got {got}; allowed: one of a suite (with --seeds), experiments, and a folder of runs"
        )
    return Request(tuple(dict.fromkeys(methods)), suite, tuple(experiments), folder, overrides)


def _is_optimizer(name: str) -> bool:
    from sobench.config import registry

    return registry.is_member("optimizer", name)


def _options(args: argparse.Namespace, request: Request) -> Options:
    """The options. Raises UsageError for one that is wrong, as far as can be seen without the runs."""
    from sobench.config.by_path import short_names
    from sobench.config.registry import suggestion
    from sobench.report.comparison.files import FOLDER
    from sobench.report.comparison.selection import AXES, Options

    labels = short_names(request.methods)
    if len(labels) == 1:
        raise UsageError(f"compare: got one method, {request.methods[0]}; allowed: two at least")
    axes = tuple(split(args.axis)) if args.axis else None
    for axis in axes or ():
        if axis not in AXES:
            raise UsageError(f"--axis: got {axis!r}, {suggestion(axis, AXES)}")
    chosen = {
        option: labels.get(name, name) for option, name in (("--baseline", args.baseline), ("--target", args.target))
    }
    for option, name in chosen.items():
        if name and labels and name not in labels.values():
            raise UsageError(f"{option}: got {name!r}, {suggestion(name, labels.values())}")
    if args.name and not re.fullmatch(r"(?!.*\.\.)[\w.+-]+(/[\w.+-]+)*", args.name):
        raise UsageError(f"--name: got {args.name!r}, allowed: a folder below reports/{FOLDER}, as mine or mine/first")
    return Options(
        chosen["--baseline"],
        chosen["--target"],
        axes,
        args.metric,
        tuple(labels.values()),
        frozenset(_numbers("--tuning-seeds", args.tuning_seeds)),
        _measuring(request),
    )


def _numbers(option: str, text: str | None) -> list[int]:
    if text and not re.fullmatch(r"\d+(,\d+)*", text):
        raise UsageError(f"{option}: got {text!r}, allowed: seeds, as 0 or 0,1")
    return [int(number) for number in text.split(",")] if text else []


# Runs


class _Problems:
    """The problems of a request and their runs. made: whether the missing runs are going to be made.

    Raises UsageError for settings that are wrong, and for a request that names no runs that could be made.
    """

    def __init__(self, request: Request, seeds: int | None, made: bool):
        from sobench.config import suites

        self.request = request
        self.suite: Suite | None = suites.read(request.suite) if request.suite else None
        if seeds is not None and (seeds < 1 or not self.suite):
            allowed = "1 or more" if self.suite else "with a suite; or settings, as seed=0,1,2"
            raise UsageError(f"--seeds: got {seeds}, allowed: {allowed}")
        if self.suite:
            self.by_problem = self._of_suite(self.suite, seeds or SEEDS)
        elif request.folder or not (request.experiments or selecting(request.overrides)):
            if made:
                raise UsageError("--run: got a folder of runs; allowed: a suite, an experiment, or settings")
            self.by_problem = {"": self._of_folder()}
        else:
            words = [*([_as_setting(request.methods)] if request.methods else []), *request.overrides]
            asked = [Selection(name, words) for name in request.experiments] or [Selection(None, words)]
            self.by_problem = {selection.experiment or "": selection.runs() for selection in asked}

    @property
    def runs(self) -> list[Run]:
        return list({run.id: run for runs in self.by_problem.values() for run in runs}.values())

    def make(self) -> int:
        """Make the missing runs in one sweep; its exit code."""
        from sobench.cli.by_need import has_result, launch

        left = [run for run in self.runs if not has_result(run)]
        if not left:
            print(f"{plural(len(self.runs), 'run')}: all done already")
            return 0
        return launch(left, self.request.overrides)

    def tasks(self) -> list[Task]:
        """The problems, by data set and model, or as the suite names them."""
        from sobench.report.comparison.selection import Task
        from sobench.report.default import problems

        if self.suite:
            titles = {name: problems(runs)[0].title for name, runs in self.by_problem.items()}
            return [
                Task(own.name, titles[own.name], self.by_problem[own.name], own.metric, own.target)
                for own in self.suite.problems
            ]
        return [Task(own.name, own.title, own.runs) for own in problems(self.runs)]

    def _of_suite(self, suite: Suite, seeds: int) -> dict[str, list[Run]]:
        from sobench.config.grid import of_jobs

        methods, found = self.request.methods or METHODS, {}
        for problem in suite.problems:
            found[problem.name] = of_jobs(problem.jobs(methods, range(seeds), self.request.overrides))
        return found

    def _of_folder(self) -> list[Run]:
        from sobench.results.recorded import runs_under

        runs = runs_under(self.request.runs)
        if not runs:
            raise UsageError(
                f"compare: there is no run under {self.request.runs}; allowed: a folder of runs, or with --run a "
                "suite, an experiment or settings, as: sobench compare sgd,adam suite=digits --run"
            )
        return runs


def _as_setting(methods: Sequence[str]) -> str:
    return f"optimizer={','.join(methods)}"


# Names


def _name(request: Request, tasks: Sequence[Task]) -> str:
    """The folder of a comparison: "small", "zoo-vit", "digits-mlp", "runs"."""
    if request.suite:
        return request.suite
    if request.experiments:
        return re.sub(r"[^\w.-]+", "-", "+".join(request.experiments))
    return tasks[0].name if len(tasks) == 1 else re.sub(r"[^\w.-]+", "-", request.runs.name) or "runs"


def _title(request: Request, suite: Suite | None, tasks: Sequence[Task]) -> str:
    what = suite.title if suite else tasks[0].title if len(tasks) == 1 else plural(len(tasks), "problem")
    return f"Comparison: {what}"


def _command(args: argparse.Namespace, request: Request) -> str:
    """The command that compares the same again."""
    options = ("suite", "seeds", "baseline", "target", "axis", "metric", "tuning_seeds", "name")
    given = [(name, request.suite if name == "suite" else getattr(args, name)) for name in options]
    places = [override for override in request.overrides if key_of(override) in ("runs", "reports")]
    sources = [",".join(request.methods), *request.experiments, str(request.folder or "")]
    words = [*filter(None, sources), *selecting(request.overrides), *places]
    flags = [part for name, value in given if value for part in (f"--{name.replace('_', '-')}", str(value))]
    return shlex.join(["sobench", "compare", *words, *flags])


def _measuring(request: Request) -> str | None:
    """The command that measures the cost of a step of each configuration; None for a folder of runs."""
    settings = selecting(request.overrides)
    if request.suite:
        words = [",".join(request.methods or METHODS), "--suite", request.suite]
    elif request.experiments or settings:
        words = [*request.experiments[:1], *([_as_setting(request.methods)] if request.methods else [])]
    else:
        return None
    return shlex.join(["sobench", "bench", "cells", *words, *settings])
