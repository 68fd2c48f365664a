"""An optimizer from a package outside the repository, written from docs/optimizers.md alone.

Its hyperparameters have names that are words of built-in optimizers: `layers` of kernel_sgd, `start` of kbfgs, `split`
of kfac.
"""

import csv

import pytest
from harness import SMALL, command, directories, summary
from own_conf import add_to_conf

from sobench.config import registry
from sobench.errors import UsageError

STRANGER = '''
"""Truncated Gauss-Newton steps that start from a part of the last one."""

import torch

from sobench.config.rules import COUNT, Rule
from sobench.linalg import cg
from sobench.optim.base import SecondOrderOptimizer


class Stranger(SecondOrderOptimizer):
    """layers: iterations of CG; start: the part of the last solution to begin with; split: more damping."""

    requires = frozenset({"ggn", "value_and_grad"})

    def __init__(
        self, params, lr: float = 0.5, damping: float = 1.0, layers: int = 3, start: float = 0.5, split: float = 0.1
    ):
        super().__init__(params, lr=lr, damping=damping, layers=layers, start=start, split=split)

    def step(self, f):
        hp, k = self.hyperparameters, self.begin(f)
        G = f.ggn()
        loss, g = f.value_and_grad()
        first = hp["start"] * self.global_state.get("solution", torch.zeros_like(g))
        solution = cg(G + hp["damping"] * (1 + hp["split"]), g, first, max_iterations=int(hp["layers"]), tol=1e-8)
        self.global_state["solution"] = solution.x
        self.descend(f, solution.x)
        self.diagnostics = {"cg_status": solution.status}
        return loss


class Ruled(Stranger):
    rules = {
        "layers": COUNT,
        "split": Rule((int, float), "a number from 0 to 1", lambda v: 0 <= v <= 1),
    }


class Odd(Stranger):
    rules = {"layers": "a whole number"}
'''
ENTRIES = {name: f"strange.optimizers:{name.title()}" for name in ("stranger", "ruled", "odd")}

EXPERIMENT = """# @package _global_
# A stranger beside SGD
defaults:
  - override /dataset: digits
  - override /model: mlp
model: {widths: [4]}
threads: 1
hydra:
  mode: MULTIRUN
  sweeper:
    params: {seed: "range(2)"}
    cells:
      - [optimizer=sgd]
      - [optimizer=stranger, optimizer.layers=2]
"""
REPORT = """
title: A stranger beside SGD
source: a test
experiment: strange/digits
methods: {sgd: SGD, stranger: Stranger}
table:
  columns:
    - {metric: train_loss, label: Training loss, better: lower}
"""


@pytest.fixture
def strange(plugins):
    return plugins("strange", {"strange/__init__.py": "", "strange/optimizers.py": STRANGER}, ENTRIES)


@pytest.mark.parametrize("name", ["stranger", "ruled"])
def test_it_keeps_the_contract(strange, workplace, name):
    checked = command("check", name)
    assert checked.code == 0, checked.out
    assert checked.out.splitlines()[-1] == f"{name}: 10 of 10 checks passed"


def test_its_words_are_its_own(strange, workplace):
    words = ["optimizer.layers=2,4", "optimizer.start=0,0.9", "optimizer.split=1.5"]
    done = command("run", "-m", *SMALL, "optimizer=stranger", *words)
    assert done.code == 0 and done.out.splitlines()[-1] == "4 runs: 4 done", done


def test_it_is_a_row_of_a_report(strange, workplace, tmp_path, monkeypatch):
    conf = {"experiment/strange/digits.yaml": EXPERIMENT, "report/strange/digits.yaml": REPORT}
    add_to_conf(tmp_path / "conf", monkeypatch, conf)
    made = command("reproduce", "strange/digits", "budget=smoke", "budget.grid=whole")
    assert made.code == 0, made
    assert {summary(path)["status"] for path in directories()} == {"done"} and len(directories()) == 4
    (file,) = workplace.glob("reports/strange/digits/*/table.csv")
    rows = list(csv.reader(file.read_text().splitlines()))
    (row,) = [row for row in rows if "Stranger" in row]
    assert any(cell and cell.replace(".", "").isdigit() for cell in row), rows


@pytest.mark.parametrize(
    ("name", "words", "line"),
    [
        ("ruled", "optimizer.layers=3,0", "optimizer.layers: got 0, allowed: a whole number of at least 1"),
        ("ruled", "optimizer.layers=2.5", "optimizer.layers: got 2.5, allowed: a whole number of at least 1"),
        ("ruled", "optimizer.split=0.5,2", "optimizer.split: got 2, allowed: a number from 0 to 1"),
        ("ruled", "optimizer.lr=0.1,-1", "optimizer.lr: got -1, allowed: a number above 0"),
        ("stranger", "optimizer.layers=last", "optimizer.layers: got 'last', allowed: a number"),
        (
            "odd",
            "seed=0,1",
            "optimizer 'odd' (strange.optimizers:Odd): `rules` of the class: got {'layers': 'a whole number'}, "
            "allowed: {hyperparameter: sobench.config.rules.Rule}",
        ),
    ],
)
def test_a_bad_value_is_one_line_before_the_sweep_starts(strange, workplace, name, words, line):
    refused = command("run", "-m", *SMALL, f"optimizer={name}", words)
    assert refused.code == 2 and refused.errors == [f"sobench: {line}"]
    assert not list(workplace.iterdir())


def test_a_companion_has_its_own_words_too(strange, workplace):
    words = ["instrument=directions", "+optimizer@instrument.companions.other=ruled"]
    assert command("run", *SMALL, *words, "instrument.companions.other.layers=2").code == 0
    refused = command("run", *SMALL, *words, "instrument.companions.other.layers=0", "runs=again")
    assert refused.errors == [
        "sobench: instrument.companions.other.layers: got 0, allowed: a whole number of at least 1"
    ]


def test_the_constructor_enforces_the_rules_too(strange):
    import torch

    parameters = torch.nn.Linear(2, 2).parameters
    registry.load("optimizers", "stranger")(parameters(), layers=0)
    with pytest.raises(UsageError, match="^layers: got 0, allowed: a whole number of at least 1$"):
        registry.load("optimizers", "ruled")(parameters(), layers=0)
