"""`sobench parity`: a table, the map of the settings, one JSON document, and one line for what is wrong."""

import json

import pytest
from harness import command
from own_conf import add_to_conf

SMALL = ["model.widths=[4]", "threads=1", "steps=2"]
MINE = """
settings: {lr: 0.01, eps: 1.0e-8}
implementations:
  - {name: adam, package: torch, neutral: {weight_decay: 0.0}}
  - {name: "torch.optim:Adam", package: torch, neutral: {foreach: true}}
  - {name: "torch.optim:RAdam", package: torch, settings: {lr: "${lr}"}, differs: another method}
  - {name: "not_there:Adam", package: not-there, module: not_there}
"""


@pytest.fixture
def mine(tmp_path, monkeypatch, workplace):
    add_to_conf(tmp_path / "own", monkeypatch, {"parity/mine.yaml": MINE})


def test_the_table_and_the_map(mine, workplace):
    before = sorted(workplace.rglob("*"))
    done = command("parity", "mine", *SMALL, "optimizer.eps=1e-6")
    assert done.code == 0 and not done.err
    lines = done.out.splitlines()
    assert lines[0] == "mine: dataset digits, model mlp, float64, 2 steps, seed 0"
    rows = {line.split("  ")[0]: line for line in lines[4:7]}
    assert rows["adam"].endswith("compared with") and rows["torch.optim:Adam"].split()[-2:] == ["no", "0.0e+00"]
    assert "step 1" in rows["torch.optim:RAdam"]
    assert lines[7] == "not_there:Adam: not installed: pip install not-there"
    text = "\n".join(lines[8:])
    assert "adam -> torch.optim:Adam\n  lr = 0.01 -> lr = 0.01\n  eps = 1e-06 -> eps = 1e-06\n" in text
    assert "  without a counterpart, neutral: foreach = true\n" in text and "maximize = false" in text
    assert "eps = 1e-06 -> no counterpart" in text and text.endswith("known to differ: another method")
    assert sorted(workplace.rglob("*")) == before


def test_one_document(mine):
    done = command("parity", "mine", *SMALL, "--json", "seed=3", "dtype=float32")
    document = json.loads(done.out)
    assert done.code == 0 and (document["seed"], document["steps"], document["dtype"]) == (3, 2, "float32")
    first, second, third, missing = document["implementations"]
    assert document["settings"] == {"lr": 0.01, "eps": 1e-8} and first["compared_with"] and first["version"]
    assert second["first_step"] is None and second["difference_at_the_end"] == 0
    assert third["first_step"] == 1 and third["difference_there"] > 1e-6 and third["counterparts"]["eps"] == []
    assert not missing["installed"] and missing["requirement"] == "not-there"


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_torchs_own_do_not_differ(name, workplace):
    document = json.loads(command("parity", name, *SMALL[:2], "steps=10", "--json").out)
    of_torch = [one for one in document["implementations"] if one["package"] == "torch"]
    assert len(of_torch) == 3
    for one in of_torch[1:]:
        assert one["first_step"] is None and one["difference_at_the_end"] < 1e-12 and not one["failure"], one


@pytest.mark.parametrize(
    "words, line",
    [
        (["adm"], "parity: got 'adm', allowed: adahessian, adam, kfac, "),
        (["adam", "optimizer.weight_decay=0.1"], "the other implementations of adam have no counterpart; allowed: "),
        (["adam", "optimizer.epsilon=0.1"], "optimizer.epsilon: no such setting; allowed: amsgrad, betas, eps, lr"),
        (["adam", "optimizer.lr=-1"], "optimizer.lr: got -1, allowed: a number above 0"),
        (["adam", "optimizer=sgd"], "optimizer=sgd: parity adam has its own; allowed: optimizer.KEY=VALUE"),
        (["adam", "schedule=cosine"], "schedule=cosine: parity has no such setting; allowed: steps, dataset, "),
        (["adam", "seed=0,1"], "a sweep of 2 runs; allowed: one run"),
        (["adam", "steps=0"], "steps: got 0, allowed: a whole number of at least 1"),
        (["adam", "steps=many"], "steps: got 'many', allowed: a whole number of at least 1"),
        (["adam", "steps=1", "steps=2"], "steps: given twice"),
        (["adam", "fast"], "fast: not a setting"),
        (["adam", "model=lenet"], "lenet takes images"),
    ],
)
def test_what_is_wrong_is_one_line(workplace, words, line):
    done = command("parity", *words)
    assert done.code == 2 and not done.out
    (only,) = done.errors
    assert line in only


def test_a_failure_is_exit_code_1(tmp_path, monkeypatch, workplace):
    text = MINE.replace("{foreach: true}", "{foreach: true, fused: true}")
    add_to_conf(tmp_path / "own", monkeypatch, {"parity/mine.yaml": text})
    done = command("parity", "mine", *SMALL)
    assert done.code == 1 and "torch.optim:Adam fails: optimizer 'torch.optim:Adam': " in done.out
    assert "step 1" in done.out  # of RAdam: the others are compared
