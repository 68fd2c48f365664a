"""Settings of the training protocol: a validation set, a fixed partition into batches, and the end by convergence."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
import torch
from harness import command, run_with
from watched import Record

from sobench.errors import UsageError
from sobench.training import snapshot
from sobench.training.problem import Problem
from sobench.training.trainer import Trainer

CPU = torch.device("cpu")


@pytest.fixture
def numbered(tmp_path):
    """Settings of a data set of 23 samples whose inputs are their own numbers, so that parts can be identified."""
    x = np.stack([np.arange(23), np.ones(23)], 1)
    np.savez(tmp_path / "numbered.npz", x_train=x, y_train=np.arange(23) % 2, x_test=x[:4], y_test=np.arange(4) % 2)
    return dict(dataset={"name": "npz", "path": str(tmp_path / "numbered.npz"), "sha256": None}, batch_size=6)


def numbers(inputs: torch.Tensor) -> list[int]:
    return inputs[:, 0].int().tolist()


def epochs(problem: Problem, count: int, after: int = 0) -> list[list[tuple[int | None, list[int]]]]:
    """(key, samples) of every batch, epoch by epoch."""
    batches = [
        (f.key, numbers(f.batch.inputs))
        for _, f in itertools.islice(problem.objectives(after), count * problem.steps_per_epoch)
    ]
    return [batches[i : i + problem.steps_per_epoch] for i in range(0, len(batches), problem.steps_per_epoch)]


# The validation set


def test_validation_samples_are_not_trained_on(numbered):
    problem = Problem(run_with(**numbered, validation=0.2, drop_last=False).config, CPU)
    held, seen = numbers(problem.validation[0]), sorted(n for _, batch in epochs(problem, 1)[0] for n in batch)
    assert len(held) == 5 and sorted(held + seen) == list(range(23))
    assert problem.validation[1].tolist() == [n % 2 for n in held]
    assert sorted(numbers(problem.chunks()[0][0])) == seen, "the whole training set, for full()"


def test_the_validation_set_depends_on_the_seed(numbered):
    drawn = [
        numbers(Problem(run_with(**numbered, validation=0.2, seed=seed).config, CPU).validation[0])
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_validation_set_is_measured_like_the_others(numbered):
    problem = Problem(run_with(**numbered, validation=0.2).config, CPU)
    metrics = problem.evaluate()
    outputs, labels = problem.model(problem.validation[0]), problem.validation[1]
    assert metrics["validation_loss"] == pytest.approx(
        torch.nn.functional.cross_entropy(outputs, labels).item(), rel=1e-6
    )
    assert metrics["validation_accuracy"] == pytest.approx((outputs.argmax(1) == labels).double().mean().item())
    assert not any("validation" in key for key in Problem(run_with(**numbered).config, CPU).evaluate())


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_a_share_that_leaves_nothing_is_one_line(numbered, share):
    with pytest.raises(UsageError, match=f"validation: got {share}, of 23 training samples"):
        Problem(run_with(**numbered, validation=share).config, CPU)


# A fixed partition


def test_a_fixed_partition_keeps_its_batches_and_changes_their_order(numbered):
    problem = Problem(run_with(**numbered, batches="fixed", drop_last=False).config, CPU)
    first, second, third = (dict(epoch) for epoch in epochs(problem, 3))
    assert first == second == third and sorted(first) == [0, 1, 2, 3]
    assert sorted(n for batch in first.values() for n in batch) == list(range(23))
    assert len({tuple(epoch) for epoch in map(dict.keys, (first, second, third))}) > 1


def test_a_fixed_partition_resumes_where_it_was(numbered):
    problem = Problem(run_with(**numbered, batches="fixed").config, CPU)
    assert epochs(problem, 2, after=3)[0] == epochs(problem, 3)[1]


def test_a_reshuffled_partition_has_no_keys(numbered):
    first, second = epochs(Problem(run_with(**numbered).config, CPU), 2)
    assert {key for key, _ in first + second} == {None} and first != second


# Convergence


def test_a_run_ends_when_its_loss_has_stalled():
    """Five evaluations whose losses differ by 1, 0.09, 0.08, 0.07: the third small change in a row ends the run."""
    trainer, record = Trainer(run_with(convergence__change=0.1, budget__epochs=9)), Record()
    losses = iter([4.0, 3.0, 2.91, 2.83, 2.76, 2.70])
    trainer.problem.evaluate = lambda: {"train_loss": next(losses)}
    assert trainer.train(record, lambda _: None, lambda *_: None) is None
    assert trainer.step == 4 * trainer.problem.steps_per_epoch
    assert snapshot.summary(trainer, "done", None)["converged"] is True


def test_a_large_change_restarts_the_count():
    trainer, record = Trainer(run_with(convergence__change=0.1, convergence__evaluations=2, budget__epochs=9)), Record()
    losses = iter([4.0, 3.95, 3.5, 3.45, 3.41, 3.0])
    trainer.problem.evaluate = lambda: {"train_loss": next(losses)}
    trainer.train(record, lambda _: None, lambda *_: None)
    assert trainer.step == 4 * trainer.problem.steps_per_epoch


def test_without_a_convergence_setting_the_budget_alone_ends_a_run():
    trainer, record = Trainer(run_with(budget__epochs=4)), Record()
    trainer.problem.evaluate = lambda: {"train_loss": 1.0}
    trainer.train(record, lambda _: None, lambda *_: None)
    assert record[-1]["epoch"] == 4 and snapshot.summary(trainer, "done", None)["converged"] is False


def test_the_count_survives_a_resume():
    saved = []
    run = run_with(convergence__change=1e9, budget__epochs=9)
    Trainer(run).train(Record(), lambda trainer: saved.append(snapshot.state(trainer)), lambda *_: None)
    trainer = Trainer(run)
    snapshot.restore(trainer, next(state for state in saved if state["still"] == 2))
    trainer.train(Record(), lambda _: None, lambda *_: None)
    assert trainer.step == 3 * trainer.problem.steps_per_epoch


def test_default_protocol_settings_do_not_change_the_hash():
    name = run_with().cell
    assert run_with(batches="reshuffled", validation=0.0, convergence__evaluations=5).cell == name
    others = {
        run_with(**change).cell
        for change in (dict(batches="fixed"), dict(validation=0.2), dict(convergence__change=1e-4))
    }
    assert len(others) == 3 and name not in others


@pytest.mark.parametrize(
    "word, allowed",
    [
        ("validation=1.0", r"a number in \[0, 1\)"),
        ("batches=kept", "reshuffled or fixed"),
        ("convergence.change=0", "above 0, or null"),
    ],
)
def test_wrong_settings_are_one_line(word, allowed, tmp_path):
    result = command("run", word, f"runs={tmp_path}")
    assert result.code == 2 and len(result.errors) == 1 and word.split("=")[0] in result.err
    assert re.search(allowed, result.err)
