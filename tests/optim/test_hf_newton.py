"""Hessian-free Newton and Gauss-Newton against dense damped steps, and against textbook conjugate gradients."""

import pytest
import torch
from objectives import make, moved
from problems import LOSSES, Dense, error, pairs, problem
from torch import nn

import sobench
from sobench import Objective
from sobench.losses import SquaredError
from sobench.optim.hf_newton import HessianFreeGaussNewton, HessianFreeNewton

METHODS = {"hessian": HessianFreeNewton, "ggn": HessianFreeGaussNewton}
BOTH = pytest.mark.parametrize("matrix", METHODS)


def textbook_cg(A, b, tol, most):
    """Hestenes and Stiefel, from zero: x, the updates made, and whether a direction of p'Ap <= 0 ended it."""
    x, r, p, k = torch.zeros_like(b), b.clone(), b.clone(), 0
    while r.norm() > tol * b.norm() and k < most:
        if p @ A @ p <= 0:
            return x, k, True
        alpha = (r @ r) / (p @ A @ p)
        x, s = x + alpha * p, r - alpha * (A @ p)
        r, p, k = s, s + (s @ s) / (r @ r) * p, k + 1
    return x, k, False


@BOTH
@pytest.mark.parametrize(
    ("model", "loss"), pairs(["mlp_tanh", "mlp_relu", "conv_maxpool", "batchnorm", "autoencoder"], list(LOSSES))
)
def test_cg_run_to_convergence_is_the_dense_damped_step(model, loss, matrix, device):
    p, f = make(model, loss, device, l2=0.1)
    expected = Dense(p)
    B, g = getattr(expected, matrix), expected.gradient.detach()
    damping = 0.5 - min(0.0, torch.linalg.eigvalsh(B)[0].item())
    optimizer = METHODS[matrix](p.model.parameters(), lr=0.7, damping=damping, cg_iterations=500, cg_tol=1e-13)
    step, returned = moved(optimizer, f)
    assert error(step, -0.7 * torch.linalg.solve(B + damping * torch.eye(len(g)).to(B), g)) < 1e-8
    assert error(returned, expected.value) < 1e-12
    assert optimizer.diagnostics["cg_status"] == "converged" and 0 < optimizer.diagnostics["cg_iterations"] < 200


@BOTH
def test_cg_stops_by_its_tolerance_or_its_limit(matrix, device):
    for tol, most, status in [(1e-2, 100, "converged"), (1e-12, 3, "max_iterations")]:
        p, f = make(device=device)
        B, g = getattr(Dense(p), matrix), Dense(p).gradient.detach()
        optimizer = METHODS[matrix](p.model.parameters(), lr=0.5, damping=2.0, cg_iterations=most, cg_tol=tol)
        step, _ = moved(optimizer, f)
        x, k, _ = textbook_cg(B + 2.0 * torch.eye(len(g)).to(B), g, tol, most)
        assert error(step, -0.5 * x) < 1e-10
        assert optimizer.diagnostics == {"cg_iterations": k, "cg_status": status}


@BOTH
def test_infinite_damping_is_scaled_gradient_descent(matrix, device):
    for damping in (1e3, 1e6):
        p, f = make(device=device)
        g = Dense(p).gradient.detach()
        step, _ = moved(METHODS[matrix](p.model.parameters(), lr=0.7, damping=damping, cg_tol=1e-14), f)
        assert error(step * damping / 0.7, -g) < 5 / damping


def test_an_indefinite_hessian_ends_cg_at_the_iterate_so_far_and_is_recorded(device):
    p, f = make("mlp_tanh", "squared_error", device)
    H, g = Dense(p).hessian, Dense(p).gradient.detach()
    optimizer = HessianFreeNewton(p.model.parameters(), lr=1.0, damping=0.0, cg_tol=1e-10)
    step, _ = moved(optimizer, f)
    x, k, met_negative_curvature = textbook_cg(H, g, 1e-10, 100)
    assert met_negative_curvature and k > 0
    assert error(step, -x) < 1e-6 and step @ g < 0
    assert optimizer.diagnostics == {"cg_iterations": k, "cg_status": "negative_curvature"}


class Cosine(nn.Module):
    """z = cos w: concave in w about 0, so that (z + 3)^2 / 2 is too."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.5], dtype=torch.float64))

    def forward(self, x):
        return self.w.cos() * x


def test_negative_curvature_along_the_gradient_is_a_gradient_step_and_recorded(device):
    model, one = Cosine().to(device), torch.ones(1, 1, dtype=torch.float64, device=device)
    f = Objective(model, SquaredError(), (one, -3 * one))
    optimizer = HessianFreeNewton(model.parameters(), lr=0.1, damping=0.0)
    step, _ = moved(optimizer, f)
    w = torch.tensor([0.5], dtype=torch.float64, device=device)
    assert error(step, 0.1 * (w.cos() + 3) * w.sin()) < 1e-12
    assert optimizer.diagnostics == {"cg_iterations": 0, "cg_status": "negative_curvature"}


@BOTH
def test_the_work_of_a_step(matrix, device):
    """A forward, the gradient (and J^T u, for Gauss-Newton), and a product an iteration; no other oracle."""
    p, f = make(device=device)
    optimizer = METHODS[matrix](p.model.parameters(), damping=2.0, cg_iterations=4, cg_tol=0.0)
    optimizer.step(f)
    backwards = {"hessian": 1, "ggn": 2}[matrix]
    assert f.cost.counts() == {
        "forwards": 1,
        "backwards": backwards,
        "products": 4,
        "samples": 6,
        "passes": 6 * (1 + 2 * backwards + 4 * 4),
    }
    assert f.cost.used == optimizer.requires


def test_the_three_lines_of_the_readme(device):
    p = problem("mlp_relu", "cross_entropy", device=device)
    model, (x, y), expected = p.model, p.batch, Dense(p)
    f = sobench.Objective(model, sobench.losses.CrossEntropy(), (x, y))
    optimizer = sobench.load_optimizer("hf_gauss_newton")(model.parameters(), lr=0.5, damping=4.0)
    loss = optimizer.step(f)
    step = f.space.get() - expected.theta
    G = expected.ggn + 4.0 * torch.eye(len(step)).to(step)
    assert error(loss, expected.value) < 1e-12
    assert error(step, -0.5 * torch.linalg.solve(G, expected.gradient)) < 1e-4  # cg_tol is 1e-5
    assert f.loss() < loss
