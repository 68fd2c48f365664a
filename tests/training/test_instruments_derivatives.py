"""Instruments about derivatives: their readings equal values computed here by other means, and the run is unchanged."""

import math

import pytest
import torch
from harness import run_with
from watched import Record

from sobench.config import files
from sobench.errors import UsageError
from sobench.linalg.cubic import minimise_cubic
from sobench.training.instruments.differences import of_the_example
from sobench.training.instruments.product_time import PRODUCTS
from sobench.training.trainer import Trainer


def trained(instrument, **changes):
    own = files.group_defaults("instrument", instrument) | changes.pop("own", {})
    plan = {
        "instrument": own,
        "log__every": 1,
        "budget__steps": 4,
        "dtype": "float64",
        "model__widths": [6],
        "model__activation": "tanh",
    } | changes
    trainer, record = Trainer(run_with(**plan)), Record()
    trainer.train(record, lambda _: None, lambda *_: None)
    return trainer, record


def rows(record, kind):
    return [row for row in record if row["kind"] == kind]


@pytest.mark.parametrize("instrument", ["summary", "differences", "product_time"])
def test_the_trajectory_is_the_same_bits(instrument):
    with_, record = trained(instrument)
    without, bare = trained("none")
    for a, b in zip(with_.problem.model.parameters(), without.problem.model.parameters(), strict=True):
        assert torch.equal(a, b)
    for row, other in zip(record, bare, strict=True):
        assert {k: row[k] for k in other if "seconds" not in k} == {
            k: v for k, v in other.items() if "seconds" not in k
        }


# summary


def test_the_summary_is_that_of_the_whole_training_set():
    """H_bar, by dense second derivatives of the loss in the four step sizes at the last evaluation's parameters."""
    trainer, record = trained("summary", own={"lambda_int": 2.0})
    f, row = trainer.problem._objective.full(), rows(record, "eval")[-1]
    _, g = f.value_and_grad()
    names, parts = f.space.names, f.space.unflatten(g)
    inputs, targets = trainer.problem.train

    def phi(eta):
        theta = {name: p + e * u for name, p, e, u in zip(names, f.space.parameters, eta, parts)}
        return torch.nn.functional.cross_entropy(
            torch.func.functional_call(trainer.problem.model, theta, (inputs,)), targets
        )

    eta = torch.zeros(len(names), dtype=torch.float64)
    first, H = torch.func.grad(phi)(eta), torch.func.hessian(phi)(eta)

    def third_derivative(unit):
        along = lambda e: phi(e * unit)
        return torch.func.jacfwd(torch.func.jacfwd(torch.func.jacfwd(along)))(torch.zeros(()).double())

    third = torch.stack([third_derivative(unit) for unit in torch.eye(len(names), dtype=torch.float64)])
    steps = minimise_cubic(H, first, third.abs() ** (1 / 3), 2.0).eta
    inverse = torch.linalg.inv(H)
    for i, s in enumerate(names):
        assert row[f"gradient/{s}"] == pytest.approx(first[i].item(), rel=1e-8)
        assert row[f"eta/{s}"] == pytest.approx(steps[i].item(), rel=1e-6)
        for j, t in enumerate(names):
            assert row[f"hessian/{s}/{t}"] == pytest.approx(H[i, j].item(), rel=1e-7, abs=1e-12)
            assert row[f"inverse/{s}/{t}"] == pytest.approx(inverse[i, j].item(), rel=1e-5)
            assert row[f"coupling/{s}/{t}"] == pytest.approx(
                abs(H[i, j].item()) / (H[i, i] * H[j, j]).abs().sqrt().item(), rel=1e-7
            )
            assert row[f"inverse_coupling/{s}/{t}"] == pytest.approx(
                abs(inverse[i, j].item()) / abs(inverse[i, i] * inverse[j, j]).sqrt().item(), rel=1e-6
            )
    others = [row[f"coupling/{s}/{t}"] for s in names for t in names if s != t]
    assert row["coupling/hessian"] == pytest.approx(sum(others) / len(others))
    assert len(rows(record, "eval")) == 2 and "eta/1.weight" in rows(record, "eval")[0]


def test_a_partition_that_is_none():
    with pytest.raises(UsageError, match="partition: got 'layers', allowed: canonical | trivial"):
        trained("summary", own={"partition": "layers"})


# differences


def test_a_step_size_a_row():
    _, record = trained("differences", own={"points": 3, "smallest": -20.0, "largest": -2.0})
    found = rows(record, "train")
    assert [row.get("h") for row in found] == [pytest.approx(1e-20), pytest.approx(1e-11), pytest.approx(1e-2), None]
    for row in found[:2]:
        assert row["product/complex"] < 1e-13 and row["product/second"] < 1e-13
    assert found[0]["product/forward"] == found[0]["product/central"] == 1.0  # theta + hp rounds to theta
    assert 1e-6 < found[2]["product/central"] < found[2]["product/forward"] < 1


def test_errors_of_the_papers_function():
    """By Taylor: forward h f''/2f', central and complex h^2 f'''/6f', with derivatives computed here."""
    f = lambda x: x.exp() / (x * x + 1)  # noqa: E731
    x = torch.tensor(10.0, dtype=torch.float64)
    d = [torch.func.grad(f)]
    for _ in range(3):
        d.append(torch.func.grad(d[-1]))
    one, two, three, four = (g(x).item() for g in d)
    found = of_the_example(1e-3)
    assert found["forward"] == pytest.approx(1e-3 * abs(two / one) / 2, rel=1e-2)
    assert found["central"] == pytest.approx(1e-6 * abs(three / one) / 6, rel=1e-2)
    assert found["complex"] == pytest.approx(1e-6 * abs(three / one) / 6, rel=1e-2)
    assert found["second"] == pytest.approx(1e-6 * abs(four / two) / 6, rel=1e-2)
    assert max(of_the_example(1e-20)[name] for name in ("complex", "second")) < 1e-14


# product_time


def test_each_way_is_timed_once_a_run_and_all_are_the_same_product():
    trainer, record = trained("product_time", own={"repeats": 2})
    first, *rest = rows(record, "train")
    assert all(first[f"product_seconds/{name}"] > 0 for name in PRODUCTS)
    assert not any(key.startswith("product_seconds") for row in rest for key in row)
    f = trainer.problem.first_objective()
    p = f.value_and_grad()[1]
    exact = PRODUCTS["autograd"](f, p)
    for name, error in (("complex_step", 1e-12), ("forward_difference", 1e-5)):
        assert math.isclose((PRODUCTS[name](f, p) - exact).norm() / exact.norm(), 0, abs_tol=error)
