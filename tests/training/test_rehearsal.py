"""The rehearsal of a class that was not written for sobench: what it refuses, what it makes right, no trace of it."""

import random

import numpy as np
import pytest
import torch
from harness import run_with

from sobench.config import registry
from sobench.errors import UsageError
from sobench.training import snapshot
from sobench.training.contract import _through_disk, advance, same_bits, theta
from sobench.training.trainer import Trainer


class Plain(torch.optim.SGD):
    """SGD as another package has it."""


class Draws(Plain):
    """Adds numbers of all three global generators, and of one of its own."""

    def __init__(self, params, lr):
        super().__init__(params, lr=lr)
        self.own, self.steps = random.Random(0), 0

    @torch.no_grad()
    def step(self, closure):
        loss = super().step(closure)
        self.steps += 1
        noise = random.random() + np.random.random() + float(torch.rand(())) + self.own.random() + self.steps
        self.param_groups[0]["params"][0] += 1e-3 * noise
        return loss


class Integers(Plain):
    """A state of integers, which torch casts to the type of the parameter."""

    @torch.no_grad()
    def step(self, closure):
        loss = super().step(closure)
        for p in self.param_groups[0]["params"]:
            (count,) = self.state[p].setdefault("counts", [torch.zeros((), dtype=torch.int8)])
            p += 1e-3 * (count // 2)
            count += 1
        return loss


class Differentiates(Plain):
    """Descent along the Hessian times the gradient."""

    def step(self, closure):
        with torch.enable_grad():
            loss = closure()
        params = self.param_groups[0]["params"]
        grads = [p.grad for p in params]
        products = torch.autograd.grad(grads, params, grad_outputs=[g.detach() for g in grads])
        with torch.no_grad():
            for p, product in zip(params, products):
                p -= 0.1 * product
        return loss


class NeedsTheLoss(Plain):
    def step(self, closure, *, loss):
        return super().step(closure)


class AsksNothing(Plain):
    def step(self, closure=None):
        return torch.zeros(())


class ReturnsNothing(Plain):
    def step(self, closure):
        super().step(closure)


class Forgets(Plain):
    class Kept:
        count = 0

    def __init__(self, params, lr):
        super().__init__(params, lr=lr)
        self.kept = self.Kept()

    def step(self, closure):
        self.kept.count += 1
        self.param_groups[0]["lr"] = 0.1 / self.kept.count
        return super().step(closure)


class KeepsAnObject(Plain):
    def step(self, closure):
        self.state[self.param_groups[0]["params"][0]]["object"] = Forgets.Kept()
        return super().step(closure)


class NeedsAModel(Plain):
    def __init__(self, model, lr):
        super().__init__(model.parameters(), lr=lr)


@pytest.fixture
def trainer(monkeypatch):
    """A function that makes a trainer of a class that a plug-in would have."""
    load = registry.load

    def make(cls, l2=0.01):
        monkeypatch.setattr(registry, "load", lambda kind, name: cls if kind == "optimizers" else load(kind, name))
        monkeypatch.setattr(registry, "is_plugin", lambda group, name: group == "optimizer")
        return Trainer(run_with(optimizer={"name": cls.__name__, "lr": 0.1}, dtype="float64", l2=l2))

    return make


@pytest.mark.parametrize(
    ("cls", "reason"),
    [
        (NeedsTheLoss, "missing 1 required keyword-only argument: 'loss'"),
        (AsksNothing, "asks nothing of the objective; allowed: a step that calls its closure"),
        (ReturnsNothing, "returned None; allowed: the loss"),
        (Forgets, "a resumed run would differ; allowed: a state that is in state_dict"),
        (KeepsAnObject, "cannot be saved for a resume: it has a Kept; allowed: tensors"),
        (NeedsAModel, "its first argument is `model`, allowed: a class whose first argument is the parameters"),
    ],
)
def test_what_is_refused(cls, reason, trainer):
    with pytest.raises(UsageError, match="optimizer") as raised:
        trainer(cls)
    assert reason in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("cls", [Draws, Integers, Plain])
def test_a_resume_is_exact(cls, trainer):
    """Six steps, and three steps, a checkpoint and three steps, in the same process: same bits."""
    straight = trainer(cls)
    expected = advance(straight, 6)
    first = trainer(cls)
    losses = advance(first, 3)
    saved = _through_disk(snapshot.state(first))
    second = trainer(cls)
    snapshot.restore(second, saved)
    losses += advance(second, 3)
    assert same_bits(losses, expected) and same_bits(theta(second), theta(straight))


def test_a_rehearsal_leaves_no_trace(trainer, monkeypatch):
    rehearsed = trainer(Draws)
    losses = advance(rehearsed, 3)
    monkeypatch.setattr("sobench.training.trainer.rehearse", lambda *_: None)
    bare = trainer(Draws)
    assert bare.problem.cost.counts() == trainer(Draws).problem.cost.counts()
    bare = trainer(Draws)
    assert losses == advance(bare, 3) and same_bits(theta(rehearsed), theta(bare))
    assert rehearsed.problem.cost.counts() == bare.problem.cost.counts()


def test_gradients_are_differentiated_with_the_penalty_and_metered(trainer):
    """The step is that of the objective's own Hessian; its product counts as one."""
    ours = trainer(Differentiates)
    _, f = next(iter(ours.problem.objectives()))
    _, g = f.value_and_grad()
    expected = theta(ours) - 0.1 * (f.hessian() @ g)
    before = ours.problem.cost.products
    advance(ours, 1)
    torch.testing.assert_close(theta(ours), expected, rtol=1e-10, atol=1e-12)
    assert ours.problem.cost.products == before + 1


class Detaches(Differentiates):
    """Detaches the gradients in place after its product, as torch_optimizer's AdaHessian does."""

    def step(self, closure):
        loss = super().step(closure)
        for p in self.param_groups[0]["params"]:
            p.grad.detach_()
        return loss


def test_gradients_with_a_graph_can_be_detached_in_place(trainer):
    """They are no views, also where the derivative of a layer is one: those of torch's backward are copies too."""
    kept, detached = trainer(Differentiates, l2=0.0), trainer(Detaches, l2=0.0)
    assert advance(kept, 2) == advance(detached, 2) and same_bits(theta(kept), theta(detached))
