"""The commands besides `run` and `data`: list, status, report, reproduce, tune, retry, gc, plan, wandb, check, bench."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from sobench import garbage, ledger_commands
from sobench.errors import Failure, UsageError

OVERRIDES = "settings of the experiment, as for `sobench run` (budget=cpu seed=0,1 runs=DIR ...)"


def add_parsers(actions) -> None:
    """Register every command with its arguments; each sets `func`, which returns an exit code."""

    def add(func, text: str, **arguments: dict) -> argparse.ArgumentParser:
        parser = actions.add_parser(func.__name__.rstrip("_"), help=text, description=text)
        for name, options in arguments.items():
            parser.add_argument(name, **options)
        parser.set_defaults(func=func)
        return parser

    overrides = dict(nargs="*", metavar="KEY=VALUE", help=OVERRIDES)
    artifact = dict(metavar="ID", help="paper/artifact, as `sobench list reports` prints it")
    add(list_, "what there is to choose from", kind=dict(choices=["datasets", "models", "optimizers", "losses", "experiments", "reports"]))
    add(status, "what became of the runs of an experiment, or of all", experiment=dict(nargs="?", default=None), overrides=overrides)
    add(report, "write the tables, figures and verdicts from the runs that are there", id=artifact, overrides=overrides)
    add(reproduce, "run what is missing, then report", id=artifact, overrides=overrides)
    from sobench.tune_command import tune

    add(tune, "run an experiment's grid on its tuning seeds, and choose", experiment=dict(metavar="EXPERIMENT"), overrides=overrides)
    ledger_commands.add_parsers(add, overrides)
    from sobench.wandb_command import wandb

    add(wandb, "mirror runs to wandb, or say what is not mirrored", action=dict(choices=["sync", "verify"]),
        experiment=dict(nargs="?", default=None, metavar="EXPERIMENT"), overrides=overrides)
    settings = dict(nargs="*", metavar="KEY=VALUE", help="settings that it needs (optimizer.radius=1.0 ...)")
    add(check, "the contract suite on one optimizer, ours or yours", name=dict(metavar="NAME"), overrides=settings)
    add(bench, "measure the harness itself", what=dict(choices=list(BENCHES)))


def list_(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    rows = {"experiments": _experiments, "reports": _reports}.get(args.kind, lambda: _entries(args.kind))()
    table = Table(box=None, show_header=False, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    return 0


def _entries(kind: str) -> list[tuple[str, str, str]]:
    """Name, what it is, where it comes from; one warning line for each that cannot work."""
    from sobench import registry
    from sobench.conf_files import about

    group = next(one for one, many in registry.KINDS.items() if many == kind)
    rows = []
    for name, entry in registry.entries(kind).items():
        wrong = None if registry.is_ours(entry) else registry.defect(entry)
        if wrong:
            registry.warn(f"{group} {name!r} from {registry.origin(entry)} is broken: {wrong}")
        else:
            rows.append((name, about(f"{group}/{name}") or registry.summary(entry), "" if registry.is_ours(entry) else registry.origin(entry)))
    return rows


def _experiments() -> list[tuple[str, str]]:
    """Name, and the first comment line of its file."""
    from sobench.conf_files import about, members

    return [(name, about(f"experiment/{name}")) for name in members("experiment")]


def _reports() -> list[tuple[str, str]]:
    from sobench.report import read, reports

    return [(name, read(name).title) for name in reports()]


@garbage.put_off()
def status(args: argparse.Namespace) -> int:
    from rich.console import Console

    from sobench.results.status import print_status

    experiment, words = words_of(args)
    if experiment is None:
        print_status(None, root_of(words), Console())
        return 0
    runs = runs_of(experiment, words)
    print_status(runs, Path(runs[0].config["runs"]), Console())
    return 0


@garbage.put_off()
def report(args: argparse.Namespace) -> int:
    from sobench.report import experiment_of

    _write_reports([args.id], {args.id: runs_of(experiment_of(args.id), args.overrides)}, args.overrides)
    return 0


def reproduce(args: argparse.Namespace) -> int:
    """Run what is missing of the experiment, then write every report of the paper that its runs complete."""
    from sobench import app
    from sobench.report import experiment_of, reports
    from sobench.results.rundir import KEEPS
    from sobench.results.state import state

    experiment = experiment_of(args.id)
    runs = {args.id: runs_of(experiment, args.overrides)}
    code = app.run([f"experiment={experiment}", *args.overrides])
    if not any(state(run.directory(run.config["runs"])).status in KEEPS for run in runs[args.id]):
        raise Failure(f"{args.id}: none of its {len(runs[args.id])} runs gave a result, see `sobench status {experiment}`")
    have = {run.id for run in runs[args.id]}
    for name in reports():
        if name != args.id and name.split("/")[0] == args.id.split("/")[0]:
            theirs = _agreeing(experiment_of(name), args.overrides)
            if theirs and {run.id for run in theirs} <= have:
                runs[name] = theirs
    _write_reports([*sorted(set(runs) - {args.id}), args.id], runs, args.overrides)
    return code


def check(args: argparse.Namespace) -> int:
    from sobench import registry

    registry.check_name("optimizers", args.name)
    from sobench.check import run_suite

    return run_suite(args.name, tuple(settings_of(args.overrides)))


BENCHES = {"overhead": "bench", "step": "bench_step", "csdd": "bench_csdd", "results": "bench_results", "sweep": "bench_sweep"}
"""What can be measured, and the module whose function of that name does it: they import different things."""


def bench(args: argparse.Namespace) -> int:
    from importlib import import_module

    return getattr(import_module(f"sobench.{BENCHES[args.what]}"), args.what)()


def words_of(args: argparse.Namespace) -> tuple[str | None, list[str]]:
    """The experiment, or None where only settings are given; and the settings."""
    if args.experiment and "=" in args.experiment:
        return None, settings_of([args.experiment, *args.overrides])
    return args.experiment, settings_of(args.overrides)


def root_of(words: list[str]) -> Path:
    """The folder of the runs, where no experiment says it."""
    return Path(next((w.removeprefix("runs=") for w in words if w.startswith("runs=")), "runs"))


def runs_of(experiment: str, overrides: list[str]):
    """The runs that an experiment asks for with these settings."""
    from sobench.grid import expand

    return expand([f"experiment={experiment}", *settings_of(overrides)])


def settings_of(words: list[str]) -> list[str]:
    """The words as they are. Raises UsageError for one that is no setting."""
    for word in words:
        if "=" not in word:
            raise UsageError(f"{word}: allowed: KEY=VALUE, {OVERRIDES}")
    return words


def folder_of(name: str, runs, overrides: list[str]) -> Path:
    """reports/<paper>/<artifact>/<budget>, with the other settings that were changed in its name."""
    config = runs[0].config
    changed = sorted(word for word in _telling(overrides) if not word.startswith("budget="))
    variant = ",".join([config["budget"]["name"], *changed])
    return Path(config["reports"]) / name / re.sub(r"[^A-Za-z0-9=,._-]+", "-", variant)


def _telling(overrides: list[str]) -> list[str]:
    """The settings that say which runs are asked for; the others say where and how they run."""
    elsewhere = ("runs", "reports", "progress", "threads", "slots", "data.mirror", "data.cache")
    return [word for word in overrides if word.split("=")[0] not in elsewhere and not re.match(r"logger[.=]", word)]


def _agreeing(experiment: str, overrides: list[str]):
    """The runs of a sibling experiment; none where it has no cell that these overrides ask for."""
    try:
        return runs_of(experiment, overrides)
    except UsageError:
        return []


def _write_reports(names: list[str], runs: dict, overrides: list[str]) -> None:
    """Write each report, show the last on the terminal, and print the paths of all that was written."""
    from rich.console import Console

    from sobench.report import read, write
    from sobench.report.terminal import show

    paths = []
    for name in names:
        folder = folder_of(name, runs[name], overrides)
        paths += write(name, runs[name], Path(runs[name][0].config["runs"]), folder, settings=_telling(overrides))
    show(read(names[-1]).title, folder, Console())
    print()
    for path in paths:
        print(path)
