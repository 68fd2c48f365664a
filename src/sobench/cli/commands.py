"""The parsers of all commands but `run` and `data`, and the small commands: list, status, check, bench."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from sobench.cli.answer import COMMANDS, JSON, Answer, shown
from sobench.cli.arguments import OVERRIDES, check_overrides, of_command
from sobench.cli.clean import OLDER
from sobench.cli.complete import SHELLS
from sobench.cli.console import console
from sobench.cli.retry import ABOUT, DEFAULT, FLAGS
from sobench.config.files import LISTED, members
from sobench.errors import UsageError
from sobench.system import text

Subparsers = argparse._SubParsersAction  # argparse has no public name for it

BENCHMARKS = {
    "overhead": "sobench.cli.bench.overhead:overhead",
    "step": "sobench.cli.bench.step:step",
    "cells": "sobench.cli.bench.cells:cells",
    "csdd": "sobench.cli.bench.second_order:csdd",
    "results": "sobench.cli.bench.results:results",
    "sweep": "sobench.cli.bench.sweep:sweep",
}
"""Benchmark -> its function, imported when it is run: some need torch, some must not have it."""


def add_parsers(subparsers: Subparsers) -> None:
    """Add every command with its arguments. Each parser sets `func`, which runs it and returns its exit code."""
    parser = _add(subparsers, "list", "commands:list_", f"list available {', '.join(LISTED[:-1])} or {LISTED[-1]}")
    parser.add_argument("kind", choices=LISTED)
    parser.add_argument("name", nargs="?", metavar="NAME", help="show all about this one, as `sobench show NAME`")

    about = "show all about an optimizer, a data set, a model, a loss, an experiment, a report or another choice"
    parser = _add(subparsers, "show", "show:show", about)
    parser.add_argument("name", metavar="NAME", help="as `sobench list` prints it")

    parser = _add(subparsers, "status", "commands:status", "show the run states of an experiment, or of all runs")
    _add_experiment(parser, optional=True)
    _add_overrides(parser)

    parser = _add(subparsers, "runs", "runs:runs", "find the folders of runs by their settings")
    _add_overrides(parser, "settings that the runs have, and runs=DIR (optimizer=adam optimizer.lr=0.1 seed=0 ...)")

    parser = _add(subparsers, "verify", "verify:verify", "compare the files of finished runs with their digests")
    _add_experiment(parser, optional=True)
    _add_overrides(parser)

    _add_report(subparsers)

    about = "run the missing runs of an artifact, then write its report"
    parser = _add(subparsers, "reproduce", "report:reproduce", about)
    about = "paper/artifact, as `sobench list reports` prints it; an experiment; nothing, with settings; all: every "
    about += "artifact, the cheapest claims first"
    parser.add_argument("id", nargs="?", metavar="ID", help=about)
    _add_overrides(parser)
    about = "add seeds where they decide most per hour, until every claim is answered or the last look is made"
    parser.add_argument("--until-decided", action="store_true", help=about)
    about = "with --until-decided, or for all: the time of all runs made, as 90s, 15m, 4h, 1h30m or 2d"
    parser.add_argument("--budget", metavar="TIME", help=about)

    _add_compare(subparsers)

    parser = _add(subparsers, "open", "open:open_", "show the page of a report, or of all reports, in the browser")
    about = "paper/artifact, as `sobench list reports` prints it, or a folder of reports (default: reports)"
    parser.add_argument("id", nargs="?", metavar="ID|FOLDER", help=about)

    _add_tune(subparsers)

    _add_retry(subparsers)
    _add_gc(subparsers)

    about = "show what a sweep has left to do, and estimate its time and memory from a few steps of each cell"
    parser = _add(subparsers, "plan", "plan:plan", about)
    _add_experiment(parser, optional=True)
    _add_overrides(parser)
    parser.add_argument("--budget", metavar="TIME", help="select the runs that fit into 90s, 15m, 4h, 1h30m or 2d")
    about = "of a report: the seeds and hours that each undecided claim still needs, cheapest first; runs nothing"
    parser.add_argument("--power", action="store_true", help=about)

    parser = _add(subparsers, "wandb", "wandb:wandb", "copy runs to wandb, or list what is not copied")
    about = "sync: copy what is missing; verify: list what is missing or there twice, exit code 1 if anything is"
    parser.add_argument("action", choices=["sync", "verify"], help=about)
    _add_experiment(parser, optional=True)
    _add_overrides(parser)

    parser = _add(subparsers, "check", "commands:check", "test an optimizer, ours or yours, against the contract")
    parser.add_argument("name", metavar="NAME", help="an optimizer, as `sobench list optimizers` prints it")
    _add_overrides(parser, "settings that the optimizer needs (optimizer.radius=1.0 ...)")

    about = "run several packages' implementations of an algorithm side by side, and show where they differ"
    parser = _add(subparsers, "parity", "parity:parity", about)
    parser.add_argument("algorithm", metavar="NAME", help=f"an algorithm: {', '.join(members('parity'))}")
    about = "steps=30, seed=0, settings of the problem as for `sobench run` (dataset=digits model=mlp dtype=float64 "
    about += "...), and optimizer.KEY=VALUE for the settings that the implementations share"
    _add_overrides(parser, about)

    parser = _add(subparsers, "bench", "commands:bench", "measure sobench itself")
    about = (
        "overhead: our training loop and a bare torch loop; step [NAME ...]: a step of each optimizer, or of the rows "
        "that begin with a name; cells: a step of each cell of an experiment, kept for `x: cost` in reports; csdd: "
        "second derivatives by complex steps; results: reading 10,000 runs; sweep: one worker and two"
    )
    parser.add_argument("benchmark", choices=list(BENCHMARKS), help=about)
    _add_experiment(parser, optional=True)
    _add_overrides(parser)
    parser.add_argument("--again", action="store_true", help="cells: measure the known costs again")
    about = (
        "cells: those of the optimizers (sgd,mine.py:Mine) on the problems of a suite, as `sobench compare` runs them"
    )
    parser.add_argument("--suite", metavar="NAME", help=about)

    about = 'print a script that makes TAB complete the words of a command: eval "$(sobench completion bash)"'
    parser = _add(subparsers, "completion", "complete:completion", about)
    parser.add_argument("shell", choices=SHELLS)


def _add_report(subparsers: Subparsers) -> None:
    parser = _add(subparsers, "report", "report:report", "write tables, figures and verdicts from the existing runs")
    about = "paper/artifact, as `sobench list reports` prints it; an experiment; nothing, with settings or for all "
    about += "runs; after one of the flags a folder of reports"
    parser.add_argument("id", nargs="?", metavar="ID", help=about)
    _add_overrides(parser)
    flags = parser.add_mutually_exclusive_group()
    about = "compare the reports in these folders (default: reports) with what their values.csv and curves.csv give"
    flags.add_argument("--verify", action="store_true", help=about)
    about = "write the reports in these folders again, from their values.csv and curves.csv"
    flags.add_argument("--again", action="store_true", help=about)
    about = "write the pages over all reports in a folder (default: reports): its README.md and index.html"
    flags.add_argument("--overview", action="store_true", help=about)
    about = "delete the verdicts of the reports in these folders, and say why on their pages"
    flags.add_argument("--withdraw", metavar="REASON", help=about)


def _add_compare(subparsers: Subparsers) -> None:
    about = "compare methods over one problem or many: the time to a target, wins, ranks, and how sure they are"
    parser = _add(subparsers, "compare", "compare:compare", about)
    about = "optimizers (sgd,adam), an experiment, or a folder of runs; nothing: all runs of the folder runs"
    parser.add_argument("what", nargs="?", metavar="WHAT", help=about)
    _add_overrides(parser)
    parser.add_argument("--suite", metavar="NAME", help="the problems of conf/suite/NAME.yaml: digits, small, ...")
    parser.add_argument("--seeds", metavar="N", type=int, help="of a suite: the seeds 0 to N - 1 (default: 3)")
    parser.add_argument("--run", action="store_true", help="make the missing runs first")
    parser.add_argument(
        "--baseline", metavar="METHOD", help="that the others are compared with (default: adamw, or sgd)"
    )
    about = "the method whose median best value is the target (default: that of the suite, or the baseline)"
    parser.add_argument("--target", metavar="METHOD", help=about)
    about = "axes of time, as cost,work (default: step, work, and cost or time)"
    parser.add_argument("--axis", metavar="AXES", help=about)
    about = "metric of the target (default: that of the suite, validation_loss, or train_loss)"
    parser.add_argument("--metric", metavar="METRIC", help=about)
    about = "choose each method's setting on these seeds, and compare the others"
    parser.add_argument("--tuning-seeds", metavar="SEEDS", help=about)
    parser.add_argument("--name", metavar="NAME", help="folder of the comparison, below reports/compare")


def _add_tune(subparsers: Subparsers) -> None:
    about = "tune hyperparameters: run an experiment's grids on its tuning seeds and select the best settings"
    parser = _add(subparsers, "tune", "tune:tune", about)
    parser.epilog = (
        "An optimizer of your own on a suite: sobench tune mine.py:Mine --suite small optimizer.lr=1,0.1,0.01"
    )
    about = "an experiment, as `sobench list experiments` prints it; with --suite optimizers, as sgd,mine.py:Mine"
    parser.add_argument("experiment", nargs="?", metavar="EXPERIMENT", help=about)
    _add_overrides(parser)
    about = "tune on every problem of conf/suite/NAME.yaml, so that `sobench compare --suite NAME` uses the choice. "
    about += "Settings with several values are the grid (optimizer.lr=1,0.1,0.01); without any, that of each experiment"
    parser.add_argument("--suite", metavar="NAME", help=about)


def _add_retry(subparsers: Subparsers) -> None:
    about = f"repeat {_listed(DEFAULT)} runs; old files are kept in runs/.old, timed-out runs resume"
    parser = _add(subparsers, "retry", "retry:retry", about)
    _add_experiment(parser, optional=True)
    _add_overrides(parser)
    flags = parser.add_argument_group(f"states of the runs to repeat (default: {_listed(DEFAULT)})")
    for flag, state in FLAGS.items():
        flags.add_argument(f"--{flag.replace('_', '-')}", action="store_true", help=ABOUT.get(state, f"{state} runs"))


def _add_gc(subparsers: Subparsers) -> None:
    about = "list the leftovers of interrupted runs and sweeps; --yes deletes them"
    parser = _add(subparsers, "gc", "clean:gc", about)
    _add_overrides(parser, "runs=DIR, the folder of the runs")
    parser.add_argument("--yes", action="store_true", help="delete what is listed")
    about = f"minimum age of old files that `sobench retry` kept (default: {OLDER})"
    parser.add_argument("--older-than", default=OLDER, metavar="AGE", help=about)


def _add(subparsers: Subparsers, name: str, place: str, about: str) -> argparse.ArgumentParser:
    """Add a command. place: "module:function" in this package, imported when the command is run."""
    parser = subparsers.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
    parser.set_defaults(func=lambda args: resolve_name(f"sobench.cli.{place}")(args))
    if name in COMMANDS:
        about = "print one JSON document (docs/json.md) on standard output, everything else on standard error"
        parser.add_argument(JSON, action="store_true", help=about)
    return parser


def _add_experiment(parser: argparse.ArgumentParser, optional: bool = False) -> None:
    """An experiment; without an optional one the command is about the runs of its settings, or all in the folder."""
    about = "an experiment, as `sobench list experiments` prints it"
    parser.add_argument("experiment", nargs="?" if optional else None, metavar="EXPERIMENT", help=about)


def _add_overrides(parser: argparse.ArgumentParser, about: str = OVERRIDES) -> None:
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=about)
    if about == OVERRIDES:  # the arguments of a sweep can be copied with their -m
        parser.add_argument("-m", "--multirun", action="store_true", help=argparse.SUPPRESS)


def _listed(words: tuple[str, ...]) -> str:
    """ "a, b and c" """
    return f"{', '.join(words[:-1])} and {words[-1]}"


def list_(args: argparse.Namespace) -> Answer:
    """The names of one kind, each with a description and a note; all about one of them, if it is named."""
    from sobench.cli.show import about

    if args.name:
        return about(args.name, [args.kind])
    if args.kind == "experiments":
        rows = _experiments()
    elif args.kind == "reports":
        rows = _reports()
    else:
        rows = _entries(args.kind)
    return Answer(partial(_list_document, args.kind, rows), partial(_show_list, rows))


def _list_document(kind: str, rows: Sequence[tuple[str, ...]]) -> dict[str, Any]:
    keys = ("name", "about", "note")
    return {"kind": kind, "entries": [dict(zip(keys, row, strict=True)) for row in rows]}


def _show_list(rows: Sequence[tuple[str, ...]]) -> None:
    """Print the rows: wrapped on a terminal, else one line each."""
    from rich.markup import escape
    from rich.table import Table

    if not rows:
        print("none; docs/extending.md says how to add one, or to name one by its path", file=sys.stderr)
    elif sys.stdout.isatty():
        table = Table(box=None, show_header=False, pad_edge=False)
        for row in rows:
            table.add_row(*map(escape, row))
        console().print(table)
    else:
        print(*text.table(rows), sep="\n")


def _entries(kind: str) -> list[tuple[str, ...]]:
    """Name, description and origin of each entry; a plug-in is not imported, so that whether it can be is not known."""
    from sobench.cli.show import key_of, names, preset_of
    from sobench.config import registry
    from sobench.config.files import about

    group = key_of(kind)
    rows = []
    for name in names(kind):
        preset, entry = preset_of(group, name), registry.find(kind, name) if group in registry.KINDS else None
        theirs = entry is not None and not registry.is_ours(entry)
        origin = f"preset of {preset}" if preset else ""
        if entry and theirs:
            origin = registry.origin(entry) + (", not imported" if entry.dist else "")
        rows.append((name, about(f"{group}/{name}") or (registry.summary(entry) if entry else ""), origin))
    return rows


def _experiments() -> list[tuple[str, ...]]:
    """Name, first comment line of its file, and remarks of each experiment: the user's own folder that has it, and the
    data that is not at hand."""
    from sobench.config.files import about, origin
    from sobench.config.grid import data_sets_of
    from sobench.data import Store, at_hand

    store = Store.default()
    rows = []
    for name in members("experiment"):
        try:
            needed = data_sets_of(name).items()
            lacking = [settings.get("set", data) for data, settings in needed if not at_hand(settings, store)]
            data = f"not at hand: {', '.join(lacking)}" if lacking else ""
        except UsageError as error:  # a file of the user's own
            data = str(error)
        rows.append((name, about(f"experiment/{name}"), "; ".join(filter(None, [origin(f"experiment/{name}"), data]))))
    return rows


def _reports() -> list[tuple[str, ...]]:
    """(paper/artifact, title) of each report, and the answers of what is written in ./reports."""
    from sobench.report import overview, read, reports

    answers = overview.described(Path("reports"))
    return [(name, read(name).title, answers.get(name, "")) for name in reports()]


def status(args: argparse.Namespace) -> Answer:
    """The states of the runs of an experiment or of settings, or of all runs in the folder."""
    from sobench.results import run_documents
    from sobench.results.status import of_folder, of_runs, print_status

    selected = of_command(args)
    found, root = of_folder(selected.folder) if selected.is_everything else of_runs(selected.runs())
    return Answer(partial(run_documents.of_cells, found, root), partial(print_status, found, root, console()))


def check(args: argparse.Namespace) -> Answer:
    """Run the contract tests of one optimizer, and print a line for each."""
    from sobench.config import registry

    registry.check_name("optimizers", args.name)
    from sobench.training.suite import Suite

    suite = Suite(args.name, tuple(check_overrides(args.overrides)))
    for outcome in suite.run():
        print(*outcome.lines, sep="\n", flush=True)
    return Answer(suite.document, shown(suite.conclusion), 0 if suite.passed else 1)


def bench(args: argparse.Namespace) -> int:
    """Run one benchmark. Raises UsageError for arguments of one without any."""
    function = resolve_name(BENCHMARKS[args.benchmark])
    if args.benchmark == "cells":
        return function(args)
    for option in ("again", "suite"):
        if getattr(args, option):
            raise UsageError(f"bench {args.benchmark}: got --{option}, allowed: `bench cells` alone takes it")
    names = [args.experiment, *args.overrides] if args.experiment else []
    if args.benchmark == "step":
        return function(names)
    if names:
        raise UsageError(f"bench {args.benchmark}: got {names[0]}, allowed: no argument; `cells` and `step` take some")
    return function()
