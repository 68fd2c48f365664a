"""Martens' Hessian-free method against the dense damped step, and each of its rules against a step made by hand."""

import copy
import math

import pytest
import torch
from objectives import make, moved, objective, through_a_file
from problems import LOSSES, Dense, error, problem
from torch import nn

from sobench import Objective
from sobench.linalg import cg
from sobench.linalg.cg_descent import cg_descent
from sobench.losses import SquaredError
from sobench.optim.hessian_free import HessianFree
from sobench.optim.subsample import subsample
from sobench.training.streams import Streams

EXACT = {"cg_tol": 0.0, "cg_iterations": 2000}


REACHED = {"cpu": 1e-8, "cuda": 1e-5}
"""CG ends where phi makes no more progress. phi is known to the rounding of the device's sums, the step to its root."""


def system(p, damping, index=None):
    """G + damping I, of the samples `index` or all, and g."""
    part = p if index is None else copy.copy(p)
    if index is not None:
        part.batch = tuple(t[index] for t in p.batch)
    G, g = Dense(part).ggn, Dense(p).gradient.detach()
    return G + damping * torch.eye(len(g)).to(G), g


def loss_at(p, theta):
    return Dense(p, theta).value.item()


# The direction


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("model", ["mlp_tanh", "conv_maxpool", "batchnorm", "autoencoder"])
def test_cg_run_to_the_end_is_the_dense_damped_step(model, loss, device):
    for l2 in (0.0, 0.3):
        p = problem(model, loss, l2=l2, device=device)
        A, g = system(p, 100.0)
        value, theta = Dense(p).value, p.theta
        expected = -torch.linalg.solve(A, g)
        optimizer = HessianFree(p.model.parameters(), damping=60.0, tau=40.0, **EXACT)
        step, returned = moved(optimizer, objective(p))
        assert optimizer.diagnostics["rate"] == 1.0 and optimizer.diagnostics["cg_status"] == "converged"
        assert error(step, expected) < REACHED[device.type] and error(returned, value) < 1e-12
        rho = (value - loss_at(p, theta + expected)) / (-0.5 * g @ expected)
        assert error(optimizer.diagnostics["rho"], rho) < 1e-6


@pytest.mark.parametrize("loss", LOSSES)
def test_with_little_damping_the_solution_is_still_the_dense_one(loss, device):
    """The step may be of an earlier iterate; what the next solve starts from is not."""
    p = problem("mlp_tanh", loss, l2=0.01, device=device)
    A, g = system(p, 0.05)
    optimizer = HessianFree(p.model.parameters(), damping=0.05, **EXACT)
    optimizer.step(objective(p))
    assert error(optimizer.global_state["solution"], -torch.linalg.solve(A, g)) < 1e-10


@pytest.mark.parametrize("count", [2, 5, 6, 7, None])
def test_the_curvature_may_be_of_a_part_of_the_batch(count, device):
    p = problem("mlp_tanh", "cross_entropy", l2=0.1, device=device)
    index = None
    if count is not None and count < 6:
        index = torch.randperm(6, generator=Streams(0, device).at(1).generator("probe"), device=device)[:count]
    A, g = system(p, 2.0, index)
    step, _ = moved(HessianFree(p.model.parameters(), damping=2.0, curvature_batch=count, **EXACT), objective(p))
    assert error(step, -torch.linalg.solve(A, g)) < 1e-8


def test_infinite_damping_is_scaled_gradient_descent(device):
    p = problem("mlp_tanh", "cross_entropy", device=device)
    g = Dense(p).gradient.detach()
    step, _ = moved(HessianFree(p.model.parameters(), damping=1e6), objective(p))
    assert error(step * 1e6, -g) < 1e-5


def test_a_truncated_run_stops_by_its_progress(device):
    """A system that takes CG many iterations; the iterate taken is one of those kept."""
    p = problem("mlp_tanh", "squared_error", device=device)
    A, g = system(p, 1e-3)
    optimizer = HessianFree(p.model.parameters(), damping=1e-3, cg_tol=2e-3)
    step, _ = moved(optimizer, objective(p))
    kept, status = cg_descent(A, -g, max_iterations=250, tol=2e-3)
    assert (status, kept[-1].k) == (optimizer.diagnostics["cg_status"], optimizer.diagnostics["cg_iterations"])
    (chosen,) = [one for one in kept if one.k == optimizer.diagnostics["cg_chosen"]]
    assert error(step, optimizer.diagnostics["rate"] * chosen.x) < 1e-6


# The warm start


def test_the_next_solve_starts_from_the_decayed_solution(device):
    for decay in (0.0, 0.5, 0.95):
        p = problem("mlp_tanh", "cross_entropy", device=device)
        optimizer = HessianFree(p.model.parameters(), damping=1.0, boost=1.0, drop=1.0, cg_iterations=2, cg_decay=decay)
        A, g = system(p, 1.0)
        optimizer.step(objective(p))
        first = cg(A, -g, max_iterations=2, tol=0.0).x
        assert error(optimizer.global_state["solution"], first) < 1e-9
        A, g = system(p, 1.0)
        optimizer.step(objective(p, 2))
        assert error(optimizer.global_state["solution"], cg(A, -g, decay * first, max_iterations=2, tol=0.0).x) < 1e-9


def test_the_last_iterate_is_carried_on_whichever_was_chosen(device):
    p, optimizer, f = overshooting(device)
    A, g = system(p, 0.01)
    optimizer.step(f)
    assert optimizer.diagnostics["cg_chosen"] < optimizer.diagnostics["cg_iterations"]
    kept, _ = cg_descent(A, -g, max_iterations=7, tol=5e-4)
    assert error(optimizer.global_state["solution"], kept[-1].x) < 1e-5


# Going back, and along


def overshooting(device):
    """Large weights and little damping: the last iterate goes too far, and the ones before it less so."""
    p = problem("autoencoder", "cross_entropy", device=device)
    with torch.no_grad():
        [q.mul_(3) for q in p.model.parameters()]
    return p, HessianFree(p.model.parameters(), damping=0.01, cg_iterations=7), objective(p)


def test_goes_back_while_the_loss_falls_then_shrinks_the_rate_until_it_descends(device):
    p, optimizer, f = overshooting(device)
    (A, g), theta, value = system(p, 0.01), p.theta, Dense(p).value.item()
    step, _ = moved(optimizer, f)
    kept, _ = cg_descent(A, -g, max_iterations=7, tol=5e-4)
    losses = [loss_at(p, theta + one.x) for one in kept]
    best = len(kept) - 1
    while best > 0 and losses[best - 1] < losses[best]:
        best -= 1
    assert 0 < best < len(kept) - 1
    assert optimizer.diagnostics["cg_chosen"] == kept[best].k and min(losses) < losses[best] < losses[-1]
    t = 1.0
    while loss_at(p, theta + t * kept[best].x) > value + 0.01 * t * float(g @ kept[best].x):
        t *= 0.8
    assert optimizer.diagnostics["rate"] == pytest.approx(t)
    assert error(step, t * kept[best].x) < 1e-6
    rho = (value - losses[best]) / -kept[best].quadratic
    assert optimizer.diagnostics["rho"].item() == pytest.approx(rho, rel=1e-6)


def test_the_search_starts_at_lr(device):
    p = problem("mlp_tanh", "cross_entropy", device=device)
    A, g = system(p, 2.0)
    optimizer = HessianFree(p.model.parameters(), lr=0.3, damping=2.0, **EXACT)
    step, _ = moved(optimizer, objective(p))
    assert optimizer.diagnostics["rate"] == 0.3 and error(step, -0.3 * torch.linalg.solve(A, g)) < 1e-8


class Cusp(nn.Module):
    """z = -|w| x: the gradient at w > 0 points past the kink, and an apparent descent from a minimum is none."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))

    def forward(self, x):
        return torch.where(self.w == 1.0, self.w, self.w.detach() + 5.0) * x


def test_where_no_rate_lowers_the_loss_theta_stays_and_the_damping_grows(device):
    model, one = Cusp().to(device), torch.ones(1, 1, dtype=torch.float64, device=device)
    f = Objective(model, LOSSES["squared_error"][0], (one, 0 * one))
    optimizer = HessianFree(model.parameters(), damping=2.0)
    step, _ = moved(optimizer, f)
    assert step.item() == 0.0 and optimizer.diagnostics["rate"] == 0.0
    assert optimizer.global_state["damping"].item() == 3.0
    assert f.cost.forwards == 1 + 1 + 59  # the gradient's, the iterate's, and 59 more rates


# The damping


@pytest.mark.parametrize(("damping", "factor"), [(1e-3, 1.5), (50.0, 2 / 3)])
def test_the_damping_moves_by_martens_factors(damping, factor, device):
    p, _, f = overshooting(device)
    optimizer = HessianFree(p.model.parameters(), damping=damping)
    optimizer.step(f)
    assert (optimizer.diagnostics["rho"] > 0.75).item() == (factor < 1)
    assert optimizer.global_state["damping"].item() == pytest.approx(factor * damping, rel=1e-12)


def test_a_model_that_predicts_a_rise_is_not_trusted(device):
    """From a far start and with one iteration q(p) > 0: whatever the loss did, the damping grows."""
    p = problem("mlp_tanh", "cross_entropy", device=device)
    optimizer, f = HessianFree(p.model.parameters(), damping=1.0, cg_iterations=1), objective(p)
    optimizer.warm_start(f)
    optimizer.global_state["solution"] = 100 * torch.ones_like(p.theta)
    optimizer.step(f)
    assert optimizer.diagnostics["rho"].isnan() and optimizer.global_state["damping"].item() == 1.5


# Around it


def test_a_resumed_run_has_the_same_bits(device):
    p = problem("mlp_tanh", "cross_entropy", device=device)
    q, options = copy.deepcopy(p), {"curvature_batch": 4, "cg_iterations": 5}
    straight, first = HessianFree(p.model.parameters(), **options), HessianFree(q.model.parameters(), **options)
    for step in range(1, 5):
        straight.step(objective(p, step))
    for step in (1, 2):
        first.step(objective(q, step))
    second = HessianFree(q.model.parameters(), **options)
    second.load_state_dict(through_a_file(first.state_dict()))
    for step in (3, 4):
        second.step(objective(q, step))
    assert q.theta.equal(p.theta) and second.global_state["damping"].equal(straight.global_state["damping"])


def test_the_work_of_a_step(device):
    """A forward, the gradient and J^T u, a product an iteration, and a forward for each iterate that is looked at."""
    p = problem("mlp_tanh", "cross_entropy", device=device)
    f = objective(p)
    optimizer = HessianFree(p.model.parameters(), damping=5.0, cg_iterations=3, cg_tol=0.0)
    optimizer.step(f)
    looked_at = 2  # the last, and the one before it, which is worse
    assert f.cost.counts() == {
        "forwards": 1 + looked_at,
        "backwards": 2,
        "products": 3,
        "samples": 6 * (1 + looked_at),
        "passes": 6 * (1 + 4 + 3 * 4 + looked_at),
    }
    assert f.cost.used == optimizer.requires


def test_a_loss_that_is_not_a_number_is_not_hidden(device):
    p = problem("mlp_tanh", "cross_entropy", device=device)
    with torch.no_grad():
        p.model[0].weight[0, 0] = math.nan
    optimizer = HessianFree(p.model.parameters())
    _, loss = moved(optimizer, objective(p))
    assert loss.isnan() and optimizer.diagnostics["cg_status"] == "not_finite"


def test_a_direction_along_which_the_model_is_flat_is_not_predicted():
    """z = u v x at u = v = 0: g = 0 and B = 0, so q = 0 everywhere, while f falls along (1, 1)."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)).double()
    for p in model.parameters():
        nn.init.zeros_(p)
    x = torch.ones(2, 1, dtype=torch.float64)
    optimizer, f = HessianFree(model.parameters(), damping=0.0, tau=0.0), Objective(model, SquaredError(), (x, x))
    optimizer.warm_start(f)
    optimizer.global_state["solution"] = torch.ones(2, dtype=torch.float64)
    optimizer.step(f)
    assert optimizer.diagnostics["rho"].isnan()


def test_a_part_of_a_batch_on_a_model_of_one_tensor():
    """For inputs of zero f is the penalty alone: (l2 + lambda) p = -l2 theta."""
    model = nn.Linear(2, 1, bias=False).double()
    x = torch.zeros(6, 2, dtype=torch.float64)
    f = Objective(model, SquaredError(), (x, x[:, :1]), l2=0.5, streams=Streams(0).at(1))
    theta = f.space.get()
    HessianFree(model.parameters(), damping=1.0, curvature_batch=2).step(f)
    assert error(f.space.get(), theta - 0.5 * theta / 1.5) < 1e-12


def test_a_part_as_large_as_the_batch_is_the_batch_in_its_order():
    _, f = make("mlp_tanh", "cross_entropy", step=1)
    assert subsample(f, len(f)) is None and subsample(f, None) is None
    assert len(set(subsample(f, len(f) - 1).tolist())) == len(f) - 1
