"""sobench's commands as a user gives them, in this process or in one that may be killed; runs read back; plug-ins."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

TIMES = (
    "seconds",
    "process_seconds",
    "warm_start_seconds",
    "peak_host_bytes",
    "peak_device_bytes",
    "finished",
    "metrics_bytes",
)
"""What may differ between two runs of the same settings."""

SMALL = ("threads=1", "model.widths=[4]", "budget=smoke")


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        return self.err.splitlines()


def command(*words: str) -> Result:
    """`sobench WORDS` in this process."""
    from sobench import cli

    out, err = io.StringIO(), io.StringIO()
    argv = sys.argv
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = cli.main(list(words))
        except SystemExit as end:
            code = end.code
        finally:
            sys.argv = argv
    return Result(code, out.getvalue(), err.getvalue())


# Runs


@cache
def _defaults() -> dict[str, Any]:
    from sobench.config.grid import expand

    return expand(["model.widths=[4]", "threads=1"])[0].config


def run_with(**changes: Any):
    """A Run of the default settings with `optimizer__lr=0.5`; a group given by a dict replaces the group."""
    from sobench.config.run import Run

    config = copy.deepcopy(_defaults())
    for key, value in changes.items():
        *parents, leaf = key.split("__")
        node = config
        for part in parents:
            node = node[part]
        node[leaf] = value
    return Run.of(config)


def directories(root: Path = Path("runs")) -> list[Path]:
    return sorted(path for path in root.glob("*/seed-*"))


def directory(root: Path = Path("runs")) -> Path:
    (only,) = directories(root)
    return only


def summary(path: Path) -> dict[str, Any]:
    return json.loads((path / "summary.json").read_text())


def rows(path: Path, kind: str | None = None) -> list[dict[str, Any]]:
    lines = (path / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if kind in (None, row["kind"])]


def result(path: Path) -> str:
    """All of a run's record that its settings determine; as text, so that NaN equals NaN."""
    kept = [{k: v for k, v in record.items() if k not in TIMES} for record in (summary(path), *rows(path))]
    return json.dumps(kept, sort_keys=True, indent=0)


# Processes. A fork server that has imported torch starts each in milliseconds, with nothing of this process in it.


PRELOAD = [
    "torch._dynamo",
    "hydra.main",
    "hydra._internal.hydra",
    "sobench.execution.attempt",
    "sobench.execution.display",
]


def process(*words: str, folder: Path, prepare: Callable[[], None] | None = None) -> multiprocessing.Process:
    """`sobench WORDS` started in a process of its own, its output in `folder`/out.txt; `prepare` runs there before."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    started = context.Process(target=_main, args=(words, str(folder), prepare, dict(os.environ), list(sys.path)))
    started.start()
    return started


def _main(words: tuple[str, ...], folder: str, prepare, environment: dict[str, str], path: list[str]) -> None:
    import torch

    from sobench import cli

    torch.set_num_threads(1)
    os.environ.update(environment)
    sys.path[:] = path
    os.chdir(folder)
    file = os.open("out.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1), os.dup2(file, 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
    try:
        if prepare:
            prepare()
        code = cli.main(list(words))
    except BaseException:
        traceback.print_exc()
        code = 99
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)


def finish(started: multiprocessing.Process, seconds: float = 60) -> int:
    """Its exit code; it is killed if it takes longer."""
    started.join(seconds)
    if started.is_alive():
        started.kill()
        started.join()
        raise AssertionError("the process did not end")
    return started.exitcode


def output(folder: Path) -> str:
    return (folder / "out.txt").read_text()


@dataclass(frozen=True)
class DieIn:
    """Patches module.name: its `call`-th call makes the process kill itself, before or after doing its work."""

    module: str
    name: str
    call: int
    after: bool = False

    def __call__(self) -> None:
        import importlib

        owner: Any = importlib.import_module(self.module)
        *parents, leaf = self.name.split(".")
        for part in parents:
            owner = getattr(owner, part)
        true, calls = getattr(owner, leaf), 0

        def dying(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == self.call and not self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            value = true(*args, **kwargs)
            if calls == self.call:
                os.kill(os.getpid(), signal.SIGKILL)
            return value

        setattr(owner, leaf, dying)


# Plug-ins


def write_package(
    site: Path, name: str, modules: dict[str, str], entries: dict[str, str], group="sobench.optimizers"
) -> None:
    """An installed package: its modules, {file: text}, and the metadata of its entry points, as pip leaves them."""
    for file, text in modules.items():
        path = site / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    info = site / f"{name.replace('-', '_')}-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    lines = "\n".join(f"{key} = {value}" for key, value in entries.items())
    (info / "entry_points.txt").write_text(f"[{group}]\n{lines}\n")
