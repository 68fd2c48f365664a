"""The contract suite over every installed optimizer, and broken ones that it catches."""

import pytest
import torch

from sobench.config import registry
from sobench.training.contract import CHECKS, Broken, Subject, check_hyperparameters, run_suite


@pytest.fixture(scope="module", params=list(registry.entries("optimizers")))
def subject(request):
    return Subject(request.param)


@pytest.mark.parametrize("check", CHECKS.values(), ids=list(CHECKS))
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
        CHECKS[caught_by](Subject("sgd", ("optimizer.momentum=0.9",)))


def test_the_suite_prints_a_line_a_check_and_counts_what_is_broken(monkeypatch, capsys):
    load = registry.load
    monkeypatch.setattr(registry, "load", lambda kind, name: Stands if kind == "optimizers" else load(kind, name))
    monkeypatch.setitem(CHECKS, "memory", lambda subject: None)
    assert run_suite("sgd") == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("BROKEN") for line in lines)
    assert lines[-1].startswith("sgd: ")


WORDS = """
import torch

from sobench.config.rules import choice


class Mute(torch.optim.SGD):
    def __init__(self, params, lr=0.1, variant="plain"):
        super().__init__(params, lr=lr)
        self.variant = variant

    def step(self, f):
        self.param_groups[0]["nesterov"] = False
        self.param_groups[0]["maximize"] = self.variant == "upwards"
        return super().step(f)


class Told(Mute):
    rules = {"variant": choice("plain", "upwards")}
"""


def test_a_word_needs_its_values_in_rules_to_be_tried(plugins, workplace):
    plugins("words", {"words_.py": WORDS}, {"mute": "words_:Mute", "told": "words_:Told"})
    with pytest.raises(Broken, match="no second value to try for variant: declare the values in `rules`"):
        check_hyperparameters(Subject("mute"))
    check_hyperparameters(Subject("told"))
