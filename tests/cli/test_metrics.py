"""Metrics of the user's own: the value of each evaluation, the identity, the report, and one line for a wrong one."""

import json

import pytest
import torch
from harness import SMALL, command, directories, directory, rows, summary
from sklearn.metrics import f1_score

from sobench.config.grid import expand
from sobench.config.run import Run
from sobench.training import problem as of_problem
from sobench.training.problem import Problem

MINE = """
import torch

def macro_f1(outputs, targets):
    predicted, values = outputs.argmax(1), []
    for c in range(outputs.shape[1]):
        hits = ((predicted == c) & (targets == c)).sum()
        values.append(2 * hits / ((predicted == c).sum() + (targets == c).sum()).clamp(min=1))
    return torch.stack(values).double().mean()

def largest(outputs, targets):
    return outputs.max().item()

def rows(outputs, targets):
    return outputs.sum(1)

def words(outputs, targets):
    return "many"

def nothing(outputs, targets):
    return float("nan")

def fails(outputs, targets):
    return outputs[targets.max() + 100000]

def loss(outputs, targets):
    return 1.0

number = 3
"""
BOTH = "metrics=[mine.py:macro_f1,mine.py:largest]"


@pytest.fixture
def mine(workplace):
    (workplace / "mine.py").write_text(MINE)
    return workplace


def test_the_value_is_that_of_the_whole_set(mine, monkeypatch):
    """Against scikit-learn. A mean over chunks would be another number."""
    monkeypatch.setattr(of_problem, "CHUNK", 100)
    problem = Problem(expand(["model.widths=[8]", BOTH])[0].config, torch.device("cpu"))
    metrics = problem.evaluate()
    for name, (inputs, targets) in {"train": problem.train, "test": problem.test}.items():
        with torch.no_grad():
            outputs = problem.model(inputs)
        expected = f1_score(targets, outputs.argmax(1), average="macro")
        assert metrics[f"{name}_macro_f1"] == pytest.approx(expected, abs=1e-7)
        assert metrics[f"{name}_largest"] == pytest.approx(outputs.max().item())
    assert problem.model.training and metrics["test_loss"] > 0


def test_a_run_records_them_and_is_otherwise_the_same(mine):
    assert command("run", *SMALL, BOTH).code == 0
    with_them = directory()
    assert command("run", *SMALL, "runs=plain").code == 0
    (without,) = directories(mine / "plain")
    assert with_them.parent.name != without.parent.name  # another cell
    for kind in ("train", "eval"):
        for row, other in zip(rows(with_them, kind), rows(without, kind), strict=True):
            own = {key for key in row if "macro_f1" in key or "largest" in key}
            assert own == (
                {f"{of}_{m}" for of in ("train", "test") for m in ("macro_f1", "largest")} if kind == "eval" else set()
            )
            timed = {"seconds", "process_seconds"}
            assert {k: v for k, v in row.items() if k not in own | timed} == {
                k: v for k, v in other.items() if k not in timed
            }
    assert summary(with_them)["final"].keys() >= {"test_macro_f1", "train_largest"}
    report = command("report")
    assert report.code == 0 and not report.err
    table = next(mine.glob("reports/**/table.csv")).read_text()
    assert "macro f1" in table and "largest" in table
    assert f",test_largest,last,{summary(with_them)['final']['test_largest']!r}," in table


def test_the_identity_has_them_only_if_given(mine):
    plain = expand([])[0]
    assert "metrics" in plain.config and plain.cell == expand(["metrics=[]"])[0].cell
    before = {key: value for key, value in plain.config.items() if key != "metrics"}
    assert Run.of(before).cell == plain.cell
    assert len({run.cell for run in (plain, expand([BOTH])[0], expand(["metrics=[mine.py:largest]"])[0])}) == 3
    assert expand([f"metrics=[{mine}/mine.py:largest]"])[0].cell == expand(["metrics=[mine.py:largest]"])[0].cell


def test_changed_code_makes_a_run_stale(mine):
    assert command("run", *SMALL, "metrics=[mine.py:largest]").code == 0
    (mine / "mine.py").write_text(MINE.replace("outputs.max().item()", "2 * outputs.max().item()"))
    assert "older code of its metrics" in command("status").out
    assert json.loads((directory() / "environment.json").read_text())["fingerprint"]["metrics"]


@pytest.mark.parametrize(
    "metrics, line",
    [
        ("mine.py:largest", "metrics: got 'mine.py:largest', allowed: a list, as [mine.py:macro_f1]"),
        ("[mine.py:rows]", "metric 'mine.py:rows' returns a tensor [360] ("),
        ("[mine.py:words]", "metric 'mine.py:words' returns str ("),
        (
            "[mine.py:nothing]",
            "metric 'mine.py:nothing' returns nan; allowed: a finite number for outputs [360, 10] and",
        ),
        ("[mine.py:fails]", "metric 'mine.py:fails' raised IndexError"),
        ("[mine.py:number]", "metric 'mine.py:number' is of type int; allowed: a function"),
        ("[mine.py:loss]", "metrics: got 'mine.py:loss', loss is the name of sobench's own too; allowed: another name"),
        ("[mine.py:largest,mine.py:largest]", "largest is the name of mine.py:largest too; allowed: another name"),
        ("[mine.py:smallest]", "metric: got 'mine.py:smallest', mine.py has no 'smallest'"),
        ("[macro_f1]", "metric: got 'macro_f1', allowed: MODULE:NAME or FILE.py:NAME"),
        ("[other.py:f]", "metric: got 'other.py:f', there is no file "),
    ],
)
def test_a_wrong_one_is_one_line_before_the_run(mine, metrics, line):
    done = command("run", *SMALL, f"metrics={metrics}")
    assert done.code == 2 and not directories()
    (only,) = done.errors
    assert line in only
