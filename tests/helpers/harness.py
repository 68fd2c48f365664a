"""Running sobench's commands in this process or in another, reading runs back, and installing plug-ins."""

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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sobench.config.run import Run

TIMES = (
    "seconds",
    "process_seconds",
    "warm_start_seconds",
    "compile_seconds",
    "peak_host_bytes",
    "peak_device_bytes",
    "timing",
    "finished",
    "metrics_bytes",
    "digests",
    "sha256",
)
"""Keys of summary.json and of rows that may differ between two runs of the same settings."""

SMALL = ("threads=1", "model.widths=[4]", "budget=smoke", "budget.samples=null")

SPECIAL: dict[str, Callable[[Path], None]] = {
    "named pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "folder": Path.mkdir,
}
"""What makes something that is no file: reading the first waits for ever, and the second has no end."""


@dataclass(frozen=True)
class Result:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The lines of standard error."""
        return self.err.splitlines()


def command(*words: str) -> Result:
    """Run `sobench WORDS` in this process."""
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


@contextlib.contextmanager
def disk_of(size: int) -> Iterator[None]:
    """Inside the context no file grows beyond `size` bytes: a write that goes on raises OSError, as on a full disk."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# Runs


@cache
def _defaults() -> dict[str, Any]:
    from sobench.config.grid import expand

    return expand(["model.widths=[4]", "threads=1"])[0].config


def run_with(**changes: Any) -> Run:
    """A Run of the default settings with changes, as optimizer__lr=0.5. A dict for a group replaces the whole group."""
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
    """The run directories below `root`, sorted."""
    return sorted(path for path in root.glob("*/seed-*"))


def directory(root: Path = Path("runs")) -> Path:
    """The only run directory below `root`."""
    (only,) = directories(root)
    return only


def summary(path: Path) -> dict[str, Any]:
    """summary.json of a run directory."""
    return json.loads((path / "summary.json").read_text())


def rows(path: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, or those of a kind."""
    lines = (path / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if kind in (None, row["kind"])]


def as_written(path: Path, **changes: Any) -> None:
    """Let the files of a finished run count as what the run wrote, with these changes to its summary."""
    from sobench.results import digests

    record = {key: value for key, value in summary(path).items() if key != "sha256"}
    (path / "summary.json").write_bytes(digests.sealed(record | changes | {"digests": digests.of_files(path)}))


def result(path: Path) -> str:
    """The part of a run's record that its settings determine, as text, so that NaN equals NaN."""
    records = [{k: v for k, v in record.items() if k not in TIMES} for record in (summary(path), *rows(path))]
    return json.dumps(records, sort_keys=True, indent=0)


# Processes. A fork server that has imported torch starts each in milliseconds, without the state of this process


PRELOAD = [
    "torch._dynamo",
    "hydra.main",
    "hydra._internal.hydra",
    "sobench.execution.attempt",
    "sobench.execution.display",
]


def process(
    *words: str, folder: Path, prepare: Callable[[], None] | None = None, **variables: str
) -> multiprocessing.Process:
    """Start `sobench WORDS` in a process with the working directory `folder`; `prepare` runs in it before the command.

    The output is written to `folder`/out.txt. variables: further environment variables.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    started = context.Process(target=_main, args=(words, str(folder), prepare, os.environ | variables, list(sys.path)))
    started.start()
    return started


def _main(words: tuple[str, ...], folder: str, prepare, environment: dict[str, str], path: list[str]) -> None:
    import torch

    from sobench import cli

    torch.set_num_threads(1)
    os.environ.clear()  # the server may have been started inside a sweep
    os.environ.update(environment)
    sys.path[:] = path
    os.chdir(folder)
    file = os.open("out.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - open until the process ends
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    try:
        if prepare:
            prepare()
        code = cli.main(list(words))
    except BaseException:
        traceback.print_exc()
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


PATIENCE = float(os.environ.get("SOBENCH_TEST_PATIENCE", "1"))
"""A factor of the times after which a process is believed to hang, for a machine that is busy with other work."""


def finish(started: multiprocessing.Process, seconds: float = 60) -> int:
    """Wait for the process, and return its exit code. Kills it and raises AssertionError if it takes longer.

    seconds: on a machine with nothing else to do; see PATIENCE.
    """
    started.join(seconds * PATIENCE)
    if started.is_alive():
        started.kill()
        started.join()
        raise AssertionError("the process did not end")
    return started.exitcode


def output(folder: Path) -> str:
    """The output of a process that `process` started."""
    return (folder / "out.txt").read_text()


@dataclass(frozen=True)
class DieIn:
    """A patch of module.name: at its `call`-th call the process kills itself, before the call or after it."""

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


# Plug-ins and extras


def installed(group: str, name: str) -> bool:
    """Whether the extra that a choice of a config group needs is installed; True if it needs none."""
    from sobench.config import extras

    extra = extras.EXTRAS.get((group, name))
    return extra is None or extras.is_installed(extra)


def write_package(
    site: Path, name: str, modules: dict[str, str], entries: dict[str, str], group="sobench.optimizers"
) -> None:
    """Write an installed package: its modules {file: text}, and the metadata of its entry points, as pip does."""
    for file, text in modules.items():
        path = site / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    info = site / f"{name.replace('-', '_')}-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    lines = "\n".join(f"{key} = {value}" for key, value in entries.items())
    (info / "entry_points.txt").write_text(f"[{group}]\n{lines}\n")
