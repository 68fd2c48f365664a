"""The instrument `optimum`: the minimum against closed forms and another solver, its cache file, and its columns."""

import json

import numpy as np
import pytest
import torch
from harness import command, directory, rows, run_with
from problems import LOSSES, error, noise, targets
from scipy.optimize import minimize

from sobench.config.files import group_defaults
from sobench.errors import Failure, UsageError
from sobench.training.instruments import optimum
from sobench.training.instruments.optimum import LinearProblem, cached_minimum, minimum
from sobench.training.trainer import Trainer


def linear(loss="cross_entropy", l2=0.01, samples=40, seed=1) -> LinearProblem:
    """3 features and a bias, 3 outputs, targets that no linear model predicts."""
    X = torch.cat([noise((samples, 3), seed), torch.ones(samples, 1, dtype=torch.float64)], 1)
    return LinearProblem(X, targets(LOSSES[loss][0], samples, 3), LOSSES[loss][0], l2, (3, 4))


def by_formula(f: LinearProblem, loss: str, w: torch.Tensor) -> torch.Tensor:
    return LOSSES[loss][1](f.X @ w.view(f.shape).T, f.targets).mean() + f.l2 / 2 * w @ w


@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize("loss", LOSSES)
def test_derivatives_are_those_of_autograd(loss, l2):
    f, w = linear(loss, l2), noise((12,), 3)
    W = w.view(3, 4)
    g, H = f.derivatives(W)
    expected = torch.autograd.functional.hessian(lambda w: by_formula(f, loss, w), w)
    assert error(f.value(W), by_formula(f, loss, w)) < 1e-14
    assert error(g, torch.autograd.functional.jacobian(lambda w: by_formula(f, loss, w), w)) < 1e-13
    assert error(f.dense(W), expected) < 1e-13 and error(H.dense(), expected) < 1e-13


@pytest.mark.parametrize("dense", [4096, 0], ids=["dense", "cg"])
@pytest.mark.parametrize("loss", LOSSES)
def test_another_solver_finds_no_less(loss, dense, monkeypatch):
    monkeypatch.setattr(optimum, "DENSE", dense)
    f = linear(loss)
    assert minimum(f) == pytest.approx(by_bfgs(f, loss), rel=1e-13)


def by_bfgs(f: LinearProblem, loss: str) -> float:
    """By another solver, from another starting point, with the loss's own formula."""

    def value_and_grad(w):
        w = torch.tensor(w, requires_grad=True)
        value = by_formula(f, loss, w)
        return value.item(), torch.autograd.grad(value, w)[0].numpy()

    found = minimize(
        value_and_grad, noise((12,), 5).numpy(), jac=True, method="BFGS", options={"gtol": 1e-10, "maxiter": 2000}
    )
    return found.fun


def test_ridge_regression_in_closed_form():
    f = linear("squared_error", 0.2)
    A = f.X.T @ f.X / 40 + 0.2 * torch.eye(4, dtype=torch.float64)
    W = torch.linalg.solve(A, f.X.T @ f.targets / 40).T
    assert minimum(f) == pytest.approx(by_formula(f, "squared_error", W.flatten()).item(), rel=1e-14)


def test_without_a_penalty_where_there_is_an_optimum():
    """The loss is flat along the shift of the softmax, where its curvature may be 1e-14; the optimum exists."""
    f = linear(l2=0.0)
    assert minimum(f) == pytest.approx(by_bfgs(f, "cross_entropy"), rel=1e-13)
    assert minimum(linear(l2=1e-14)) == pytest.approx(minimum(f), rel=1e-12)


def separable(loss: str, l2: float = 0.0) -> LinearProblem:
    X = torch.tensor([[-2.0, 1], [-1, 1], [1, 1], [3, 1]], dtype=torch.float64)
    return LinearProblem(X, torch.tensor([0, 0, 1, 1]), LOSSES[loss][0], l2, (2, 2))


def test_separable_data_have_no_optimum_without_a_penalty():
    with pytest.raises(
        UsageError, match="no optimum here, for some direction separates the classes; allowed: l2 above 0"
    ):
        minimum(separable("cross_entropy"))
    assert minimum(separable("cross_entropy", 1e-6)) > 0
    assert minimum(separable("squared_hinge")) == pytest.approx(0.0, abs=1e-20)  # the loss beyond the margin is 0


def test_a_start_that_is_the_optimum():
    f = linear("squared_error")
    assert minimum(LinearProblem(f.X, 0 * f.targets, f.loss, f.l2, f.shape)) == 0.0


def test_steps_that_do_not_do_are_a_failure(monkeypatch):
    monkeypatch.setattr(optimum, "STEPS", 1)
    with pytest.raises(Failure, match="not found in 1 Newton steps"):
        minimum(linear())


# The cache file


def test_is_computed_once_for_each_problem(tmp_path, monkeypatch):
    found = {l2: cached_minimum(linear(l2=l2), tmp_path / "optima") for l2 in (0.01, 0.02)}
    seed = cached_minimum(linear(seed=9), tmp_path / "optima")
    assert len(list((tmp_path / "optima").iterdir())) == 3 and len({seed, *found.values()}) == 3
    monkeypatch.setattr(optimum, "minimum", lambda f: pytest.fail("it was known"))
    assert {l2: cached_minimum(linear(l2=l2), tmp_path / "optima") for l2 in (0.01, 0.02)} == found


@pytest.mark.parametrize("content", ["", "[1]", json.dumps({"minimum": "none"}), json.dumps({})])
def test_a_damaged_file_is_made_anew(tmp_path, content):
    expected = cached_minimum(linear(), tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text(content)
    assert cached_minimum(linear(), tmp_path) == expected == json.loads(file.read_text())["minimum"]


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Failure, match="optimum: cannot write .*; SOBENCH_CACHE names another folder"):
        cached_minimum(linear(), tmp_path / "file")


# The instrument

WORDS = ("threads=1", "model=linear", "instrument=optimum", "evaluate.steps=1")


def found(*words):
    done = command("run", *WORDS, *words)
    assert done.code == 0 and not done.err, done
    return rows(directory(), "eval")


def test_newtons_method_on_the_whole_set_goes_there(workplace):
    seen = found(
        "dtype=float64",
        "l2=0.01",
        "budget.samples=300",
        "batch_size=300",
        "budget.epochs=9",
        "optimizer=damped_newton",
        "optimizer.damping=0",
        "optimizer.lr=1",
    )
    gaps = [row["suboptimality"] for row in seen]
    assert len(gaps) == 10 and gaps[0] > 1 and abs(gaps[-1]) < 1e-14 and min(gaps) > -1e-14
    assert all(row["train_loss"] == pytest.approx(row["optimum"] + row["suboptimality"], rel=1e-12) for row in seen)
    assert len({row["optimum"] for row in seen}) == 1


def test_the_loss_of_single_precision_weights_is_exact(workplace):
    """A float32 loss differs from f* in the seventh digit; the distance is computed in double precision."""
    gap = found("l2=0.1", "loss=squared_hinge", "optimizer.lr=0.05", "batch_size=1437", "budget.epochs=6")[-1]
    assert gap["suboptimality"] > 0 and gap["train_loss"] == pytest.approx(
        gap["optimum"] + gap["suboptimality"], rel=1e-5
    )


def test_the_weights_are_read_as_the_model_has_them():
    run = run_with(instrument={"name": "optimum"}, model=group_defaults("model", "linear"), dtype="float64", l2=0.1)
    trainer = Trainer(run)
    expected = trainer.problem.evaluate()["train_loss"]
    reading = trainer.instrument.at_evaluation()
    assert np.isclose(reading["optimum"] + reading["suboptimality"], expected, rtol=1e-13)


def test_refused_for_what_is_not_linear(workplace):
    done = command("run", "threads=1", "model.widths=[4]", "budget=smoke", "instrument=optimum")
    assert done.code != 0 and "instrument: optimum is of a convex problem; allowed: model=linear" in done.err


def test_no_optimum_is_one_line(workplace, monkeypatch):
    monkeypatch.setattr(optimum, "STEPS", 2)  # stands for a hundred steps that are not enough
    done = command("run", *WORDS)
    assert done.code != 0 and "no optimum here" in done.err and len(done.errors) == 1
