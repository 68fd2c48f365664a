"""Any words are a result or one line: no traceback, and no file where they are refused. The words are random."""

import random
import time

import pytest
from harness import command

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
)
"""Those that compose or read, and train nothing."""
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


def words(random: random.Random) -> list[str]:
    """One to three words: settings, options and noise."""
    found = []
    for _ in range(random.randint(1, 3)):
        kind = random.random()
        if kind < 0.85:
            parts = (PREFIXES, KEYS, OPERATORS, VALUES)
            found.append("".join(random.choice(part) for part in parts))
        else:
            found.append(random.choice(NOISE if kind < 0.95 else OPTIONS))
    return found


def check(line: list[str], workplace) -> str | None:
    """The fault of the command, None if it ended as it should."""
    before, begun = sorted(workplace.rglob("*")), time.process_time()
    try:
        ended = command(*line)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if time.process_time() - begun > 10:
        return "more than 10 s"
    if ended.code in (0, None):
        return None
    if ended.code not in (1, 2):
        return f"exit code {ended.code}"
    if "Traceback" in ended.err or len(ended.errors) > 1 and not ended.err.startswith("usage:"):
        return ended.err
    return None if sorted(workplace.rglob("*")) == before else "files were written"


def test_two_hundred_lines(workplace, monkeypatch):
    assert_no_fault(workplace, monkeypatch, seed=0, lines=200)


@pytest.mark.slow
def test_two_thousand_lines(workplace, monkeypatch):
    assert_no_fault(workplace, monkeypatch, seed=1, lines=2000)


def assert_no_fault(workplace, monkeypatch, seed: int, lines: int) -> None:
    monkeypatch.setattr("sobench.cli.plan.measure", lambda *_: "not measured here")
    monkeypatch.setenv("WANDB_MODE", "offline")
    draw = random.Random(seed)
    faults = {}
    for _ in range(lines):
        line = [*draw.choice(COMMANDS), *words(draw)]
        if fault := check(line, workplace):
            faults[" ".join(line)] = fault
    assert not faults


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
