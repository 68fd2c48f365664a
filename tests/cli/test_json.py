"""`--json`: one document on standard output with the keys of docs/json.md, everything else on standard error."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import SMALL, command, directories
from own_conf import add_to_conf

from sobench.cli.answer import COMMANDS, as_text
from sobench.cli.main import parser
from sobench.system.files import CHECKOUT

PAGE = CHECKOUT / "docs/json.md"
NUMBER, TEXT = (int, float), (str, type(None))
MAYBE = (int, float, type(None))


@dataclass(frozen=True)
class Map:
    """An object with any keys, whose values have this shape."""

    of: Any


RUN = {
    "id": str,
    "cell": str,
    "seed": int,
    "name": str,
    "folder": str,
    "dataset": TEXT,
    "model": TEXT,
    "optimizer": TEXT,
    "settings": dict,
    "status": str,
    "reason": TEXT,
    "stale": TEXT,
    "holder": TEXT,
    "steps": MAYBE,
    "epochs": MAYBE,
    "seconds": MAYBE,
    "final": Map(MAYBE),
}
RUNS = {"folder": str, "counts": Map(int), "runs": [RUN]}
SOURCE = {
    "name": str,
    "about": str,
    "rows": [int],
    "features": MAYBE,
    "size": TEXT,
    "at_hand": bool,
    "place": str,
}
MEMBER = {
    "kind": str,
    "name": str,
    "about": str,
    "preset_of": TEXT,
    "presets": [str],
    "paper": TEXT,
    "code": TEXT,
    "origin": TEXT,
    "data": [SOURCE],
    "settings": [{"key": str, "default": object, "allowed": str, "meaning": str}],
    "parameter_groups": [Map(object)],
}
EXPERIMENT = {
    "kind": str,
    "name": str,
    "about": str,
    "runs": int,
    "cells": [str],
    "seeds": [int],
    "data": [SOURCE],
    "budgets": [
        {"name": str, "limits": Map(object), "done": int, "left": int, "seconds": NUMBER, "unknown": int},
    ],
    "reports": [{"name": str, "claims": int}],
}
SUITE = {
    "kind": str,
    "name": str,
    "about": str,
    "problems": [{"name": str, "experiment": str, "settings": [str], "metric": TEXT, "target": MAYBE}],
}
ALGORITHM = {
    "kind": str,
    "name": str,
    "about": str,
    "settings": Map(object),
    "implementations": [{"label": str, "name": str, "requirement": str, "installed": bool}],
}
REPORT = {
    "kind": str,
    "name": str,
    "title": str,
    "source": str,
    "experiment": TEXT,
    "methods": [str],
    "answers": TEXT,
    "claims": [{"id": str, "text": str, "source": str}],
}
PLAN = {
    "cells": [
        {
            "name": str,
            "done": [str],
            "left": [str],
            "measured": (dict, type(None)),
            "not_measured": TEXT,
        }
    ],
    "done": int,
    "left": int,
    "seconds": NUMBER,
    "within": (dict, type(None)),
}
MEASURED = {
    "first": NUMBER,
    "step": NUMBER,
    "evaluation": NUMBER,
    "start": NUMBER,
    "steps": int,
    "evaluations": int,
    "host": int,
    "device": MAYBE,
    "seconds": NUMBER,
}
WITHIN = {"limit": NUMBER, "chosen": [str], "seconds": NUMBER, "left_out": Map([int]), "command": TEXT}
WRITTEN = {
    "reports": [
        {
            "report": str,
            "title": str,
            "folder": str,
            "files": [str],
            "made_with": str,
            "table": [dict],
            "settings": [dict],
            "claims": [dict],
        }
    ]
}
VERIFIED = {"reports": [{"folder": str, "ok": bool, "wrong": [str]}]}
TIME = {
    "axis": str,
    "problem": str,
    "method": str,
    "metric": str,
    "target": NUMBER,
    "reached": int,
    "seeds": int,
    "median": MAYBE,
    "low": MAYBE,
    "high": MAYBE,
    "horizon": NUMBER,
}
PAIR = {
    "axis": str,
    "method": str,
    "ratio": MAYBE,
    "ratio_low": MAYBE,
    "ratio_high": MAYBE,
    "ratios": Map(MAYBE),
    "faster": MAYBE,
    "faster_low": MAYBE,
    "faster_high": MAYBE,
    "wins": int,
    "ties": int,
    "losses": int,
    "p": MAYBE,
    "adjusted_p": MAYBE,
    "pairs": int,
    "one_missed": int,
    "both_missed": int,
    "answer": str,
    "needs": (dict, type(None)),
}
RANK = {
    "axis": str,
    "rank": int,
    "method": str,
    "score": NUMBER,
    "fastest": NUMBER,
    "band": MAYBE,
    "moves": Map(int),
}
COMPARED = {
    "title": str,
    "made_with": str,
    "files": [str],
    "baseline": str,
    "methods": [str],
    "axes": [str],
    "verdicts": [str],
    "left_out": [str],
    "times": [TIME],
    "pairs": [PAIR],
    "ranks": [RANK],
    "runs": [
        {
            "problem": str,
            "method": str,
            "seed": int,
            "id": str,
            "settings": str,
            "final": MAYBE,
            "step": MAYBE,
            "work": MAYBE,
        }
    ],
}
CHECKED = {
    "optimizer": str,
    "passed": bool,
    "checks": [{"check": str, "about": str, "status": str, "reason": TEXT}],
}
INSTALLED = {
    "name": str,
    "label": str,
    "package": str,
    "version": str,
    "installed": bool,
    "compared_with": bool,
    "first_step": MAYBE,
    "difference_there": MAYBE,
    "difference_at_the_end": MAYBE,
    "failure": TEXT,
    "settings": Map(object),
    "counterparts": Map([str]),
    "neutral": Map(object),
    "defaults": Map(object),
    "known_to_differ": TEXT,
}
NOT_INSTALLED = {"name": str, "label": str, "package": str, "requirement": str, "installed": bool}
PARITY = {
    "algorithm": str,
    "dataset": dict,
    "model": dict,
    "dtype": str,
    "seed": int,
    "steps": int,
    "compared": (str, list),
    "tolerance": NUMBER,
    "settings": Map(object),
    "implementations": [dict],
}
TUNED = {
    "experiment": str,
    "metric": str,
    "better": str,
    "at": str,
    "seeds": [int],
    "budget": str,
    "choices": [
        {
            "cell": [str],
            "values": (dict, type(None)),
            "score": MAYBE,
            "stderr": MAYBE,
            "trials": int,
            "unfinished": int,
            "edge": [str],
        }
    ],
    "files": [str],
    "kept": TEXT,
}
POWER = {
    "report": str,
    "claims": [
        {
            "id": str,
            "now": str,
            "n": int,
            "needed": MAYBE,
            "runs": MAYBE,
            "seconds": MAYBE,
            "reason": TEXT,
        }
    ],
    "runs": int,
    "seconds": MAYBE,
    "not_by_seeds": Map(int),
}
LISTED = {"kind": str, "entries": [{"name": str, "about": str, "note": str}]}
SHOWN = {"name": str, "found": [dict]}
SHAPES = (
    RUNS,
    MEMBER,
    EXPERIMENT,
    SUITE,
    ALGORITHM,
    REPORT,
    PLAN,
    MEASURED,
    WITHIN,
    POWER,
    WRITTEN,
    VERIFIED,
    COMPARED,
    CHECKED,
    PARITY,
    INSTALLED,
    NOT_INSTALLED,
    TUNED,
)


def check(value: Any, shape: Any, place: str = "document") -> None:
    """Raises AssertionError where the value has not the shape: its exact keys, and its types."""
    if isinstance(shape, Map):
        assert isinstance(value, dict), place
        for key, one in value.items():
            check(one, shape.of, f"{place}.{key}")
    elif isinstance(shape, dict):
        assert value.keys() == shape.keys(), (place, value.keys() ^ shape.keys())
        for key, one in value.items():
            check(one, shape[key], f"{place}.{key}")
    elif isinstance(shape, list):
        assert isinstance(value, list), place
        for number, one in enumerate(value):
            check(one, shape[0], f"{place}[{number}]")
    else:
        assert isinstance(value, shape), (place, value)
        assert type(value) is not bool or shape in (bool, object), (place, value)


def document(*words: str, shape: Any, code: int = 0) -> dict[str, Any]:
    """The document of a command, checked against its shape."""
    done = command(*words, "--json")
    assert done.code == code, done
    found = json.loads(done.out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    check(found, {"command": str, "schema": int, **shape})
    assert (found["command"], found["schema"]) == (words[0], 1)
    return found


def keys(shape: Any) -> set[str]:
    """All keys of a shape, at any depth."""
    if isinstance(shape, dict):
        return {*shape}.union(*map(keys, shape.values()))
    return keys(shape[0]) if isinstance(shape, list) else keys(shape.of) if isinstance(shape, Map) else set()


def test_the_page_names_every_key_and_every_command():
    words = set(re.findall(r"`([a-z_]+)`", PAGE.read_text()))
    unnamed = set().union(*map(keys, (*SHAPES, LISTED, SHOWN))) - words
    assert not unnamed
    heads = " ".join(line for line in PAGE.read_text().splitlines() if line.startswith("## "))
    assert re.findall(r"`(\w+)`", heads) != [] and {*re.findall(r"`(\w+)`", heads)} == {*COMMANDS}


# Where it is allowed, and what is printed where


def test_nan_and_infinities_are_null():
    numbers = {"a": math.nan, "b": [math.inf, -math.inf], "c": np.float64("nan"), "d": np.float32(0.5), "e": 1e400}
    assert json.loads(as_text(numbers)) == {"a": None, "b": [None, None], "c": None, "d": 0.5, "e": None}
    assert json.loads(as_text({"path": Path("a/b"), "set": {"b", "a"}})) == {"path": "a/b", "set": ["a", "b"]}


def test_what_is_neither_is_an_error():
    with pytest.raises(TypeError):
        as_text({"a": object()})


def commands() -> list[str]:
    """The commands that do not take --json."""
    (subparsers,) = [action for action in parser()._actions if action.choices and not action.option_strings]
    assert {*subparsers.choices} > {*COMMANDS}
    return sorted({*subparsers.choices} - {*COMMANDS})


@pytest.mark.parametrize("words", [*([name] for name in commands()), [], ["data", "list"], ["bench", "step"]])
def test_a_command_without_a_document_says_which_have_one(workplace, words):
    done = command(*words, "--json")
    got = f"sobench {words[0]}" if words else "no command before it"
    assert done.code == 2 and not done.out
    assert done.errors == [f"sobench: --json: got {got}, allowed: with {', '.join(COMMANDS[:-1])} or {COMMANDS[-1]}"]


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["run", "--cfg", "job"], 2, "--json: got --cfg, allowed: settings, and -m"),
        (["run", "--help"], 2, "--json: got --help, allowed: settings, and -m"),
        (["run", "--lr=0.1"], 2, "--lr=0.1: not an option, allowed: optimizer.lr=0.1"),
        (["run", "optimizer=nothing"], 2, "optimizer: got 'nothing', allowed: "),
        (["run", "seed=1", "SOBENCH"], 2, "SOBENCH: not a setting; allowed: KEY=VALUE"),
        (["status", "nothing/here"], 2, "experiment: got 'nothing/here', "),
        (["runs"], 1, "runs: no runs under runs"),
        (["show", "nothing"], 2, "show: got 'nothing', "),
        (["report"], 2, "report: got no ID and no settings, "),
        (["check", "nothing"], 2, "optimizer: got 'nothing', "),
        (["compare"], 2, "compare: there is no run under runs; "),
        (["plan"], 2, "plan: got no argument, allowed: "),
        (["tune"], 2, "tune: got no argument, allowed: "),
        (["parity", "nothing"], 2, "parity: got 'nothing', "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_is_one_line_and_no_document(workplace, words, code, line):
    done = command(*words, "--json")
    assert done.code == code and not done.out and len(done.errors) == 1
    assert done.errors[0].startswith(f"sobench: {line}")


@pytest.mark.parametrize("name", COMMANDS)
def test_completion_and_help_offer_it(workplace, name):
    assert "--json " in command("complete", "zsh", f"sobench {name} --j").out.splitlines()
    if name != "run":
        assert "--json" in command(name, "--help").out


@pytest.mark.slow
def test_the_help_of_hydra_offers_it(workplace):
    assert "--json prints what became of each run" in command("run", "--help").out


# The documents


def test_runs_of_a_sweep(workplace):
    sweep = ("run", "-m", *SMALL, "optimizer=sgd,adam", "optimizer.lr=0.1,0.01", "seed=0,1")
    made = command(*sweep, "--json")
    assert made.code == 0 and made.errors[-1] == "8 runs: 8 done"
    found = document(*sweep, shape=RUNS)  # again: nothing to do
    assert json.loads(made.out) == found and found["counts"] == {"done": 8}
    assert [run["folder"] for run in found["runs"]] != sorted(str(path) for path in directories())  # as the sweep's
    assert {run["folder"] for run in found["runs"]} == {str(path) for path in directories()}
    run = found["runs"][1]
    assert run["settings"] == {"optimizer.lr": 0.1} and run["seed"] == 1 and run["id"] == f"{run['cell']}-1"
    assert run["steps"] == 2 and run["final"]["test_accuracy"] <= 1 and run["name"] == "digits mlp sgd lr=0.1 seed 1"
    status = document("status", shape=RUNS)
    assert sorted(status["runs"], key=lambda run: run["folder"]) == sorted(found["runs"], key=lambda run: run["folder"])
    selected = document("runs", "optimizer=adam", "optimizer.lr=0.1", "seed=0", shape=RUNS)
    assert [run["id"] for run in selected["runs"]] == [found["runs"][4]["id"]] and selected["counts"] == {"done": 1}


def test_a_single_run_and_one_that_diverges(workplace):
    found = document("run", *SMALL, "seed=3", shape=RUNS)
    assert [(run["seed"], run["status"], run["settings"]) for run in found["runs"]] == [(3, "done", {})]
    found = document("run", *SMALL, "optimizer.lr=1e30", "budget.epochs=null", "budget.steps=20", shape=RUNS)
    (run,) = found["runs"]
    assert run["status"] == "diverged" and "nan" in run["reason"]


def test_a_failed_run_has_its_reason_and_the_exit_code(workplace):
    found = document("run", "-m", *SMALL, "batch_size=64,5000", shape=RUNS, code=1)
    assert found["counts"] == {"done": 1, "failed": 1}
    failed = next(run for run in found["runs"] if run["status"] == "failed")
    assert "5000" in failed["reason"] and failed["settings"] == {"batch_size": 5000} and failed["final"] == {}
    missing = document("status", *SMALL, "seed=7", shape=RUNS)
    assert [(run["status"], run["steps"], run["final"]) for run in missing["runs"]] == [("missing", None, {})]


def test_a_single_run_that_cannot_start_has_no_document(workplace):
    done = command("run", *SMALL, "batch_size=5000", "--json")
    assert done.code in (1, 2) and not done.out and len(done.errors) == 1


@pytest.mark.parametrize(
    "kind", ["optimizers", pytest.param("experiments", marks=pytest.mark.slow), "suites", "reports", "losses"]
)
def test_list(workplace, kind):
    found = document("list", kind, shape=LISTED)
    text = command("list", kind).out.splitlines()
    assert [entry["name"] for entry in found["entries"]] == [line.split()[0] for line in text]
    assert all(entry["about"] for entry in found["entries"])


def test_show(workplace):
    kfac, parity = document("show", "kfac", shape=SHOWN)["found"]
    check(kfac, MEMBER)
    check(parity, ALGORITHM)
    assert kfac["code"] == "sobench.optim.kfac:KFAC" and "optimizer.damping" in {s["key"] for s in kfac["settings"]}
    assert document("list", "optimizers", "kfac", shape=SHOWN)["found"] == [kfac]
    assert kfac["parameter_groups"] == []
    muon, _ = document("show", "muon", shape=SHOWN)["found"]
    check(muon, MEMBER)
    assert {group.get("optimizer") for group in muon["parameter_groups"]} == {None, "adamw"}
    (usps,) = document("show", "usps", shape=SHOWN)["found"]
    check(usps, MEMBER)
    assert usps["preset_of"] == "libsvm" and [data["rows"] for data in usps["data"]] == [[7291, 2007]]
    (suite,) = (one for one in document("show", "digits", shape=SHOWN)["found"] if one["kind"] == "suite")
    check(suite, SUITE)
    assert [problem["name"] for problem in suite["problems"]] == ["linear", "mlp", "deep"]
    experiment, report = document("show", "demo/digits", shape=SHOWN)["found"]
    check(experiment, EXPERIMENT)
    check(report, REPORT)
    assert experiment["runs"] == 15 and experiment["seeds"] == [0, 1, 2] and len(experiment["cells"]) == 5


def test_plan(workplace, monkeypatch):
    from sobench.cli.plan import Measured

    measured = Measured(0.5, 0.1, 0.2, 1.0, 11, 2, 1000, None)
    monkeypatch.setattr("sobench.cli.plan.measure", lambda run: measured)
    sweep = ("plan", *SMALL, "optimizer=sgd,adam", "seed=0,1", "--budget", "6s")
    found = document(*sweep, shape=PLAN)
    check(found["within"], WITHIN)
    for cell in found["cells"]:
        check(cell["measured"], MEASURED)
    assert found["left"] == 4 and found["cells"][0]["measured"]["seconds"] == pytest.approx(1 + 0.5 + 1.0 + 0.4)
    assert found["seconds"] == pytest.approx(4 * 2.9) and len(found["within"]["chosen"]) == 2
    monkeypatch.setattr("sobench.cli.plan.measure", lambda run: "no luck")
    found = document("plan", *SMALL, shape=PLAN)
    assert (found["cells"][0]["measured"], found["cells"][0]["not_measured"]) == (None, "no luck")
    assert found["within"] is None


OVERVIEW = ["reports/README.md", "reports/index.html"]


def test_report_and_its_verification(workplace):
    command("run", "-m", *SMALL, "optimizer=sgd,adam", "optimizer.lr=0.1,0.01", "seed=0,1")
    found = document("report", shape=WRITTEN)
    (written,) = found["reports"]
    assert {row["method"] for row in written["table"]} == {"sgd", "adam"} and written["claims"] == []
    accuracy = [row for row in written["table"] if row["metric"] == "test_accuracy"]
    assert len(accuracy) == 2 and all(type(row["mean"]) is float and row["n"] == 2 for row in accuracy)
    assert [row["shown"] for row in written["settings"]].count(True) == 2
    assert [row["shown"] for row in written["settings"]].count(False) == 2
    assert all(Path(file).exists() for file in written["files"])
    found = document("report", "--verify", written["folder"], shape=VERIFIED)
    assert found["reports"] == [{"folder": written["folder"], "ok": True, "wrong": []}]
    page = Path(written["folder"], "report.md")
    page.write_text(page.read_text() + "more\n")
    found = document("report", "--verify", shape=VERIFIED, code=1)
    assert not found["reports"][0]["ok"] and found["reports"][0]["wrong"][0].startswith("report.md: ")
    assert document("report", "--overview", shape={"pages": [str]})["pages"] == OVERVIEW


def test_compare(workplace):
    command("run", "-m", *SMALL, "evaluate.steps=1", "optimizer=sgd,adam,adamw", "seed=0,1")
    found = document("compare", "--axis", "step,work", shape=COMPARED)
    assert found["baseline"] == "adamw" and sorted(found["methods"]) == ["adam", "adamw", "sgd"]
    assert len(found["times"]) == 2 * 3 and len(found["pairs"]) == 2 * 2 and len(found["ranks"]) == 2 * 3
    assert len(found["runs"]) == 6 and found["axes"] == ["step", "work"]
    assert {pair["answer"] for pair in found["pairs"]} <= {"faster", "slower", "undecided"}


def test_check(workplace, monkeypatch):
    from sobench.training.contract import CHECKS

    def check_fault(subject):
        """Nothing is wrong."""
        raise ZeroDivisionError("by zero")

    for name in [*CHECKS][2:]:
        monkeypatch.delitem(CHECKS, name)
    found = document("check", "sgd", shape=CHECKED)
    assert found["passed"] and [one["status"] for one in found["checks"]] == ["ok", "ok"]
    monkeypatch.setitem(CHECKS, "fault", check_fault)
    found = document("check", "sgd", shape=CHECKED, code=1)
    fault = {
        "check": "fault",
        "about": "Nothing is wrong.",
        "status": "broken",
        "reason": "ZeroDivisionError: by zero",
    }
    assert not found["passed"] and found["checks"][-1] == fault


IMPLEMENTATIONS = """
settings: {lr: 0.01}
implementations:
  - {name: adam, package: torch}
  - {name: "own_adam.py:Adam"}
  - {name: "not_there:Adam", package: not-there, module: not_there}
"""
OWN_ADAM = """
import torch

class Adam(torch.optim.Adam):
    def __init__(self, params, lr, hook=print):
        super().__init__(params, lr=lr)
        print("made")
"""


def test_parity(workplace, tmp_path, monkeypatch):
    add_to_conf(tmp_path / "own", monkeypatch, {"parity/mine.yaml": IMPLEMENTATIONS})
    Path("own_adam.py").write_text(OWN_ADAM)
    found = document("parity", "mine", "model.widths=[4]", "threads=1", "steps=2", shape=PARITY)
    first, own, missing = found["implementations"]
    check(first, INSTALLED)
    check(own, INSTALLED)
    check(missing, NOT_INSTALLED)
    assert (found["algorithm"], found["steps"], found["settings"]) == ("mine", 2, {"lr": 0.01})
    assert own["defaults"] == {"hook": str(print)} and own["first_step"] is None and first["compared_with"]


OWN = """# @package _global_
# Two learning rates of SGD
defaults:
  - override /dataset: digits
  - override /model: mlp
model: {widths: [4]}
threads: 1
budgets:
  default: {steps: 2}
  paper: {steps: 2}
hydra:
  mode: MULTIRUN
  sweeper:
    params: {seed: "range(2)"}
    tuned: own-pair
    tune: {seeds: [2], metric: test_loss, better: lower, grids: {sgd: {optimizer.lr: [0.1, 0.01]}}}
    cells:
      - [optimizer=sgd, optimizer.lr=0.1]
      - [optimizer=sgd, optimizer.momentum=0.5, optimizer.lr=0.1]
"""
CLAIMS = """
title: Momentum
source: a test
experiment: own/pair
methods:
  plain: {label: Plain, where: {optimizer.momentum: 0}}
  heavy: {label: Heavy, where: {optimizer.momentum: 0.5}}
table:
  columns: [{metric: train_loss, label: Loss, better: lower}]
claims:
- id: heavy
  text: The loss is lower.
  source: a test
  test: {kind: compare, metric: train_loss, better: lower, subject: heavy, rivals: [plain]}
"""


@pytest.fixture
def experiment(workplace, tmp_path, monkeypatch):
    """The experiment own/pair, its grid and its report."""
    files = {"experiment/own/pair.yaml": OWN, "report/own/pair.yaml": CLAIMS}
    add_to_conf(tmp_path / "conf", monkeypatch, files)
    return "own/pair"


def test_reproduce_and_power(experiment):
    (written,) = document("reproduce", experiment, shape=WRITTEN)["reports"]
    assert written["report"] == experiment and {row["method"] for row in written["table"]} == {"plain", "heavy"}
    (claim,) = written["claims"]
    assert claim["id"] == "heavy" and claim["n"] == 2 and claim["verdict"] in ("holds", "fails", "undecided")
    assert type(claim["effect"]) is float
    found = document("plan", experiment, "--power", shape=POWER)
    text = command("plan", experiment, "--power").out
    assert found["report"] == experiment
    assert f"{len(found['claims'])} claim" in text and all(claim["id"] in text for claim in found["claims"])


def test_tune(experiment, tmp_path):
    found = document("tune", experiment, shape=TUNED)
    assert (found["metric"], found["seeds"], found["kept"]) == (
        "test_loss",
        [2],
        str(tmp_path / "conf/tuned/own-pair.yaml"),
    )
    plain = found["choices"][0]
    assert plain["values"]["optimizer.lr"] in (0.1, 0.01) and plain["trials"] == 2 and plain["edge"] == ["optimizer.lr"]
    assert found["kept"] in found["files"] and all(Path(file).exists() for file in found["files"])


def test_tune_on_a_suite(experiment, tmp_path):
    (tmp_path / "conf/suite").mkdir()
    (tmp_path / "conf/suite/mine.yaml").write_text(f"problems: {{a: {{experiment: {experiment}}}}}")
    found = document("tune", "sgd", "--suite", "mine", shape={"suite": str, "problems": [{"problem": str, **TUNED}]})
    assert (found["suite"], found["problems"][0]["problem"]) == ("mine", "a")
    assert found["problems"][0]["choices"][0]["trials"] == 2
