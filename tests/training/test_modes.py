"""Optimizers with a training and an evaluation mode: what is evaluated where, against iterates computed by hand."""

from __future__ import annotations

import copy
import importlib
import itertools

import pytest
import torch
import torch.nn.functional as F
from harness import command, directories, directory, rows, run_with, summary
from torch import nn
from watched import Record

from sobench.config.files import group_defaults
from sobench.errors import UsageError
from sobench.training import problem as problem_module
from sobench.training import snapshot
from sobench.training.optimizer import has_modes
from sobench.training.trainer import Trainer

HYPERPARAMETERS = {"name": "averaged", "lr": 0.5, "beta": 0.7}
SETTINGS = {"optimizer": HYPERPARAMETERS, "dtype": "float64", "log__every": 1, "l2": 0.01}


@pytest.fixture(autouse=True)
def schedule_free(plugins):
    plugins("averaging", {}, {"averaged": "averaging:ScheduleFreeSGD"})


def trained(save=lambda trainer: None, trainer=None, **changes) -> tuple[Trainer, Record]:
    trainer, record = trainer or Trainer(run_with(**{**SETTINGS, "budget__steps": 6, **changes})), Record()
    assert trainer.train(record, save, lambda *_: None) is None
    return trainer, record


def parameters(model: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def assigned(model: nn.Module, values: list[torch.Tensor]) -> nn.Module:
    """A copy of the model with these parameters."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for p, value in zip(model.parameters(), values):
            p.copy_(value)
    return model


def by_hand(trainer: Trainer, steps: int, lr: float = 0.5, beta: float = 0.7, decay: float = 0.01):
    """(loss of the batch at y, x after the step) of every step, from the formulas of the paper."""
    theta = parameters(trainer.problem.model)
    x, z = theta, theta
    for t, f in itertools.islice(trainer.problem.objectives(), steps):
        y = [(1 - beta) * b + beta * a for a, b in zip(x, z)]
        at_y = assigned(trainer.problem.model, y)
        loss = F.cross_entropy(at_y(f.batch.inputs), f.batch.targets)
        loss = loss + decay / 2 * sum(p.square().sum() for p in at_y.parameters())
        z = [b - lr * g for b, g in zip(z, torch.autograd.grad(loss, list(at_y.parameters())))]
        x = [(1 - 1 / t) * a + b / t for a, b in zip(x, z)]
        yield loss.item(), x


def whole_loss(trainer: Trainer, theta: list[torch.Tensor], decay: float = 0.01) -> float:
    model, (inputs, targets) = assigned(trainer.problem.model, theta), trainer.problem.train
    return (F.cross_entropy(model(inputs), targets) + decay / 2 * sum(p.square().sum() for p in theta)).item()


# Where the losses are taken


def test_steps_are_recorded_at_the_training_point_and_evaluations_at_the_other():
    trainer, record = trained(evaluate__steps=2)
    steps = list(by_hand(Trainer(run_with(**SETTINGS)), 6))
    assert [row["loss"] for row in record.of("train")] == pytest.approx([loss for loss, _ in steps], rel=1e-12)
    first, *rest = record.of("eval")
    initial = parameters(Trainer(run_with(**SETTINGS)).problem.model)
    assert first["train_loss"] == pytest.approx(whole_loss(trainer, initial), rel=1e-12), "no step has been made"
    for row in rest:
        assert row["train_loss"] == pytest.approx(whole_loss(trainer, steps[row["step"] - 1][1]), rel=1e-12)
        assert row["train_loss"] != pytest.approx(whole_loss(trainer, parameters(trainer.problem.model)), rel=1e-3)
    last = assigned(trainer.problem.model, steps[-1][1])
    accuracy = (last(trainer.problem.test[0]).argmax(1) == trainer.problem.test[1]).double().mean()
    assert rest[-1]["test_accuracy"] == pytest.approx(accuracy.item())
    assert snapshot.summary(trainer, "done", None)["final"]["train_loss"] == rest[-1]["train_loss"]


def test_an_evaluation_changes_no_bit_of_the_run():
    often, rarely = trained(evaluate__steps=1)[0], trained()[0]
    assert (
        snapshot.summary(often, "done", None)["parameters_sha256"]
        == (snapshot.summary(rarely, "done", None)["parameters_sha256"])
    )


def test_a_checkpoint_is_of_the_training_mode_and_the_run_goes_on_to_the_same_bits():
    saved, y = {}, {}

    def save(trainer):
        saved[trainer.step] = copy.deepcopy(snapshot.state(trainer))
        y[trainer.step] = parameters(trainer.problem.model)

    straight, record = trained(save, evaluate__steps=1)
    assert all(saved[step]["optimizer"]["param_groups"][0]["training"] for step in saved)
    assert all(torch.equal(a, b) for a, b in zip(saved[3]["model"].values(), y[3]))
    resumed = Trainer(run_with(**SETTINGS, budget__steps=6, evaluate__steps=1))
    snapshot.restore(resumed, saved[3])
    _, rest = trained(trainer=resumed)
    times = ("seconds", "process_seconds")
    rest, expected = (
        [{k: v for k, v in row.items() if k not in times} for row in part if row["step"] > 3] for part in (rest, record)
    )
    assert rest == expected
    assert all(map(torch.equal, parameters(resumed.problem.model), parameters(straight.problem.model)))


def test_an_evaluation_that_fails_leaves_the_training_mode():
    trainer, _ = trained(budget__steps=2)
    y = parameters(trainer.problem.model)
    with pytest.raises(KeyboardInterrupt), trainer.evaluation_mode():
        assert not all(map(torch.equal, parameters(trainer.problem.model), y))
        raise KeyboardInterrupt
    assert all(map(torch.equal, parameters(trainer.problem.model), y))
    assert trainer.optimizer.param_groups[0]["training"]


def test_batchnorm_has_the_statistics_of_the_point_that_is_evaluated(monkeypatch):
    def small(*_):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 10))

    monkeypatch.setattr(problem_module, "make_model", small)
    monkeypatch.setattr(problem_module, "CHUNK", 500)  # three chunks of 479
    trainer, record = trained(l2=0.0)
    (*_, (_, x)) = by_hand(Trainer(run_with(**SETTINGS | {"l2": 0.0})), 6, decay=0.0)
    (inputs, targets), expected = trainer.problem.train, assigned(trainer.problem.model, x).eval()
    statistics = [(h.mean(0), h.var(0)) for h in expected[:2](inputs).detach().split(479)]
    expected[2].running_mean, expected[2].running_var = (sum(part) / 3 for part in zip(*statistics))
    loss = F.cross_entropy(expected(inputs), targets).item()
    assert record.of("eval")[-1]["train_loss"] == pytest.approx(loss, rel=1e-12)
    often = trained(l2=0.0, evaluate__steps=1)[0].problem.model
    assert all(map(torch.equal, trainer.problem.model.buffers(), often.buffers()))
    assert trainer.problem.model[2].momentum == 0.1


# Instruments


def test_an_instrument_evaluates_where_the_run_does(workplace):
    model = group_defaults("model", "linear")
    _, record = trained(instrument={"name": "optimum"}, model=model, evaluate__steps=2)
    for row in record.of("eval"):
        assert row["suboptimality"] == pytest.approx(row["train_loss"] - row["optimum"], abs=1e-12)


def test_a_companion_steps_in_its_training_mode():
    companions = {"same": HYPERPARAMETERS}
    _, record = trained(instrument={"name": "directions", "companions": companions}, evaluate__steps=1)
    first = record.of("train")[0]
    assert first["cosine/same/1"] == pytest.approx(1) and first["cosine/same/2"] == pytest.approx(1)


# What is refused

HALVES = """
import torch


class OnlyEval(torch.optim.SGD):
    def eval(self):
        pass


class OnlyTrain(torch.optim.SGD):
    def train(self):
        pass
"""


@pytest.mark.parametrize(
    ("name", "there", "missing"), [("only_eval", "eval", "train"), ("only_train", "train", "eval")]
)
def test_one_mode_of_two_is_refused_before_anything_is_written(name, there, missing, plugins, tmp_path, workplace):
    from harness import write_package

    from sobench.config import registry

    entries = {"only_eval": "halves:OnlyEval", "only_train": "halves:OnlyTrain"}
    write_package(tmp_path / "site", "halves", {"halves.py": HALVES}, entries)
    registry.entries.cache_clear()
    registry.installed.cache_clear()
    done = command("run", "threads=1", "model.widths=[4]", f"optimizer={name}", "optimizer.lr=0.1", "budget=smoke")
    assert done.code == 2 and not directories()
    assert f"has {there}() and no {missing}(); allowed: both, or neither" in done.err


def test_an_attribute_of_that_name_is_no_mode():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    assert not has_modes(optimizer)
    optimizer.train = True
    assert not has_modes(optimizer)
    optimizer.train = lambda: None
    with pytest.raises(UsageError, match=r"SGD has train\(\) and no eval\(\)"):
        has_modes(optimizer)


# A run by the command, and packages that have such optimizers


def test_the_command_reports_the_evaluation_mode(workplace):
    words = ("dtype=float64", "l2=0.01", "optimizer.lr=0.5", "optimizer.beta=0.7", "log.every=1", "budget.steps=6")
    assert command("run", "threads=1", "model.widths=[4]", "optimizer=averaged", *words).code == 0
    _, record = trained()
    assert summary(directory())["final"]["train_loss"] == record.of("eval")[-1]["train_loss"]
    assert [row["loss"] for row in rows(directory(), "train")] == [row["loss"] for row in record.of("train")]


@pytest.mark.parametrize(
    ("module", "name", "beta"),
    [("schedulefree", "SGDScheduleFree", "momentum"), ("pytorch_optimizer", "ScheduleFreeSGD", "momentum")],
)
def test_a_package_s_schedule_free_sgd_is_ours(module, name, beta, monkeypatch):
    pytest.importorskip(module)
    from sobench.config import registry

    theirs, load = getattr(importlib.import_module(module), name), registry.load
    _, ours = trained(evaluate__steps=1)
    monkeypatch.setattr(registry, "load", lambda kind, *rest: theirs if kind == "optimizers" else load(kind, *rest))
    _, record = trained(optimizer={"name": "sgd", "lr": 0.5, beta: 0.7}, evaluate__steps=1)
    for kind, key in (("train", "loss"), ("eval", "train_loss")):
        assert [row[key] for row in record.of(kind)] == pytest.approx([row[key] for row in ours.of(kind)], rel=1e-9)
