"""The contract suite over every optimizer that is installed, ours, torch's and plug-ins alike; and proof that it bites."""

import pytest
import torch

from sobench.config import registry
from sobench.training.contract import Broken, Subject, checks, run_suite


@pytest.fixture(scope="module", params=list(registry.entries("optimizers")))
def subject(request):
    return Subject(request.param)


@pytest.mark.parametrize("check", checks().values(), ids=list(checks()))
def test_contract(check, subject):
    check(subject)


class Broken_(torch.optim.SGD):
    """SGD that a test breaks in one way."""

    def step(self, f):
        return super().step(f)


class Unseeded(Broken_):
    def step(self, f):
        loss = super().step(f)
        for p in self.param_groups[0]["params"]:
            p.data += 1e-9 * torch.randn_like(p)
        return loss


class ForgetsAtResume(Broken_):
    count = 0.0

    def step(self, f):
        self.count += 1.0
        self.param_groups[0]["lr"] = 0.1 / self.count**0.5
        return super().step(f)

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.count = 0.0


class KeepsGraphs(Broken_):
    def step(self, f):
        self.kept = [*getattr(self, "kept", []), f.hessian()]
        return super().step(f)


class IgnoresWeightDecay(Broken_):
    def step(self, f):
        self.param_groups[0]["weight_decay"] = 0.0
        return super().step(f)


class UsesMoreThanItSays(Broken_):
    def step(self, f):
        f.value_and_grad()
        return super().step(f)


class Stands(Broken_):
    def step(self, f):
        return f()


class ReturnsTheLossAfter(Broken_):
    def step(self, f):
        super().step(f)
        return f()


class CastsItsState(Broken_):
    def state_dict(self):
        saved = super().state_dict()
        saved["state"] = {
            k: {n: t.float() if t is not None else t for n, t in v.items()} for k, v in saved["state"].items()
        }
        return saved

    def load_state_dict(self, state):
        super().load_state_dict(state)


@pytest.mark.parametrize(
    ("cls", "caught_by"),
    [
        (Unseeded, "oracles_leave_no_trace"),
        (ForgetsAtResume, "resume"),
        (KeepsGraphs, "memory"),
        (IgnoresWeightDecay, "hyperparameters"),
        (UsesMoreThanItSays, "requires"),
        (Stands, "moves"),
        (ReturnsTheLossAfter, "moves"),
        (CastsItsState, "resume"),
    ],
)
def test_a_broken_optimizer_is_caught(cls, caught_by, monkeypatch):
    load = registry.load
    monkeypatch.setattr(registry, "load", lambda kind, name: cls if kind == "optimizers" else load(kind, name))
    with pytest.raises(Broken):
        checks()[caught_by](Subject("sgd", ("optimizer.momentum=0.9",)))


def test_the_suite_prints_a_line_a_check_and_counts_what_is_broken(monkeypatch, capsys):
    load = registry.load
    monkeypatch.setattr(registry, "load", lambda kind, name: Stands if kind == "optimizers" else load(kind, name))
    monkeypatch.setattr("sobench.training.contract.check_memory", lambda subject: None)
    assert run_suite("sgd") == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("BROKEN") for line in lines)
    assert lines[-1].startswith("sgd: ")
