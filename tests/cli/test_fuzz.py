"""Any words are a result or one line: no traceback, and no file where they are refused. The words are random."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from harness import Result, command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from own_conf import add_to_conf

from sobench.system import environment

COMMANDS = (
    ["run", "--cfg", "job"],
    ["run", "-m", "--cfg", "job"],
    ["plan"],
    ["status"],
    ["runs"],
    ["show"],
    ["list"],
    ["report"],
    ["retry"],
    ["gc"],
    ["wandb", "verify"],
    ["tune"],
    ["tune", "small"],
)
"""Those that compose or read, and `tune`, which trains nothing here."""
KEYS = [
    *(
        "seed",
        "dataset",
        "model",
        "optimizer",
        "experiment",
        "schedule",
        "logger",
        "instrument",
        "batch_size",
        "timeout",
    ),
    *(
        "optimizer.lr",
        "model.widths",
        "budget.epochs",
        "budget",
        "runs",
        "reports",
        "log.every",
        "data.mirror",
        "a.b",
        "x",
    ),
    *("hydra", "hydra/launcher", "hydra/sweeper", "hydra.launcher", "hydra.launcher.n_jobs", "hydra.sweeper"),
    *("hydra.sweeper.params", "hydra.sweeper.cells", "hydra.sweeper.jobs", "hydra.sweeper.tuned", "hydra.mode"),
    *("hydra.sweeper.tune", "hydra.sweeper.tune.seeds", "hydra.sweeper.tune.grids", "hydra.sweeper.trials"),
    *("hydra.sweeper.params.seed", "hydra.searchpath", "hydra.job.name", "dataset@model", "", "é", "0", "a/b"),
]
VALUES = [
    *(
        "0",
        "1",
        "-1",
        "0.1",
        "1e10",
        "1e400",
        "nan",
        "inf",
        "null",
        "true",
        "false",
        "''",
        "",
        " ",
        "a b",
        "é",
        "digits",
        "small",
    ),
    *(
        "sgd",
        "mlp",
        "kfac,adam",
        "0,1",
        "[1]",
        "[]",
        "{}",
        "{a:1}",
        "{a:[1,{b:2}]}",
        "[[1],[2]]",
        "'x'",
        '"x',
        "${seed}",
    ),
    *(
        "${nothing}",
        "${oc.env:HOME}",
        "${",
        "${seed:1}",
        "???",
        "range(3)",
        "range(1000000000)",
        "range(0,1,0)",
        "range(1,2",
    ),
    *("range(0,1,0.25)", "range(0,inf)", "choice(0,1)", "choice()", "interval(0,1)", "glob(*)", "glob(", "tag(a,1)"),
    *(
        "sort(2,1)",
        "shuffle(range(3))",
        "int(1.5)",
        "float(x)",
        "json_str([1])",
        "9" * 400,
        "../..",
        "/dev/null",
        "@x",
        "=",
        ":",
    ),
]
OPERATORS = [*["="] * 14, "", "+=", "==", ":"]
PREFIXES = [*[""] * 12, "+", "++", "~", "-", "--"]
NOISE = [
    "--resolve",
    "--package",
    "--info",
    "--yes",
    "--all",
    "--json",
    "-m",
    "--",
    "-",
    "~dataset",
    "~",
    "[",
    "\x00",
    "\n",
]
OPTIONS = ["--experimental-rerun", "--config-name", "--config-path", "--config-dir", "--cfg", "--run", "--hydra-help"]


SETTING = st.builds("".join, st.tuples(*map(st.sampled_from, (PREFIXES, KEYS, OPERATORS, VALUES))))
WORD = st.sampled_from([SETTING] * 17 + [st.sampled_from(NOISE)] * 2 + [st.sampled_from(OPTIONS)]).flatmap(
    lambda kind: kind
)
LINE = st.builds(
    lambda command, words: [*command, *words], st.sampled_from(COMMANDS), st.lists(WORD, min_size=1, max_size=3)
)
"""A command with one to three words: settings, options and noise."""

SMALL_EXPERIMENT = """
# @package _global_
threads: 1
model: {widths: [4]}
budget: {epochs: null, steps: 2}
hydra:
  mode: MULTIRUN
  sweeper:
    params: {seed: "0,1"}
    cells: [["optimizer=sgd"], ["optimizer=adam"]]
    tune: {seeds: [7], metric: validation_loss, better: lower, at: last, grids: {sgd: {optimizer.lr: [0.1, 0.2]}}}
"""

SECONDS, BYTES = 10, 1e9
"""What a command may take."""
LIBRARIES = 3e8
"""Bytes of a process that has imported everything."""


def fault_of(line: list[str], workplace: Path) -> str | None:
    """The fault of the command, None if it ended as it should."""
    before, begun = sorted(workplace.rglob("*")), time.process_time()
    cpu = torch.device("cpu")
    environment.reset_peak_memory(cpu)
    resident = environment.peak_memory(cpu)["peak_host_bytes"]
    try:
        ended = command(*line)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if (seconds := time.process_time() - begun) > SECONDS:
        return f"{seconds:.0f} s"
    if (grown := environment.peak_memory(cpu)["peak_host_bytes"] - resident) > BYTES - LIBRARIES:
        return f"{grown:,} bytes more"
    return wrong_end(ended, line) or (
        "files were written"
        if ended.code and sorted(workplace.rglob("*")) != before and not (line[0] == "tune" and ended.code == 1)
        else None
    )


def wrong_end(ended: Result, line: list[str]) -> str | None:
    """What is wrong with the exit code and the messages of a command."""
    if ended.code in (0, None):
        return None
    if ended.code not in (1, 2):
        return f"exit code {ended.code}"
    several = len(ended.errors) > 1 and not ended.err.startswith("usage:")
    return ended.err if several or "Traceback" in ended.err else None


@pytest.fixture
def words_alone(workplace, tmp_path, monkeypatch) -> Path:
    """Nothing is measured, sent or trained: the words alone matter. There is an experiment to tune, `small`."""
    monkeypatch.setattr("sobench.cli.plan.measure", lambda *_: "not measured here")
    monkeypatch.setattr("sobench.execution.sweep.Sweep.todo", lambda sweep: [])
    monkeypatch.setenv("WANDB_MODE", "offline")
    add_to_conf(tmp_path / "conf", monkeypatch, {"experiment/small.yaml": SMALL_EXPERIMENT})
    return workplace


def any_lines(count: int) -> Callable:
    """A test of `count` lines, always the same ones."""
    at_work = settings(
        max_examples=count, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )

    def decorated(test: Callable) -> Callable:
        return at_work(given(line=LINE)(test))

    return decorated


@any_lines(200)
def test_two_hundred_lines(words_alone, line):
    assert fault_of(line, words_alone) is None


@pytest.mark.slow
@any_lines(2000)
def test_two_thousand_lines(words_alone, line):
    assert fault_of(line, words_alone) is None


@pytest.mark.slow
@any_lines(40)
def test_lines_in_processes_of_their_own(words_alone, line):
    """Time and memory of the whole process, as the system counts them. Without those that would measure or train."""
    if line[0] == "plan" or line[:2] == ["tune", "small"] or "\0" in "".join(line):
        return
    begun = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-c", "from sobench.cli import entry; entry()", *line],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with child.stderr:
        err = child.stderr.read()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert wrong_end(Result(child.returncode, "", err), line) is None
    assert used.ru_utime + used.ru_stime < SECONDS and time.monotonic() - begun < 6 * SECONDS
    assert used.ru_maxrss * 1024 < BYTES


@pytest.mark.parametrize(
    "line, said",
    [
        (
            "run -m seed=range(1000000000)",
            "seed=range(1000000000): a grid of 1,000,000,000 runs; allowed: at most 100,000",
        ),
        ("plan seed=range(0,inf)", "seed=range(0,inf): a grid of endless runs; allowed: at most 100,000"),
        ("run -m seed=range(0,1,0)", "a grid of endless runs"),
        ("plan seed=range(1000) batch_size=range(1,1001)", "a grid of 1,000,000 runs"),
        ("run -m seed=range(3,0)", "seed=range(3,0): no value; allowed: at least one"),
        ("run ~dataset=false", "dataset: got 'false', "),
        ("run experiment=[1]", "experiment: got '[1]', "),
        ("run -m hydra.sweeper.params=1 seed=0,1", "hydra.sweeper.params: got 1, allowed: "),
        ("run --resolve", "--resolve"),
        ("run --experimental-rerun x", "the same command again resumes a run"),
        ("run timeout=1e10", "timeout: got 10000000000.0, allowed: a number of seconds above 0, at most 1e8"),
    ],
)
def test_words_that_hung_or_had_a_traceback_are_one_line(workplace, line, said):
    refused = command(*line.split())
    assert refused.code == 2 and len(refused.errors) == 1 and said in refused.err
    assert not list(workplace.iterdir())
