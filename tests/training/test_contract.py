"""The contract suite over every installed optimizer, and broken ones that it catches."""

import mmap
from functools import cache

import pytest
import torch
from averaging import ScheduleFreeSGD

from sobench.config import registry
from sobench.errors import UsageError
from sobench.training import contract
from sobench.training.contract import CHECKS, Broken, NotSeen, Subject
from sobench.training.suite import Suite

LENGTHS = {contract.check_memory: (30,)}
"""Steps of a check that is shorter here than for a user: a graph that is kept grows by the same in every step."""


SLOW = {
    "memory": {"newton", "damped_newton", "newton_krylov", "hessian_free", "lbfgs"},
    "hyperparameters": {"newton_krylov", "kfac", "kbfgs", "kbfgs_l", "hessian_free", "smw_gn", "smw_ng_bd", "lbfgs"},
}
"""Optimizers on which a check takes seconds: hundreds of their steps are slow, or the search for an effect is long. The
usual tests make it on all others, among them one of each family.
"""


@cache
def subject(name: str) -> Subject:
    return Subject(name)


@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param(name, check, marks=[pytest.mark.slow] if name in SLOW.get(check, ()) else [])
        for name in registry.entries("optimizers")
        for check in CHECKS
    ],
)
def test_contract(name, check):
    CHECKS[check](subject(name), *LENGTHS.get(CHECKS[check], ()))


def install(monkeypatch, cls):
    """Let every optimizer's name stand for this class."""
    load = registry.load
    monkeypatch.setattr(registry, "load", lambda kind, name: cls if kind == "optimizers" else load(kind, name))


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

    requires = frozenset({"closure"})  # plain attributes of a class without it are saved

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


class ReturnsTheLossAfterButAtFirst(Broken_):
    count = 0

    def step(self, f):
        self.count += 1
        if self.count == 1:
            return f()
        super().step(f)
        return f()


class CountsItsRuns(Broken_):
    runs = 0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        CountsItsRuns.runs += 1
        self.param_groups[0]["lr"] /= CountsItsRuns.runs


class SeedsAnew(Broken_):
    def step(self, f):
        torch.manual_seed(0)
        return super().step(f)


class LosesAState(Broken_):
    def load_state_dict(self, state):
        super().load_state_dict(state)
        for entries in self.state.values():
            entries.pop("momentum_buffer")


class SaysMoreThanItUses(Broken_):
    requires = frozenset({"closure", "hessian"})


class SaysAnUnknownWord(Broken_):
    requires = frozenset({"closure", "curvatures"})


class FormsAMatrix(Broken_):
    requires = frozenset({"closure", "hessian"})

    def step(self, f):
        f.hessian().dense()
        return super().step(f)


class RepairsWhatIsNaN(Broken_):
    def step(self, f):
        with torch.no_grad():
            for p in self.param_groups[0]["params"]:
                p.nan_to_num_()
        return super().step(f)


class HasEvalAlone(Broken_):
    def eval(self):
        pass


class HasTrainAlone(Broken_):
    def train(self):
        pass


class StaysInEval(Broken_):
    def eval(self):
        for p in self.param_groups[0]["params"]:
            p.mul_(0.9)

    def train(self):
        pass


class EvaluatesAtTheCostOfItsState(StaysInEval):
    def train(self):
        for p in self.param_groups[0]["params"]:
            if "momentum_buffer" in self.state[p]:
                p.div_(0.9)
                self.state[p]["momentum_buffer"].zero_()


class EvaluatesAtNaN(StaysInEval):
    def eval(self):
        for p in self.param_groups[0]["params"]:
            p.div_(0.0)


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
        (ReturnsTheLossAfterButAtFirst, "moves"),
        (CountsItsRuns, "same_seed_same_bits"),
        (SeedsAnew, "oracles_leave_no_trace"),
        (LosesAState, "state_dict"),
        (SaysMoreThanItUses, "requires"),
        (SaysAnUnknownWord, "requires"),
        (FormsAMatrix, "requires"),
        (RepairsWhatIsNaN, "divergence"),
        (HasEvalAlone, "modes"),
        (HasTrainAlone, "modes"),
        (StaysInEval, "modes"),
        (EvaluatesAtTheCostOfItsState, "modes"),
        (EvaluatesAtNaN, "modes"),
    ],
)
def test_a_broken_optimizer_is_caught(cls, caught_by, monkeypatch):
    install(monkeypatch, cls)
    with pytest.raises((Broken, UsageError)):
        CHECKS[caught_by](Subject("sgd", ("optimizer.momentum=0.9",)))


@pytest.mark.parametrize("allocator_says", [True, False])
def test_memory_that_is_given_back_hides_no_leak(allocator_says, monkeypatch):
    """The process gives back 64 MiB of before, meanwhile: then, the first measurement of the resident size falls."""
    resident, asked = contract._resident, []
    install(monkeypatch, KeepsGraphs)
    if not allocator_says:
        monkeypatch.setattr(contract, "_allocated", lambda: None)

    def measured():
        asked.append(True)
        return resident() + (64 << 20 if len(asked) <= 4 else 0)

    monkeypatch.setattr(contract, "_resident", measured)
    with pytest.raises(Broken, match="MiB more after 240 more steps"):
        CHECKS["memory"](Subject("sgd", ("optimizer.momentum=0.9",)))
    assert len(asked) == 12


def test_a_leak_is_seen_where_the_system_shrinks_the_resident_size_all_the_time(monkeypatch):
    install(monkeypatch, KeepsGraphs)
    monkeypatch.setattr(contract, "_resident", lambda: 1 << 28)
    with pytest.raises(Broken, match="MiB more after 240 more steps"):
        CHECKS["memory"](Subject("sgd", ("optimizer.momentum=0.9",)))


def test_a_leak_outside_the_allocator_is_seen(monkeypatch):
    """An optimizer that maps memory of its own, 256 KiB a step: the C allocator does not know of it."""

    class Maps(Broken_):
        def step(self, f):
            block = mmap.mmap(-1, 1 << 18)
            block.write(bytes([1]) * (1 << 18))
            self.kept = [*getattr(self, "kept", []), block]
            return super().step(f)

    install(monkeypatch, Maps)
    with pytest.raises(Broken, match="MiB more after 240 more steps"):
        CHECKS["memory"](Subject("sgd", ("optimizer.momentum=0.9",)))


def suite(name: str) -> tuple[bool, list[str]]:
    """Whether an optimizer passes, and the lines about it."""
    made = Suite(name)
    lines = [line for outcome in made.run() for line in outcome.lines]
    return made.passed, [*lines, made.conclusion]


def test_the_suite_has_a_line_a_check_and_counts_what_is_broken(monkeypatch):
    install(monkeypatch, Stands)
    for name in ("memory", "hyperparameters"):
        monkeypatch.setitem(CHECKS, name, lambda subject: None)
    passed, lines = suite("sgd")
    assert not passed and any(line.startswith("BROKEN") for line in lines)
    assert lines[-1].startswith("sgd: ")


# Legitimate methods

MODULE = """
import torch

from sobench.config.rules import choice
from sobench.linalg import cg


class Plain(torch.optim.SGD):
    '''SGD with a counter of its steps in the parameter group.'''

    def __init__(self, params, lr=0.1, **settings):
        super().__init__(params, lr=lr)
        self.param_groups[0].update(settings, k=0)

    def step(self, f):
        self.param_groups[0]["k"] += 1
        return super().step(f)

    def scale(self, factor, shape=lambda p: True):
        with torch.no_grad():
            for p in filter(shape, self.param_groups[0]["params"]):
                p.mul_(factor)


class FirstInitialises(Plain):
    def step(self, f):
        self.param_groups[0]["k"] += 1
        return f() if self.param_groups[0]["k"] == 1 else torch.optim.SGD.step(self, f)


class KeepsNaN(Plain):
    def step(self, f):
        self.param_groups[0]["best"] = float("nan")
        self.state[self.param_groups[0]["params"][0]]["best"] = torch.full((2,), torch.nan, dtype=torch.double)
        return super().step(f)


class Late(Plain):
    def __init__(self, params, lr=0.1, late=0.5):
        super().__init__(params, lr, late=late)

    def step(self, f):
        if self.param_groups[0]["k"] > 40:
            self.scale(self.param_groups[0]["late"])
        return super().step(f)


class Kernels(Plain):
    def __init__(self, params, lr=0.1, decay=0.1):
        super().__init__(params, lr, decay=decay)

    def step(self, f):
        self.scale(1 - self.param_groups[0]["decay"], lambda p: p.dim() == 4)
        return super().step(f)


class Volumes(Plain):
    def __init__(self, params, lr=0.1, decay=0.1):
        super().__init__(params, lr, decay=decay)

    def step(self, f):
        self.scale(1 - {**self.param_groups[0]}["decay"], lambda p: p.dim() == 5)
        return super().step(f)


class Branch(Volumes):
    def step(self, f):
        if any(p.dim() == 5 for p in self.param_groups[0]["params"]):
            self.scale(1 - self.param_groups[0]["decay"])
        return Plain.step(self, f)


class Unread(Plain):
    def __init__(self, params, lr=0.1, decay=0.1):
        super().__init__(params, lr, decay=decay)


class WarmUp(Plain):
    def __init__(self, params, lr=0.1, warmup=0):
        super().__init__(params, lr, warmup=warmup)

    def step(self, f):
        group = self.param_groups[0]
        self.scale(1 - 0.1 * max(0, 1 - (group["k"] + 1) / max(1, group["warmup"])))
        return super().step(f)


class Particular(Plain):
    def __init__(self, params, lr=0.1, order=3, sides=(None, 2), start=None):
        assert order in (3, 5) and (start is None or start >= 1)
        super().__init__(params, lr, order=order, sides=sides, start=start)

    def step(self, f):
        group = self.param_groups[0]
        self.scale(0.9 ** (group["sides"][1] + (group["start"] or 0)))
        return super().step(f)


class Averages(Plain):
    def __init__(self, params, lr=0.1, rate=0.9):
        super().__init__(params, lr, rate=rate, training=True)

    def step(self, f):
        loss = super().step(f)
        for p in self.param_groups[0]["params"]:
            mean = self.state[p].setdefault("mean", p.detach().clone())
            mean.lerp_(p.detach(), 1 - self.param_groups[0]["rate"])
        return loss

    def eval(self):
        for p in self.param_groups[0]["params"]:
            self.state[p]["mean"].data, p.data = p.data, self.state[p]["mean"].data

    def train(self):
        if self.param_groups[0]["k"]:
            self.eval()


class Mute(Plain):
    def __init__(self, params, lr=0.1, variant="plain"):
        super().__init__(params, lr)
        self.variant = variant

    def step(self, f):
        self.param_groups[0]["maximize"] = self.variant == "upwards"
        return super().step(f)


class Told(Mute):
    rules = {"variant": choice("plain", "upwards")}


class Seldom(Plain):
    requires = frozenset({"closure", "hessian", "dense"})

    def step(self, f):
        if self.param_groups[0]["k"] % 20 == 15:
            f.hessian().dense()
        return super().step(f)


class Optional(Plain):
    requires = frozenset({"closure", "hessian"})

    def __init__(self, params, lr=0.1, curved=False):
        super().__init__(params, lr, curved=curved)

    def step(self, f):
        if self.param_groups[0]["curved"]:
            f.hessian()
        return super().step(f)


class ByColumns(Plain):
    requires = frozenset({"closure", "hessian", "dense"})

    def step(self, f):
        H, I = f.hessian(), torch.eye(sum(p.numel() for p in self.param_groups[0]["params"]), dtype=torch.double)
        torch.stack([H @ column for column in I])
        return super().step(f)


class Diverges(Plain):
    def __init__(self, params, lr=1e300):
        super().__init__(params, lr)


class ManyIterations(Plain):
    requires = frozenset({"closure", "hessian", "value_and_grad"})

    def step(self, f):
        H, v = f.hessian(), f.value_and_grad()[1]
        for _ in range(len(v)):
            H @ v
        return super().step(f)
"""


@pytest.fixture
def others(plugins, workplace, monkeypatch):
    names = [line.split()[1].split("(")[0] for line in MODULE.splitlines() if line.startswith("class ")]
    plugins("others", {"others.py": MODULE}, {name.lower(): f"others:{name}" for name in names})
    for name, steps in (("STEPS", 4), ("LONG", 45), ("FEW", 2)):
        monkeypatch.setattr(contract, name, steps)
    return lambda name: Subject(name, ("model.widths=[1]",))


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("firstinitialises", "moves"),
        ("keepsnan", "state_dict"),
        ("late", "hyperparameters"),
        ("kernels", "hyperparameters"),
        ("warmup", "hyperparameters"),
        ("averages", "hyperparameters"),
        ("averages", "modes"),
        ("told", "hyperparameters"),
        ("seldom", "requires"),
        ("optional", "requires"),
        ("bycolumns", "requires"),
        *[("diverges", check) for check in ("same_seed_same_bits", "moves", "resume", "modes")],
    ],
)
def test_a_legitimate_method_passes(name, check, others):
    CHECKS[check](others(name))


@pytest.mark.parametrize(
    ("name", "check", "reason"),
    [
        ("volumes", "hyperparameters", "changing decay changes nothing: not seen on these problems"),
        ("branch", "hyperparameters", "changing decay changes nothing: not seen on these problems"),
        ("mute", "hyperparameters", "no second value to try for variant: declare the values in `rules`"),
        ("particular", "hyperparameters", "no second value to try for order: declare the values in `rules`"),
        ("manyiterations", "requires", "as many curvature products as there are parameters"),
    ],
)
def test_what_cannot_be_told_is_not_held_against_a_method(name, check, reason, others):
    with pytest.raises(NotSeen) as unseen:
        CHECKS[check](others(name))
    assert reason in str(unseen.value)
    assert "start" not in str(unseen.value) and "sides" not in str(unseen.value)


def test_a_hyperparameter_that_no_step_reads_is_broken(others):
    with pytest.raises(Broken, match="changing decay changes nothing"):
        CHECKS["hyperparameters"](others("unread"))


def test_an_exception_with_the_own_hyperparameters_is_not_taken_for_an_unread_one(monkeypatch):
    class Fails(Broken_):
        def step(self, f):
            raise ZeroDivisionError("at once")

    install(monkeypatch, Fails)
    with pytest.raises(ZeroDivisionError, match="at once"):
        CHECKS["hyperparameters"](Subject("sgd"))


def test_what_is_unseen_does_not_fail_the_suite(others, monkeypatch):
    for name in set(CHECKS) - {"hyperparameters", "moves"}:
        monkeypatch.delitem(CHECKS, name)
    passed, lines = suite("mute")
    assert passed and [line.split()[0] for line in lines[:2]] == ["ok", "unseen"]
    assert lines[-1] == "mute: 1 of 2 checks passed, 1 unseen"


def test_a_suite_in_which_nothing_was_checked_has_not_passed(monkeypatch):
    install(monkeypatch, SaysAnUnknownWord)
    monkeypatch.delitem(CHECKS, "requires")
    passed, lines = suite("sgd")
    assert not passed and lines[-1] == f"sgd: 0 of {len(CHECKS)} checks passed, {len(CHECKS)} skipped"


def test_schedule_free_sgd_keeps_the_contract(plugins, workplace):
    plugins("averaging", {}, {"averaged": f"{ScheduleFreeSGD.__module__}:{ScheduleFreeSGD.__name__}"})
    passed, lines = suite("averaged")
    assert passed and lines[-1] == f"averaged: {len(CHECKS)} of {len(CHECKS)} checks passed"
