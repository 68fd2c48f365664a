"""Schedules by step: their factors against torch's own schedulers and by hand, their length, and a run that resumes."""

import itertools
import math

import pytest
import torch
from torch.optim import lr_scheduler

from sobench.config.grid import expand
from sobench.errors import UsageError
from sobench.training import snapshot
from sobench.training.contract import same_bits, theta
from sobench.training.schedule import make_schedule
from sobench.training.trainer import Trainer

T, LR = 20, 0.5


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], LR)


def factors(settings, steps=T, total=T, per_epoch=5):
    """The learning rate over LR at each step."""
    sgd = optimizer()
    schedule = make_schedule(sgd, settings, per_epoch, total)
    rates = []
    for step in range(1, steps + 1):
        rates.append(sgd.param_groups[0]["lr"] / LR)
        sgd.step()
        schedule(step)
    return rates


def of_torch(make):
    sgd = optimizer()
    scheduler = make(sgd)
    rates = []
    for _ in range(T):
        rates.append(sgd.param_groups[0]["lr"] / LR)
        sgd.step()
        scheduler.step()
    return rates


def by_step(name, **settings):
    return {"name": name, "every": "step", **settings}


@pytest.mark.parametrize("final", [0.0, 0.25])
def test_without_a_warm_up_they_are_those_of_torch(final):
    cosine = of_torch(lambda sgd: lr_scheduler.CosineAnnealingLR(sgd, T, eta_min=final * LR))
    assert factors(by_step("warmup_cosine", warmup=0.0, final=final)) == pytest.approx(cosine, abs=1e-12)
    line = of_torch(lambda sgd: lr_scheduler.LinearLR(sgd, 1.0, final, total_iters=T))
    assert factors(by_step("linear", warmup=0.0, final=final)) == pytest.approx(line, abs=1e-12)


@pytest.mark.parametrize(
    "name, more",
    [
        ("warmup", {}),
        ("linear", {"final": 0.1}),
        ("warmup_cosine", {"final": 0.1}),
        ("wsd", {"decay": 0.3, "shape": "linear", "final": 0.1}),
    ],
)
def test_the_warm_up_ends_at_the_learning_rate(name, more):
    rates = factors(by_step(name, warmup=0.2, **more))
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert all(after <= before for before, after in zip(rates[4:], rates[5:]))


def test_warm_up_stable_decay():
    line = factors(by_step("wsd", warmup=0.1, decay=0.25, shape="linear", final=0.0))
    assert line == pytest.approx([0.5, 1.0] + [1.0] * 13 + [1.0, 0.8, 0.6, 0.4, 0.2])
    root = factors(by_step("wsd", warmup=0.1, decay=0.25, shape="sqrt", final=0.5))
    assert root[15:] == pytest.approx([1 - 0.5 * math.sqrt(k / 5) for k in range(5)])


def test_after_the_last_step_the_rate_stays():
    for name, more in (("linear", {}), ("warmup_cosine", {}), ("wsd", {"decay": 0.5, "shape": "sqrt"})):
        rates = factors(by_step(name, warmup=0.0, final=0.25, **more), steps=T + 5)
        assert rates[T:] == pytest.approx([0.25] * 5)


def test_a_warm_up_of_a_single_step():
    assert factors(by_step("warmup", warmup=0.9), steps=1, total=1) == [1.0]


def test_torchs_own_advances_by_step_or_by_epoch():
    by_epoch = {"name": "torch.optim.lr_scheduler:StepLR", "every": "epoch", "step_size": 2, "gamma": 0.1}
    assert factors(by_epoch) == pytest.approx([1.0] * 10 + [0.1] * 10)
    assert factors(by_epoch | {"every": "step"})[:5] == pytest.approx([1.0, 1.0, 0.1, 0.1, 0.01])
    one_cycle = {"name": "torch.optim.lr_scheduler:OneCycleLR", "every": "step", "max_lr": LR}
    expected = of_torch(lambda sgd: lr_scheduler.OneCycleLR(sgd, LR, total_steps=T + 1))
    assert factors(one_cycle, total=T + 1) == pytest.approx(expected)


def trainer(*words):
    (run,) = expand(["model.widths=[4]", "optimizer.lr=0.5", *words])
    return Trainer(run)


def advance(trainer, steps):
    """So many more steps of the loop, each with its schedule. Returns the learning rates and the losses."""
    found = []
    for step, f in itertools.islice(trainer.problem.objectives(after=trainer.step), steps):
        found.append(trainer.optimizer.param_groups[0]["lr"])
        found.append(float(trainer.optimizer.step(f)))
        trainer.step = step
        trainer.schedule(step)
    return found


@pytest.mark.parametrize("name", ["warmup", "linear", "warmup_cosine", "wsd"])
def test_a_run_that_resumes_is_the_same_bit_for_bit(name):
    words = [f"schedule={name}", "schedule.warmup=0.3", "budget.steps=12"]
    straight, first, second = (trainer(*words) for _ in range(3))
    expected = advance(straight, 12)
    assert len({*expected[::2]}) > 2, "the learning rate changes"
    losses = advance(first, 5)
    snapshot.restore(second, snapshot.state(first))
    losses += advance(second, 7)
    assert same_bits(losses, expected) and same_bits(theta(second), theta(straight))


def test_a_schedule_lasts_as_long_as_the_budget():
    rates = {}
    for steps in (4, 8):
        rates[steps] = advance(trainer("schedule=linear", f"budget.steps={steps}"), steps)[::2]
    assert rates[4] == pytest.approx([0.5, 0.375, 0.25, 0.125]) and rates[8] == pytest.approx(
        [k / 16 for k in range(8, 0, -1)]
    )


@pytest.mark.parametrize(
    "words, line",
    [
        (["schedule=linear", "budget.epochs=null", "budget.seconds=1"], "takes the number of steps of the run"),
        (["schedule=wsd", "schedule.warmup=0.9"], "schedule.decay: got 0.2 with schedule.warmup=0.9; allowed: a sum"),
        (["schedule=wsd", "schedule.shape=cube"], "schedule.shape: got 'cube', allowed: linear or sqrt"),
        (["schedule=warmup", "schedule.every=day"], "schedule.every: got 'day', allowed: epoch or step"),
    ],
)
def test_refusals(words, line):
    with pytest.raises(UsageError, match=line):
        trainer(*words)
