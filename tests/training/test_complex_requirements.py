"""An optimizer that takes complex steps runs if the model has a complex form, and is skipped otherwise."""

import pytest
import tiny_data
from harness import SMALL, command, directories, rows, summary

STEPPING = """
import torch

class Stepping(torch.optim.SGD):
    "Gradient descent with the rate of a quadratic model, g'g / g'Hg, by complex steps alone."
    requires = {"complex", "value_and_grad", "curvature"}

    def __init__(self, params, lr=1.0):
        super().__init__(params, lr=lr)

    def step(self, f):
        loss, g = f.value_and_grad(f.space.get() + 0j)
        g = g.real
        f.space.add_(-self.defaults["lr"] * g * g.dot(g) / f.curvature(g).abs())
        return loss.real
"""
WORDS = ("dataset=covid_tweets", "model=lstm", "model.hidden=4", "batch_size=8", "dataset.length=6")


@pytest.fixture
def stepping(workplace, plugins):
    plugins("stepping", {"stepping.py": STEPPING}, {"stepping": "stepping:Stepping"})


def test_it_trains_where_the_model_has_a_complex_form(stepping):
    assert command("run", "optimizer=stepping", "optimizer.lr=0.1", *SMALL, "budget.steps=5").code == 0
    before, *_, after = rows(directories()[0], "eval")
    assert after["train_loss"] < before["train_loss"]
    assert (after["forwards"], after["backwards"]) == (10, 5)  # the pass that tries the model is not on the meter


def test_a_sweep_records_a_model_with_no_complex_form(stepping, workplace, tmp_path, monkeypatch):
    tiny_data.declare(monkeypatch)
    mirror = f"data.mirror={tiny_data.write(tmp_path / 'mirror')}"
    result = command("run", "-m", *WORDS, mirror, "optimizer=stepping,sgd", "budget=smoke", "threads=1")
    assert result.code == 0 and not result.err
    found = {path.parent.name.split("_")[2]: summary(path) for path in directories()}
    assert found["sgd"]["status"] == "done" and found["stepping"]["status"] == "skipped"
    assert (
        "takes complex steps, and there is no complex pass through embedding (Embedding(" in found["stepping"]["reason"]
    )
    assert "allowed: layers that have a complex form" in found["stepping"]["reason"]
    assert (
        len(list(workplace.glob("runs/*_sgd_*/*/metrics.jsonl")))
        == 1
        == len(list(workplace.glob("runs/*/*/metrics.jsonl")))
    )
