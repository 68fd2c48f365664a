"""The commands besides `run` and `data`: list, status, report, reproduce, tune, retry, gc, plan, wandb, check, bench.

The arguments of the commands about runs that are there, or are to be: retry, gc, plan.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from sobench.cli import report
from sobench.cli.arguments import OVERRIDES, root_of, runs_of, settings_of, words_of
from sobench.cli.clean import OLDER, gc
from sobench.cli.plan import plan
from sobench.cli.retry import CHOICES, DEFAULT, retry
from sobench.cli.tune import tune
from sobench.cli.wandb import wandb


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
    add(
        list_,
        "what there is to choose from",
        kind=dict(choices=["datasets", "models", "optimizers", "losses", "experiments", "reports"]),
    )
    add(
        status,
        "what became of the runs of an experiment, or of all",
        experiment=dict(nargs="?", default=None),
        overrides=overrides,
    )
    add(
        report.report,
        "write the tables, figures and verdicts from the runs that are there",
        id=artifact,
        overrides=overrides,
    )
    add(report.reproduce, "run what is missing, then report", id=artifact, overrides=overrides)
    add(
        tune,
        "run an experiment's grid on its tuning seeds, and choose",
        experiment=dict(metavar="EXPERIMENT"),
        overrides=overrides,
    )
    _add_run_parsers(add, overrides)
    add(
        wandb,
        "mirror runs to wandb, or say what is not mirrored",
        action=dict(choices=["sync", "verify"]),
        experiment=dict(nargs="?", default=None, metavar="EXPERIMENT"),
        overrides=overrides,
    )
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
    """Name, description and origin of each entry; a plug-in is not imported, so that whether it can be is not known."""
    from sobench.config import registry
    from sobench.config.files import about

    group = registry.key_of(kind)
    rows = []
    for name, entry in registry.entries(kind).items():
        origin = "" if registry.is_ours(entry) else f"{registry.origin(entry)}, not imported"
        rows.append((name, about(f"{group}/{name}") or registry.summary(entry), origin))
    return rows


def _experiments() -> list[tuple[str, str]]:
    """Name, and the first comment line of its file."""
    from sobench.config.files import about, members

    return [(name, about(f"experiment/{name}")) for name in members("experiment")]


def _reports() -> list[tuple[str, str]]:
    from sobench.report import read, reports

    return [(name, read(name).title) for name in reports()]


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


def check(args: argparse.Namespace) -> int:
    from sobench.config import registry

    registry.check_name("optimizers", args.name)
    from sobench.training.contract import run_suite

    return run_suite(args.name, tuple(settings_of(args.overrides)))


BENCHES = {"overhead": "overhead", "step": "step", "csdd": "second_order", "results": "results", "sweep": "sweep"}
"""What can be measured, and the module whose function of that name does it: they import different things."""


def bench(args: argparse.Namespace) -> int:
    from importlib import import_module

    return getattr(import_module(f"sobench.cli.bench.{BENCHES[args.what]}"), args.what)()


def _add_run_parsers(add: Callable[..., argparse.ArgumentParser], overrides: dict) -> None:
    """Register them; `add(func, text, **positionals)` returns a parser, `overrides` describes the settings."""
    parser = add(
        retry,
        "make failed runs again, and keep what was there in runs/.old",
        experiment=dict(nargs="?", default=None),
        overrides=overrides,
    )
    for flag, status in CHOICES.items():
        text = f"those that are {status}" + (
            " (without any flag: " + ", ".join(DEFAULT) + ")" if status == DEFAULT[0] else ""
        )
        parser.add_argument(f"--{flag.replace('_', '-')}", action="store_true", help=text)
    parser = add(
        gc,
        "list what runs that were cut off have left, and delete it with --yes",
        overrides={**overrides, "help": "runs=DIR, the folder of the runs"},
    )
    parser.add_argument("--yes", action="store_true", help="delete what is listed")
    parser.add_argument(
        "--older-than", default=OLDER, metavar="AGE", help=f"of what `retry` put aside (default: {OLDER})"
    )
    parser = add(
        plan,
        "what a sweep has to do, and how long it takes by a few measured steps of each cell",
        experiment=dict(metavar="EXPERIMENT"),
        overrides=overrides,
    )
    parser.add_argument("--budget", metavar="TIME", help="choose the runs that fit into 90s, 15m, 4h, 1h30m or 2d")
