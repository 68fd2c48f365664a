"""Newton and damped Newton against dense solves of the Hessian that plain autograd gives."""

import math

import pytest
import torch
from objectives import make, moved
from problems import LOSSES, Dense, error, noise
from torch import nn

from sobench import Objective
from sobench.losses import SquaredError
from sobench.optim.newton import DampedNewton, Newton


@pytest.mark.parametrize("outputs", [1, 3])
def test_newton_minimises_a_quadratic_in_one_step(outputs, device):
    x, t = noise((8, 4), 1).to(device), noise((8, outputs), 2).to(device)
    model = nn.Linear(4, outputs).double().to(device)
    f = Objective(model, SquaredError(), (x, t))
    optimizer = Newton(model.parameters(), lr=1.0)
    optimizer.step(f)
    solution = torch.linalg.lstsq(torch.cat([x, torch.ones_like(x[:, :1])], 1), t).solution
    assert error(torch.cat([model.weight.T, model.bias[None]]), solution) < 1e-12
    assert f.value_and_grad()[1].norm() < 1e-13 and optimizer.diagnostics == {"solve": "definite"}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("model", ["mlp_tanh", "mlp_relu", "conv_maxpool", "batchnorm", "autoencoder"])
def test_the_damped_step_is_a_dense_solve(model, loss, device):
    p, f = make(model, loss, device, l2=0.1)
    expected = Dense(p)
    value, g, H = expected.value.detach(), expected.gradient.detach(), expected.hessian
    damping = 0.5 - min(0.0, torch.linalg.eigvalsh(H)[0].item())
    step, returned = moved(optimizer := DampedNewton(p.model.parameters(), lr=0.7, damping=damping), f)
    assert error(step, -0.7 * torch.linalg.solve(H + damping * torch.eye(len(g)).to(H), g)) < 1e-11
    assert error(returned, value) < 1e-12 and optimizer.diagnostics == {"solve": "definite"}


def test_infinite_damping_is_scaled_gradient_descent(device):
    for damping in (1e3, 1e6):
        p, f = make(device=device)
        g = Dense(p).gradient.detach()
        step, _ = moved(DampedNewton(p.model.parameters(), lr=0.7, damping=damping), f)
        assert error(step * damping / 0.7, -g) < 5 / damping


def test_no_damping_is_newton(device):
    steps = []
    for make_optimizer in (lambda q: Newton(q, lr=0.3), lambda q: DampedNewton(q, lr=0.3, damping=0.0)):
        p, f = make(device=device)
        steps.append(moved(make_optimizer(p.model.parameters()), f)[0])
    assert torch.equal(*steps)


def test_an_indefinite_hessian_is_inverted_as_it_is_and_recorded(device):
    p, f = make("mlp_tanh", "squared_error", device, l2=0.01)
    H, g = Dense(p).hessian, Dense(p).gradient.detach()
    eigenvalues = torch.linalg.eigvalsh(H)
    assert eigenvalues[0] < 0 and eigenvalues.abs().min() > 1e-6
    step, _ = moved(optimizer := Newton(p.model.parameters(), lr=1.0), f)
    assert error(step, -torch.linalg.solve(H, g)) < 1e-8 and optimizer.diagnostics == {"solve": "indefinite"}


@pytest.mark.parametrize("dead_input", [False, True])
def test_a_singular_hessian_takes_the_pseudo_inverse_and_is_recorded(dead_input, device):
    """Softmax outputs are invariant under a common shift, so the Hessian has C directions of no curvature."""
    p, f = make("mlp_tanh", "cross_entropy", device)
    if dead_input:
        f.batch.inputs[:, 1] = 0
    p.model[0].requires_grad_(False), p.model[2].requires_grad_(False)
    f = Objective(p.model, p.loss, f.batch)
    H, g = Dense(p).hessian, Dense(p).gradient.detach()
    step, _ = moved(optimizer := Newton(p.model.parameters(), lr=1.0), f)
    assert error(step, -torch.linalg.pinv(H, hermitian=True) @ g) < 1e-8
    assert optimizer.diagnostics == {"solve": "singular"}


def test_an_input_that_is_never_on_is_dropped(device):
    """MNIST's border: a row of exact zeros. The step there is zero, the rest is the smaller system's."""
    x, t = noise((8, 4), 1).to(device), noise((8, 1), 2).to(device)
    x[:, 2] = 0
    model = nn.Linear(4, 1).double().to(device)
    kept = model.weight[0, 2].item()
    f = Objective(model, SquaredError(), (x, t))
    optimizer = Newton(model.parameters(), lr=1.0)
    optimizer.step(f)
    assert model.weight[0, 2].item() == kept and f.value_and_grad()[1].norm() < 1e-13
    assert optimizer.diagnostics == {"solve": "singular"}


def test_what_is_not_finite_diverges_and_is_recorded(device):
    p, f = make(device=device)
    f.batch.inputs[0, 0] = math.nan
    loss = (optimizer := Newton(p.model.parameters())).step(f)
    assert loss.isnan() and f.space.get().isnan().all() and optimizer.diagnostics == {"solve": "not_finite"}
