"""Poisson's equation as samples: the solution satisfies them, and the losses are those that the docstring states."""

import math

import pytest
import torch

from sobench.data.poisson import _solution, _source, poisson
from sobench.losses import SquaredError


@pytest.mark.parametrize("solution", ["sines", "cosines"])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_source_is_minus_the_laplacian_of_the_solution(solution, d):
    x = torch.rand(5, d, dtype=torch.float64)
    laplacian = [torch.func.hessian(lambda x: _solution(solution, x[None])[0, 0])(point).trace() for point in x]
    torch.testing.assert_close(_source(solution, x)[:, 0], -torch.stack(laplacian))


def outputs(x, d, solution, c):
    """What a network would put out whose function is c times the solution."""
    u, f = c * _solution(solution, x[:, :d]), c * _source(solution, x[:, :d])
    return x[:, d : d + 1] * u - x[:, d + 1 :] * f


@pytest.mark.parametrize("solution", ["sines", "cosines"])
def test_the_solution_has_the_loss_zero_and_another_function_that_of_the_definition(solution):
    d, c = 3, 1.25
    data = poisson(dimension=d, solution=solution, interior=50, boundary=20, test=40)
    x, y = data.train
    loss = SquaredError()
    assert loss(outputs(x, d, solution, 1.0), y) < 1e-24
    inside, faces = x[x[:, d + 1] != 0][:, :d], x[x[:, d] != 0][:, :d]
    equation = ((c - 1) * _source(solution, inside)).square().mean() / 2
    boundary = ((c - 1) * _solution(solution, faces)).square().mean() / 2
    torch.testing.assert_close(loss(outputs(x, d, solution, c), y), equation + boundary)
    x, y = data.test
    error = (outputs(x, d, solution, c) - y).square().mean().sqrt()
    assert math.isclose(float(error), c - 1), "a relative error"


def test_the_points_are_where_they_belong_and_always_the_same():
    data, again = poisson(dimension=2, boundary=120), poisson(dimension=2, boundary=120)
    assert torch.equal(data.train[0], again.train[0]) and data.coordinates == 2
    assert str(data) == "poisson: 1020 train, 2000 test, inputs 4, 1 real targets, sines"
    x = data.train[0]
    faces = x[x[:, 2] != 0][:, :2]
    assert len(faces) == 120 and ((x[:, :2] >= 0) & (x[:, :2] <= 1)).all()
    for axis in range(2):
        for side in (0.0, 1.0):
            assert (faces[:, axis] == side).sum() == 30
