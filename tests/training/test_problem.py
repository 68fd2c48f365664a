"""The problem and its data: augmented training batches, one logit for two classes, the description in the record."""

import copy
import json

import numpy as np
import pytest
import tiny_data
import torch
from harness import command, directory
from sklearn.metrics import r2_score

from sobench.config.grid import expand
from sobench.errors import UsageError
from sobench.training import snapshot
from sobench.training.contract import advance
from sobench.training.problem import Problem, of_regression
from sobench.training.trainer import Trainer

CPU = torch.device("cpu")


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    tiny_data.declare(monkeypatch)
    return f"data.mirror={tiny_data.write(tmp_path / 'mirror')}"


def problem(*words) -> Problem:
    (run,) = expand(["model.widths=[4]", "batch_size=8", *words])
    return Problem(run.config, CPU)


def batches(p: Problem, steps: int, after: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [tuple(f.batch) for (_, f), _ in zip(p.objectives(after), range(steps))]


def cifar(mirror, *words):
    return problem("dataset=cifar10", mirror, *words)


def is_view(found, image) -> bool:
    """Whether `found` is one of the 162 flips and crops of `image` framed by 4 black pixels."""
    framed = torch.nn.functional.pad(image, (4, 4, 4, 4))
    crops = (framed[:, i : i + 32, j : j + 32] for i in range(9) for j in range(9))
    return any(torch.equal(found, view) for crop in crops for view in (crop, crop.flip(2)))


# Augmentation


def test_augmented_batches_are_views_of_the_same_images_in_the_same_order(mirror):
    plain, augmented = cifar(mirror), cifar(mirror, "dataset.augment=true")
    for (x, y), (a, b) in zip(batches(plain, 7), batches(augmented, 7)):
        assert torch.equal(y, b) and not torch.equal(x, a)
        assert all(is_view(found, image) for found, image in zip(a, x))


def test_an_image_is_another_view_in_every_epoch(mirror):
    first, second = (
        torch.cat([x for x, _ in batches(cifar(mirror, "dataset.augment=true"), 5, after)]) for after in (0, 5)
    )
    assert not {image.numpy().tobytes() for image in first} & {image.numpy().tobytes() for image in second}


def test_the_step_and_the_seed_alone_decide(mirror):
    p = cifar(mirror, "dataset.augment=true")
    straight = batches(p, 6)
    resumed = batches(cifar(mirror, "dataset.augment=true"), 3, after=3)
    for (x, y), (a, b) in zip(straight[3:], resumed):
        assert torch.equal(x, a) and torch.equal(y, b)
    other = cifar(mirror, "dataset.augment=true", "seed=1")
    assert not torch.equal(batches(other, 1)[0][0], straight[0][0])


def test_fresh_batches_have_draws_of_their_own(mirror):
    """Drawing a fresh batch, augmented or not, changes neither later batches nor the images of later fresh batches."""
    quiet, busy = cifar(mirror, "dataset.augment=true"), cifar(mirror, "dataset.augment=true")
    plain = cifar(mirror)
    for (_, f), (_, g), (_, h), _ in zip(quiet.objectives(), busy.objectives(), plain.objectives(), range(3)):
        fresh, same_images = g.independent_batch().batch, h.independent_batch().batch
        assert torch.equal(f.batch.inputs, g.batch.inputs)
        assert torch.equal(fresh.targets, same_images.targets) and not torch.equal(fresh.inputs, same_images.inputs)
        assert all(is_view(found, image) for found, image in zip(fresh.inputs, same_images.inputs))
        assert torch.equal(f.independent_batch().batch.inputs, fresh.inputs)


def test_evaluation_and_the_full_set_are_not_augmented(mirror):
    plain, augmented = cifar(mirror), cifar(mirror, "dataset.augment=true")
    assert plain.evaluate() == augmented.evaluate()
    (_, f), (_, g) = next(plain.objectives()), next(augmented.objectives())
    assert torch.equal(f.full().loss(), g.full().loss()) and not torch.equal(f.loss(), g.loss())
    assert torch.equal(plain.train[0], augmented.train[0])


def test_an_autoencoder_reconstructs_the_augmented_image(mirror):
    p = cifar(mirror, "dataset.augment=true", "model.target=input", "loss=squared_error")
    for x, y in batches(p, 2):
        assert torch.equal(x.flatten(1), y)


def test_a_resumed_run_is_bit_identical(mirror):
    """Six steps on augmented batches equal three steps, a checkpoint, and three more."""
    (run,) = expand(
        ["dataset=cifar10", "dataset.augment=true", mirror, "model.widths=[4]", "batch_size=8", "threads=1"]
    )
    straight, first, second = (Trainer(run) for _ in range(3))
    losses = advance(straight, 6)
    found = advance(first, 3)
    snapshot.restore(second, copy.deepcopy(snapshot.state(first)))
    assert found + advance(second, 3) == losses
    for p, q in zip(straight.problem.model.parameters(), second.problem.model.parameters()):
        assert torch.equal(p, q)


# Two classes, one output


def two_classes(tmp_path, *words):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 3)), np.arange(30) % 2
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x[:11], y_test=y[:11])
    return problem("dataset=npz", f"dataset.path={tmp_path}/own.npz", "model.target=binary", *words), x, y


@pytest.mark.parametrize("loss, threshold", [("binary_cross_entropy", 0.0), ("squared_error", 0.5)])
def test_one_output_for_two_classes(tmp_path, loss, threshold):
    p, x, y = two_classes(tmp_path, f"loss={loss}")
    assert p.model[-1].out_features == 1 and p.train[1].tolist() == [[float(label)] for label in y]
    with torch.no_grad():
        z = p.model(torch.from_numpy(x).float()).double()[:, 0].numpy()
    found = p.evaluate()
    per_sample = np.log1p(np.exp(z)) - y * z if loss == "binary_cross_entropy" else (z - y) ** 2 / 2
    assert found["train_loss"] == pytest.approx(per_sample.mean(), rel=1e-5)
    assert found["train_accuracy"] == pytest.approx(((z > threshold) == y).mean())
    assert found["test_accuracy"] == pytest.approx(((z > threshold) == y)[:11].mean())


def test_the_gradient_of_one_logit(tmp_path):
    p, *_ = two_classes(
        tmp_path,
        "loss=binary_cross_entropy",
        "dtype=float64",
        "batch_size=30",
        "model.name=linear",
        "~model.widths",
        "~model.activation",
    )
    _, f = next(p.objectives())
    inputs, targets = f.batch
    with torch.no_grad():
        residual = p.model(inputs).sigmoid() - targets
    expected = torch.cat([(residual.T @ inputs).flatten(), residual.sum(0)]) / 30
    torch.testing.assert_close(f.value_and_grad()[1], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ["dataset=digits", "model.target=binary", "loss=binary_cross_entropy"],
            "model.target: got 'binary', digits has 10 classes",
        ),
        (
            [
                "dataset=curves_synthetic",
                "dataset.train=9",
                "dataset.test=3",
                "model.target=binary",
                "loss=squared_error",
            ],
            "model.target: got 'binary', curves_synthetic has real targets",
        ),
    ],
)
def test_binary_needs_two_classes(words, message):
    with pytest.raises(UsageError, match=message):
        problem(*words)


def test_binary_needs_a_loss_of_values(tmp_path):
    with pytest.raises(
        UsageError, match="loss: got 'cross_entropy', the targets here are real numbers; allowed: binary_"
    ):
        two_classes(tmp_path, "loss=cross_entropy")


# The record


def test_the_record_states_the_numbers_of_samples(workplace, mirror):
    done = command("run", "dataset=cifar10", mirror, "budget=smoke", "batch_size=8", "model.widths=[4]", "threads=1")
    assert done.code == 0, done
    environment = json.loads((directory() / "environment.json").read_text())
    assert environment["data"] == "cifar10: 40 train, 20 test, inputs 3x32x32, 10 classes"


# A part of the data


def test_a_part_of_the_data_is_evaluated_as_exactly_these_samples():
    whole, part = problem("l2=0.1"), problem("l2=0.1", "budget.samples=100")
    for name in ("train", "test"):
        inputs, targets = getattr(whole, name)
        chosen = [i * len(inputs) // 100 for i in range(100)]
        with torch.no_grad():
            outputs = whole.model.eval()(inputs[chosen])
            penalty = 0.05 * sum(p.square().sum() for p in whole.model.parameters())
            loss = torch.nn.functional.cross_entropy(outputs, targets[chosen]) + penalty
        found = part.evaluate()
        assert found[f"{name}_loss"] == pytest.approx(float(loss), rel=1e-6)
        assert found[f"{name}_accuracy"] == pytest.approx(float((outputs.argmax(1) == targets[chosen]).float().mean()))
    assert part.samples == 100 and part.steps_per_epoch == 100 // 8 and "100 train, 100 test" in part.data


def test_a_batch_is_at_most_the_part():
    part = problem("batch_size=64", "budget.samples=40", "validation=0.25")
    (inputs, _), (again, _) = batches(part, 2)
    assert len(inputs) == len(again) == part.samples == 30 and part.steps_per_epoch == 1
    with pytest.raises(UsageError, match="batch_size: got 2000"):
        problem("batch_size=2000")


# Regression


def test_regression_has_the_root_of_the_error_and_the_coefficient_of_determination():
    p = problem("dataset=diabetes", "loss=squared_error", "dtype=float64")
    metrics = p.evaluate()
    for name, (x, y) in (("train", p.train), ("test", p.test)):
        with torch.no_grad():
            predicted = p.model(x)
        assert metrics[f"{name}_rmse"] == pytest.approx(metrics[f"{name}_mse"] ** 0.5, rel=1e-12)
        assert metrics[f"{name}_r2"] == pytest.approx(r2_score(y, predicted), rel=1e-9)


def test_targets_that_are_all_alike_have_no_coefficient_of_determination():
    mse = torch.tensor(4.0, dtype=torch.float64)
    assert of_regression(mse, torch.full((5, 2), 3.0)) == {"rmse": 2.0}


def test_classification_and_reconstruction_have_neither(mirror):
    for words in (["dataset=digits"], ["dataset=digits", "model=autoencoder", "model.code=2"]):
        assert not [name for name in problem(*words).evaluate() if name.endswith(("_rmse", "_r2"))]


@pytest.mark.parametrize(
    "words, line",
    [
        (["dataset=digits", "model=pinn"], "pinn takes points, digits has numbers"),
        (["dataset=poisson", "loss=squared_error"], "mlp takes numbers, poisson has points"),
        (
            ["dataset=poisson", "model=pinn", "model.target=input"],
            "got 'input', poisson has points",
        ),
    ],
)
def test_a_model_and_data_of_different_kinds_are_refused(words, line):
    with pytest.raises(UsageError, match=line):
        problem(*words)
