"""The training loop: steps, epochs, rows and seconds, compared with loops written out in the tests."""

import math
from collections import defaultdict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from harness import run_with
from torch import nn
from watched import Record, Time

from sobench.config import registry
from sobench.errors import Unsupported, UsageError
from sobench.system import environment
from sobench.training import clock, snapshot
from sobench.training.problem import Problem
from sobench.training.trainer import Trainer

DIGITS = 1437  # training samples
LENET = dict(name="lenet", activation="sigmoid", pooling="average", target="label")
NOISE = dict(name="noise", shape=[3, 32, 32], classes=10, train=200, test=100)


def trained(**changes) -> tuple[Trainer, Record, str | None]:
    trainer, record = Trainer(run_with(**changes)), Record()
    return trainer, record, trainer.train(record, lambda _: None, lambda *_: None)


@pytest.fixture
def numbered(tmp_path):
    """Settings of a data set of 20 samples whose inputs are their own numbers, so that batches can be identified."""
    x = np.stack([np.arange(20), np.ones(20)], 1)
    np.savez(tmp_path / "numbered.npz", x_train=x, y_train=np.arange(20) % 2, x_test=x[:4], y_test=np.arange(4) % 2)
    return dict(dataset={"name": "npz", "path": str(tmp_path / "numbered.npz"), "sha256": None}, batch_size=6)


# Steps, epochs, budgets


@pytest.mark.parametrize(
    "batch_size, drop_last, steps, last",
    [
        (64, True, 22, 64),
        (64, False, 23, 29),
        (1437, True, 1, 1437),
        (5000, False, 1, 1437),
        (479, True, 3, 479),
        (479, False, 3, 479),
    ],
)
def test_steps_per_epoch(batch_size, drop_last, steps, last):
    problem = Trainer(run_with(batch_size=batch_size, drop_last=drop_last)).problem
    assert problem.steps_per_epoch == steps
    sizes = [len(f) for _, f in zip(range(steps), (f for _, f in problem.objectives()))]
    assert sizes[:-1] == [batch_size] * (steps - 1) and sizes[-1] == last


@pytest.mark.parametrize(
    "budget, steps",
    [
        (dict(epochs=2), 44),
        (dict(epochs=2, steps=5), 5),
        (dict(epochs=1, steps=50), 22),
        (dict(steps=3, epochs=None), 3),
        (dict(epochs=0.5), 11),
        (dict(epochs=0.001), 1),
        (dict(epochs=1.5), 33),
    ],
)
def test_the_first_limit_ends_the_run(budget, steps):
    trainer, record, reason = trained(**{f"budget__{key}": value for key, value in budget.items()})
    assert (trainer.step, reason) == (steps, None)
    assert record.steps("train")[-1] == record.steps("eval")[-1] == steps
    assert record[-1]["epoch"] == pytest.approx(steps / 22)


@pytest.mark.parametrize(
    "changes, train_rows, eval_rows",
    [
        (dict(), [10, 20, 22, 30, 40, 44], [0, 22, 44]),
        (dict(log__every=1), list(range(1, 45)), [0, 22, 44]),
        (dict(evaluate__every=2), [10, 20, 30, 40, 44], [0, 44]),
        (dict(evaluate__steps=15, log__every=100), [15, 22, 30, 44], [0, 15, 22, 30, 44]),
        (dict(budget__steps=13), [10, 13], [0, 13]),
        (dict(budget__steps=22), [10, 20, 22], [0, 22]),
    ],
)
def test_rows(changes, train_rows, eval_rows):
    _, record, _ = trained(budget__epochs=2, **changes)
    assert (record.steps("train"), record.steps("eval")) == (train_rows, eval_rows)
    assert [row["epoch"] for row in record] == [row["step"] / 22 for row in record]


# Batches


def inputs(f) -> list[int]:
    return f.batch.inputs[:, 0].int().tolist()


def order(steps: int, **changes) -> list[list[int]]:
    return [inputs(f) for _, f in zip(range(steps), (f for _, f in Trainer(run_with(**changes)).problem.objectives()))]


def test_an_epoch_has_every_sample_once_and_its_own_order(numbered):
    first, second = order(8, drop_last=False, **numbered)[:4], order(8, drop_last=False, **numbered)[4:]
    for epoch in (first, second):
        assert sorted(sum(epoch, [])) == list(range(20)) and [len(batch) for batch in epoch] == [6, 6, 6, 2]
    assert first != second
    dropped = sum(order(3, drop_last=True, **numbered), [])
    assert len(dropped) == len(set(dropped)) == 18


def test_targets_stay_with_their_inputs(numbered):
    for _, f in zip(range(7), (f for _, f in Trainer(run_with(**numbered)).problem.objectives())):
        assert (f.batch.inputs[:, 0].int() % 2 == f.batch.targets).all()


def test_the_order_depends_on_the_seed_alone(numbered):
    base = order(7, seed=1, **numbered)
    assert base == order(7, seed=1, **numbered) == order(7, seed=1, dtype="float64", l2=0.1, **numbered)
    assert base != order(7, seed=2, **numbered)


def test_every_optimizer_sees_the_same_batches(numbered, monkeypatch):
    seen = defaultdict(list)
    from sobench.objective import Objective

    true = Objective.on
    monkeypatch.setattr(
        Objective,
        "on",
        lambda self, batch, *rest: seen[name].append(batch[0][:, 0].int().tolist()) or true(self, batch, *rest),
    )
    for name, group in {
        "sgd": dict(lr=0.01, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False),
        "newton": dict(lr=0.1),
        "hf_gauss_newton": dict(lr=0.1, damping=1.0, cg_iterations=5, cg_tol=1e-5),
        "lbfgs": dict(
            lr=0.1,
            max_iter=4,
            max_eval=None,
            tolerance_grad=1e-7,
            tolerance_change=1e-9,
            history_size=5,
            line_search_fn=None,
        ),
    }.items():
        trained(optimizer={"name": name, **group}, budget__steps=7, **numbered)
    assert len(seen) == 4 and len({str(batches[-7:]) for batches in seen.values()}) == 1  # a warm start is before


def test_drawing_fresh_batches_and_labels_shifts_nothing(numbered, monkeypatch):
    class Drawing(torch.optim.SGD):
        requires = {"closure", "independent_batch", "sampled", "full"}

        def step(self, f):
            seen.append(
                (
                    inputs(f),
                    inputs(f.independent_batch()),
                    inputs(f.independent_batch()),
                    f.sampled().batch.targets.tolist(),
                    torch.rand(3).tolist(),
                )
            )
            f.full().loss()
            return super().step(f)

    true = registry.load
    monkeypatch.setattr(registry, "load", lambda kind, name: Drawing if kind == "optimizers" else true(kind, name))
    runs = []
    for seed in (1, 1, 2):
        seen = []
        trained(seed=seed, budget__steps=4, optimizer={"name": "drawing", "lr": 0.1}, **numbered)
        runs.append(seen)
    assert runs[0] == runs[1] and all(a[3] != b[3] for a, b in zip(runs[0][:3], runs[2]))
    assert [step[0] for step in runs[0]] == order(4, seed=1, **numbered)
    for _, one, other, _, _ in runs[0]:
        assert one != other and len(set(one)) == 6


# Rows, compared with a loop written out here


def test_losses_and_metrics_are_those_of_a_plain_loop():
    changes = dict(
        seed=3, l2=0.02, optimizer__lr=0.3, optimizer__momentum=0.9, log__every=4, budget__epochs=None, budget__steps=30
    )
    trainer, record, _ = trained(**changes)
    other = Trainer(run_with(**changes)).problem
    model, losses = other.model, []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    for _, f in zip(range(30), (f for _, f in other.objectives())):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(f.batch.inputs), f.batch.targets)
        loss = loss + 0.01 * sum(p.square().sum() for p in model.parameters())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    done = 0
    for row in record.of("train"):
        assert row["loss"] == pytest.approx(sum(losses[done : row["step"]]) / (row["step"] - done), rel=1e-6)
        done = row["step"]
    assert done == 30
    for p, q in zip(trainer.problem.model.parameters(), model.parameters()):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)
    last = record.of("eval")[-1]
    for part, (x, y) in (("train", other.train), ("test", other.test)):
        with torch.no_grad():
            z = model(x)
            loss = F.cross_entropy(z, y) + 0.01 * sum(p.square().sum() for p in model.parameters())
        assert last[f"{part}_loss"] == pytest.approx(loss.item(), rel=1e-5)
        assert last[f"{part}_accuracy"] == pytest.approx((z.argmax(1) == y).double().mean().item())


def test_work_is_counted():
    _, record, _ = trained(budget__epochs=1, drop_last=False)
    last = record[-1]
    assert (last["forwards"], last["backwards"], last["products"]) == (23, 23, 0)
    assert last["samples"] == DIGITS and last["work"] == pytest.approx(1.0)
    assert record[0]["work"] == 0


def test_evaluation_in_chunks_is_the_mean_over_samples(monkeypatch):
    from sobench.training import problem

    whole = Trainer(run_with(l2=0.1)).problem.evaluate()
    monkeypatch.setattr(problem, "CHUNK", 100)
    chunked = Trainer(run_with(l2=0.1)).problem.evaluate()
    assert chunked == pytest.approx(whole, rel=1e-6)


def test_a_chunk_fits_into_the_cache_and_changes_nothing():
    """A LeNet keeps some 50 kB a sample, a linear model a few bytes."""
    from sobench.training import problem

    small = Trainer(run_with(model=LENET, dataset=NOISE | dict(shape=[1, 28, 28], train=1000))).problem
    assert problem.FEWEST <= small.chunk <= 512
    assert [len(inputs) for inputs, _ in small.chunks()][:-1] == [small.chunk] * (small.samples // small.chunk)
    linear = Trainer(run_with(model=dict(name="linear", target="label"))).problem
    assert linear.chunk == problem.CHUNK
    evaluated, (loss, g) = small.evaluate(), small.first_objective().full().value_and_grad()
    small.chunk = problem.CHUNK
    assert len(small.chunks()) == 1
    assert small.evaluate() == pytest.approx(evaluated, rel=1e-6)
    whole_loss, whole_g = small.first_objective().full().value_and_grad()
    assert torch.allclose(loss, whole_loss) and torch.allclose(g, whole_g, rtol=1e-4, atol=1e-7)


def test_batchnorm_takes_its_statistics_from_large_chunks():
    small = Trainer(run_with(model=dict(name="resnet", depth=32, width=1, target="label"), dataset=NOISE)).problem
    assert 64 <= small.chunk < small.samples == len(small.chunks()[0][0])


def test_an_autoencoder_is_measured_by_its_reconstruction():
    model = dict(name="autoencoder", widths=[6], code=2, activation="tanh", loss="binary_cross_entropy", target="input")
    trainer, record, _ = trained(model=model, loss="binary_cross_entropy", budget__steps=3)
    x = trainer.problem.test[0].flatten(1)
    with torch.no_grad():
        z = trainer.problem.model(trainer.problem.test[0])
    last = record.of("eval")[-1]
    assert last["test_mse"] == pytest.approx((z.sigmoid() - x).square().mean().item(), rel=1e-5)
    assert last["test_loss"] == pytest.approx(
        F.binary_cross_entropy_with_logits(z, x, reduction="sum").item() / len(x), rel=1e-5
    )
    assert "test_accuracy" not in last


@pytest.mark.parametrize("loss", ["squared_error", "binary_cross_entropy", "squared_hinge"])
def test_classes_with_every_loss(loss):
    trainer, record, _ = trained(loss=loss, budget__steps=3, optimizer__lr=0.01)
    assert {"test_accuracy", "test_loss"} <= record[-1].keys()
    if loss == "squared_error":
        x, y = trainer.problem.test
        with torch.no_grad():
            z = trainer.problem.model(x)
        assert y.shape == z.shape and (y.sum(1) == 1).all()
        assert record[-1]["test_loss"] == pytest.approx(0.5 * (z - y).square().sum(1).mean().item(), rel=1e-5)


def test_float64():
    trainer, record, _ = trained(dtype="float64", budget__steps=2)
    assert {p.dtype for p in trainer.problem.model.parameters()} == {torch.float64}
    assert trainer.problem.train[0].dtype == torch.float64
    single = trained(budget__steps=2)[1]
    assert record[-1]["train_loss"] == pytest.approx(single[-1]["train_loss"], rel=1e-2)
    assert record[-1]["train_loss"] != single[-1]["train_loss"]


def test_initial_parameters_depend_on_the_seed_alone():
    def theta(**changes):
        return torch.cat([p.detach().flatten() for p in Trainer(run_with(**changes)).problem.model.parameters()])

    torch.manual_seed(5)
    base = theta(seed=1)
    assert torch.equal(base, theta(seed=1, batch_size=32, l2=0.5, optimizer__lr=0.7))
    assert not torch.equal(base, theta(seed=2))


@pytest.mark.parametrize(
    "schedule, rate",
    [
        (dict(name="constant"), lambda epoch: 0.1),
        (dict(name="step", period=2, gamma=0.5), lambda epoch: 0.1 * 0.5 ** (epoch // 2)),
        (dict(name="cosine", epochs=4), lambda epoch: 0.05 * (1 + math.cos(math.pi * epoch / 4))),
    ],
)
def test_schedules_change_the_learning_rate_once_an_epoch(schedule, rate, monkeypatch):
    rates = []
    true = torch.optim.SGD.step
    monkeypatch.setattr(
        torch.optim.SGD, "step", lambda self, f: rates.append(self.param_groups[0]["lr"]) or true(self, f)
    )
    trained(schedule=schedule, optimizer__lr=0.1, batch_size=479, budget__epochs=4)
    assert rates == pytest.approx([rate(step // 3) for step in range(12)])


# The clock


def test_only_training_is_on_the_clock(monkeypatch):
    time = Time(monkeypatch)
    time.after(monkeypatch, torch.optim.SGD, "step", 1.0)
    time.after(monkeypatch, Problem, "evaluate", 100.0)
    time.after(monkeypatch, Record, "append", 1000.0)
    trainer, record = Trainer(run_with(log__every=3, budget__epochs=1, evaluate__steps=5)), Record()

    def save(_):
        time.now += 1e5

    def progress(*_):
        time.now += 1e6

    trainer.train(record, save, progress)
    assert trainer.step == 22 and time.now > 7e6
    for row in record:
        assert row["seconds"] == row["process_seconds"] == row["step"]


class Warmed(torch.optim.SGD):
    """SGD that reads the training set once before its first step."""

    calls: list = []

    def warm_start(self, f):
        Warmed.calls.append([inputs(g) for g in f.batches()])
        f.loss()


@pytest.fixture
def warmed(monkeypatch, numbered):
    true = registry.load
    monkeypatch.setattr(registry, "load", lambda kind, name: Warmed if kind == "optimizers" else true(kind, name))
    monkeypatch.setattr(Warmed, "calls", [])
    return numbered | {"optimizer": {"name": "sgd", "lr": 0.1}}


def test_a_warm_start_is_off_the_clock_and_recorded_apart(monkeypatch, warmed):
    time = Time(monkeypatch)
    time.after(monkeypatch, Warmed, "step", 1.0)
    time.after(monkeypatch, Warmed, "warm_start", 50.0)
    trainer, record, _ = trained(**warmed, budget__steps=5, log__every=1)
    assert [row["seconds"] for row in record.of("train")] == [1, 2, 3, 4, 5]
    assert trainer.warm_start_seconds == snapshot.summary(trainer, "done", None)["warm_start_seconds"] == 50
    assert record[0]["forwards"] == 0 and record.of("train")[0]["forwards"] == 2  # its work is metered


def test_a_warm_start_sees_the_training_set_once_and_shifts_no_batch(warmed):
    trained(**warmed, budget__steps=5)
    (batches,) = Warmed.calls
    assert [len(batch) for batch in batches] == [6, 6, 6] and len(set(sum(batches, []))) == 18
    bare = warmed | {"optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.0}}
    assert order(5, **warmed) == order(5, **bare)
    trained(**warmed, budget__steps=5)
    trained(**warmed, budget__steps=5, seed=1)
    assert Warmed.calls[1] == batches != Warmed.calls[2]


def test_a_resumed_run_does_not_warm_up_again_and_keeps_its_warm_start_time(warmed):
    first, record = Trainer(run_with(**warmed, budget__steps=3)), Record()
    first.train(record, lambda _: None, lambda *_: None)
    second = Trainer(run_with(**warmed, budget__steps=6))
    snapshot.restore(second, snapshot.state(first))
    second.train(record, lambda _: None, lambda *_: None)
    assert len(Warmed.calls) == 1 and second.step == 6
    assert second.warm_start_seconds == first.warm_start_seconds > 0


@pytest.mark.parametrize("log_every", [1, 10, 1000])
def test_a_budget_of_seconds_ends_at_the_step_that_spends_it(monkeypatch, log_every):
    time = Time(monkeypatch)
    time.after(monkeypatch, torch.optim.SGD, "step", 2.0)
    time.after(monkeypatch, Problem, "evaluate", 100.0)
    trainer, record, _ = trained(budget__seconds=9, log__every=log_every)
    assert trainer.step == 5 and record[-1]["seconds"] == 10
    assert record.steps("eval") == [0, 5] and record.steps("train")[-1] == 5


def test_the_clock_waits_for_the_device(monkeypatch):
    waited = []
    monkeypatch.setattr(clock.torch.cuda, "synchronize", waited.append)
    watch = clock.Clock(torch.device("cuda"))
    watch.start()
    watch.stop()
    assert len(waited) == 2
    idle = clock.Clock(torch.device("cpu"))
    idle.start()
    idle.stop()
    assert len(waited) == 2


# BatchNorm


class Normed(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 10))


@pytest.fixture
def normed(monkeypatch):
    true = registry.load

    def load(kind, name):
        return (lambda *_, **__: Normed()) if kind == "models" else true(kind, name)

    monkeypatch.setattr(registry, "load", load)


@pytest.mark.parametrize(
    "optimizer",
    [
        dict(name="sgd", lr=0.1, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False),
        dict(name="hf_gauss_newton", lr=0.5, damping=1.0, cg_iterations=3, cg_tol=1e-5),
        dict(name="damped_newton", lr=0.5, damping=8.0),
    ],
    ids=lambda group: group["name"],
)
def test_batchnorm_statistics_are_updated_once_a_step(normed, optimizer, monkeypatch):
    """The statistics are those of the batch at the parameters before the step, whatever the optimizer evaluates."""
    trainer = Trainer(run_with(optimizer=optimizer, budget__steps=6))
    norm, first = trainer.problem.model[2], trainer.problem.model[1]
    mean, true = torch.zeros(5), trainer.optimizer.step

    def step(f):
        with torch.no_grad():
            mean.mul_(0.9).add_(first(f.batch.inputs.flatten(1)).mean(0), alpha=0.1)
        return true(f)

    monkeypatch.setattr(trainer.optimizer, "step", step)
    trainer.train(Record(), lambda _: None, lambda *_: None)
    assert norm.num_batches_tracked.item() == 6
    torch.testing.assert_close(norm.running_mean, mean)


def test_evaluation_uses_and_keeps_batchnorm_statistics(normed):
    problem = Trainer(run_with()).problem
    before = [b.clone() for b in problem.model.buffers()]
    first, second = problem.evaluate(), problem.evaluate()
    assert first == second and problem.model.training
    assert all(torch.equal(a, b) for a, b in zip(before, problem.model.buffers()))


# Ends


def test_a_loss_that_is_not_finite_ends_the_run_at_its_step(monkeypatch):
    true, calls = torch.optim.SGD.step, []

    def step(self, f):
        calls.append(1)
        return true(self, f) * (float("nan") if len(calls) == 13 else 1.0)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    trainer, record, reason = trained()
    assert reason == "mini-batch loss is nan at step 13" and trainer.step == 20
    assert math.isnan(record[-1]["loss"]) and snapshot.summary(trainer, "diverged", reason)["final"] == {
        k: v for k, v in record[0].items() if k.startswith(("train_", "test_"))
    }


def test_a_model_that_is_not_finite_ends_the_run_at_its_evaluation(monkeypatch):
    def step(self, f):
        with torch.no_grad():
            self.param_groups[0]["params"][0].fill_(float("inf"))
        return torch.tensor(1.0)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    trainer, _, reason = trained(evaluate__steps=3)
    assert trainer.step == 3 and reason == "training loss is nan after step 3"


def test_an_initial_loss_that_is_not_finite(monkeypatch):
    monkeypatch.setattr(Problem, "evaluate", lambda self: {"train_loss": float("inf")})
    trainer, _, reason = trained()
    assert (trainer.step, reason) == (0, "training loss is inf after step 0")


@pytest.mark.parametrize("loss", [lambda v: v.item(), lambda v: v.double(), lambda v: v.detach().view(())])
def test_a_step_may_return_its_loss_in_any_numeric_form(monkeypatch, loss):
    true = torch.optim.SGD.step
    expected = trained(budget__steps=10)[1]
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self, f: loss(true(self, f)))
    assert trained(budget__steps=10)[1].of("train")[0]["loss"] == pytest.approx(expected.of("train")[0]["loss"])


def test_diagnostics_are_in_the_record():
    optimizer = dict(name="hf_gauss_newton", lr=0.5, damping=1.0, cg_iterations=3, cg_tol=1e-5)
    _, record, _ = trained(optimizer=optimizer, budget__steps=2)
    assert record.of("train")[-1]["cg_iterations"] == 3 and isinstance(record.of("train")[-1]["cg_status"], str)


def test_a_problem_too_large_for_a_dense_matrix(monkeypatch):
    monkeypatch.setattr(environment, "available_memory", lambda where: 3 * 4 * 300**2)
    with pytest.raises(Unsupported, match=r"P = 310: .* at most 300 parameters"):
        Trainer(run_with(optimizer={"name": "newton", "lr": 0.5}))
    Trainer(run_with(optimizer={"name": "hf_newton", "lr": 0.5, "damping": 1.0, "cg_iterations": 1, "cg_tol": 0.1}))


KEPT = {  # the numbers of rows of the matrices that are kept for a weight [I, J] and a bias [I]
    "tnt": lambda I, J: [I, J, I],
    "shampoo": lambda I, J: [I, J, I],
    "kfac": lambda I, J: [J + 1, I],
    "kbfgs": lambda I, J: [J + 1, I],
    "kbfgs20": lambda I, J: [J + 1, I],
    "kbfgs_l": lambda I, J: [J + 1],
    "block_fisher": lambda I, J: [I * (J + 1)],
}


@pytest.mark.parametrize("optimizer", KEPT)
def test_a_problem_too_large_for_the_matrices_that_are_kept(monkeypatch, optimizer):
    """Refused below the memory of all matrices and two more of the largest size, and not above it."""
    run = run_with(optimizer={"name": optimizer})
    weights = [p for p in Trainer(run).problem.model.parameters() if p.dim() == 2]
    rows = [n for W in weights for n in KEPT[optimizer](*W.shape)]
    needed = 4 * (sum(n**2 for n in rows) + 2 * max(rows) ** 2)
    monkeypatch.setattr(environment, "available_memory", lambda where: needed - 1)
    with pytest.raises(Unsupported, match=f"a matrix of n x n for .* with n = {max(rows)}: .*allowed: narrower layers"):
        Trainer(run)
    monkeypatch.setattr(environment, "available_memory", lambda where: needed)
    Trainer(run)


def test_an_error_of_a_constructor_is_one_line():
    with pytest.raises(UsageError, match="^optimizer 'sgd': Nesterov momentum requires"):
        Trainer(run_with(optimizer__nesterov=True))


def test_available_memory_includes_the_reclaimable_page_cache():
    free = environment.available_memory(torch.device("cpu"))
    total = environment.os.sysconf("SC_PHYS_PAGES") * environment.os.sysconf("SC_PAGE_SIZE")
    assert 0 < free <= total
