"""SMW-GN, SMW-NG and SMW-NG-BD against the damped system solved densely, and algorithm 23's rules around it."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from forwards import Model
from objectives import moved, objective, through_a_file
from problems import LOSSES, Dense, Problem, error, noise, problem, targets
from torch import nn

from sobench.errors import UsageError
from sobench.objective.layers import rows as layer_rows
from sobench.optim.smw import SMWGN, SMWNG, SMWNGBD
from sobench.training.streams import Streams

METHODS = {"gn": SMWGN, "ng": SMWNG, "bd": SMWNGBD}
METHOD = pytest.mark.parametrize("method", METHODS)
SHAPES = {"mlp": (4,), "sequence": (2, 4), "conv": (2, 5, 4), "recurrent": (3,), "two_scales": (2, 4, 4)}
N, TAU = 7, 0.01


def network(kind, outputs):
    """conv has stride, padding and a layer without a bias; sequence a Linear layer with two locations.

    recurrent and two_scales call a layer twice.
    """
    return {
        "mlp": lambda: nn.Sequential(
            nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3, bias=False), nn.Sigmoid(), nn.Linear(3, outputs)
        ),
        "sequence": lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Flatten(), nn.Linear(10, outputs)),
        "conv": lambda: nn.Sequential(
            nn.Conv2d(2, 3, 3, stride=(2, 1), padding=1, bias=False),
            nn.Tanh(),
            nn.Conv2d(3, 4, 2),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(24, outputs),
        ),
        "recurrent": lambda: Model(
            lambda self, x: self.last(self.layer(self.layer(x).tanh()).tanh()),
            layer=nn.Linear(3, 3),
            last=nn.Linear(3, outputs),
        ),
        "two_scales": lambda: Model(
            lambda self, x: self.last(sum(self.layer(y).tanh().mean((2, 3)) for y in (x, F.avg_pool2d(x, 2)))),
            layer=nn.Conv2d(2, 3, 2, padding=1),
            last=nn.Linear(3, outputs),
        ),
    }[kind]()


def small(kind="mlp", loss="cross_entropy", outputs=3, l2=0.0, device="cpu"):
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        net = network(kind, outputs).double().to(device)
    under_test, formula = LOSSES[loss]
    batch = noise((N, *SHAPES[kind]), 6).to(device), targets(under_test, N, outputs).to(device)
    return Problem(kind, net, under_test, formula, batch, l2)


def drawn(p, count, step=1):
    """S2: the first numbers of the step's probe stream."""
    if count is None or count >= len(p.batch[0]):
        return torch.arange(len(p.batch[0]))
    device = p.batch[0].device
    return torch.randperm(len(p.batch[0]), generator=Streams(0, device).at(step).generator("probe"), device=device)[
        :count
    ]


def matrix(p, method, index):
    """B without the penalty, [P, P], of the samples `index`."""
    d = Dense(Problem(p.name, p.model, p.loss, p.formula, p.batch))
    if method == "gn":
        z = d.outputs.detach()[index]
        H = torch.stack(
            [
                torch.autograd.functional.hessian(lambda z, t=t: p.formula(z[None], t[None])[0], one)
                for one, t in zip(z, p.batch[1][index])
            ]
        )
        return torch.einsum("ncp,ncd,ndq->pq", d.jacobian[index], H, d.jacobian[index]) / len(index)
    B = d.per_sample[index].T @ d.per_sample[index] / len(index)
    return B * blocks(p.model) if method == "bd" else B


def blocks(model):
    """1 where two parameters are of one layer, [P, P]."""
    layer = torch.cat([torch.full((p.numel(),), hash(name.rpartition(".")[0])) for name, p in model.named_parameters()])
    return (layer[:, None] == layer).double().to(next(model.parameters()).device)


def direction(p, method, damping, count=None, step=1):
    """-(B + lambda I)^-1 g, densely, and g."""
    B, g = matrix(p, method, drawn(p, count, step)), Dense(p).gradient.detach()
    return -torch.linalg.solve(B + (damping + TAU + p.l2) * torch.eye(len(g)).to(B), g), g


def make(method, p, **options):
    return METHODS[method](
        p.model.parameters(), **{"lr": 1.0, "damping": 0.5, "tau": TAU, "curvature_batch": None} | options
    )


CASES = [
    ("cross_entropy", 3),
    ("cross_entropy", 10),
    ("squared_hinge", 3),
    ("binary_cross_entropy", 1),
    ("binary_cross_entropy", 10),
    ("squared_error", 1),
    ("squared_error", 10),
]


# The direction


@METHOD
@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize(("loss", "outputs"), CASES)
def test_the_step_is_the_dense_damped_solve(method, kind, loss, outputs, device):
    for l2, count in [(0.0, None), (0.3, 3)]:
        p = small(kind, loss, outputs, l2, device)
        expected, _ = direction(p, method, 0.5, count)
        value = Dense(p).value
        step, returned = moved(make(method, p, lr=0.7, curvature_batch=count), objective(p))
        assert error(step, 0.7 * expected) < 1e-10 and error(returned, value) < 1e-12


@METHOD
@pytest.mark.parametrize("count", [1, 2, N - 1, N, N + 1, 100])
def test_the_curvature_is_of_a_random_part_of_the_batch_or_all_of_it(method, count, device):
    p = small(device=device)
    expected, _ = direction(p, method, 0.5, count)
    assert error(moved(make(method, p, curvature_batch=count), objective(p))[0], expected) < 1e-10
    if count < N:
        other, _ = direction(p, method, 0.5, count, step=2)
        assert error(expected, other) > 1e-3


@METHOD
@pytest.mark.parametrize("kind", ["sequence", "conv"])
@pytest.mark.parametrize("by_rows", [True, False], ids=["rows formed", "pairs of locations"])
def test_either_way_to_a_gram_matrix_gives_it(method, kind, by_rows, device, monkeypatch):
    made = []
    rows = layer_rows._gram_of_rows
    monkeypatch.setattr(layer_rows, "CHUNK", 1)
    monkeypatch.setattr(layer_rows, "_rows_are_cheaper", lambda T, I, D: by_rows)
    monkeypatch.setattr(layer_rows, "_gram_of_rows", lambda *args: made.append(args) or rows(*args))
    p = small(kind, device=device)
    expected, _ = direction(p, method, 0.5, 3)
    assert error(moved(make(method, p, curvature_batch=3), objective(p))[0], expected) < 1e-10
    assert bool(made) == by_rows


@METHOD
def test_infinite_damping_is_scaled_gradient_descent(method, device):
    for damping in (1e4, 1e7):
        p = small(device=device)
        _, g = direction(p, method, damping)
        step, _ = moved(make(method, p, damping=damping), objective(p))
        assert error(step * damping, -g) < 50 / damping


def test_the_blocks_of_bd_are_layers(device):
    """One layer: both are the same. Two: they differ."""
    for layers, same in ((1, True), (2, False)):
        steps = []
        for method in ("ng", "bd"):
            p = small(device=device)
            p.model = nn.Sequential(*list(network("mlp", 3))[: layers * 2 - 1]).double().to(device)
            with torch.no_grad():
                [q.copy_(noise(q.shape, i)) for i, q in enumerate(p.model.parameters())]
            steps.append(moved(make(method, p), objective(p))[0])
        assert (error(*steps) < 1e-12) == same


@METHOD
def test_parameters_without_a_layer_follow_the_gradient(method, device):
    p = problem("batchnorm_eval", "cross_entropy", l2=0.2, device=device)
    B, g = matrix(p, method, torch.arange(len(p.batch[0]))), Dense(p).gradient.detach()
    owner = torch.cat([torch.full((q.numel(),), not name.startswith("1.")) for name, q in p.model.named_parameters()])
    B = B * torch.outer(owner, owner).to(B)
    expected = -torch.linalg.solve(B + (0.5 + TAU + 0.2) * torch.eye(len(g)).to(g), g)
    assert error(moved(make(method, p), objective(p))[0], expected) < 1e-10
    assert error(expected[~owner], -g[~owner] / (0.7 + TAU)) < 1e-12


def test_with_batchnorm_in_training_mode_rows_are_parts_of_the_gradient(device):
    p = problem("batchnorm", "cross_entropy", device=device)
    step, _ = moved(make("ng", p, damping=1e7), objective(p))
    assert error(step * 1e7, -Dense(p).gradient) < 1e-4


# Levenberg and Marquardt


@METHOD
def test_rho_is_of_the_whole_direction_and_moves_the_damping(method, device):
    seen = set()
    for damping, lr in [(0.02, 0.1), (1.0, 0.1), (1.0, 3.0), (30.0, 0.5)]:
        p = small("mlp", "squared_error", 4, l2=0.05, device=device)
        with torch.no_grad():
            [q.mul_(4) for q in p.model.parameters()]
        direction_, g = direction(p, method, damping, 4)
        theta = p.theta
        decrease = Dense(p).value - Dense(p, theta + direction_).value
        rho = decrease / (-0.5 * g @ direction_)
        optimizer = make(method, p, damping=damping, lr=lr, boost=1.7, drop=0.6, curvature_batch=4)
        optimizer.step(objective(p))
        assert error(optimizer.diagnostics["rho"], rho) < 1e-8 and optimizer.diagnostics["damping"].item() == damping
        factor = 1.7 if rho < 0.25 else 0.6 if rho > 0.75 else 1.0
        assert optimizer.global_state["damping"].item() == pytest.approx(factor * damping, rel=1e-12)
        seen.add(factor)
    assert len(seen) > 1


def test_the_next_step_uses_the_new_damping(device):
    p = small(device=device)
    optimizer = make("ng", p, boost=2.0, drop=0.5)
    optimizer.step(objective(p))
    assert optimizer.global_state["damping"].item() in (0.25, 1.0)
    expected, _ = direction(p, "ng", optimizer.global_state["damping"].item())
    assert error(moved(optimizer, objective(p, 2))[0], expected) < 1e-10


def test_a_step_that_raises_the_loss_is_taken_and_fails(device):
    p = small(device=device)
    optimizer = make("ng", p, lr=1e3, damping=1e-6, tau=0.0)
    f = objective(p)
    before = f.loss()
    step, _ = moved(optimizer, f)
    assert f.loss() > before and step.norm() > 1


def test_the_model_is_exact_where_the_loss_is_its_own_quadratic(device):
    """A linear model, squared error, the whole batch: f(theta + p) - f differs from m by the damping's part alone."""
    p = small(device=device, loss="squared_error", outputs=2)
    p.model = nn.Sequential(nn.Linear(4, 2)).double().to(device)
    optimizer = make("gn", p, damping=1e-9, tau=0.0)
    optimizer.step(objective(p))
    assert optimizer.diagnostics["rho"].item() == pytest.approx(1.0, abs=1e-5)
    assert Dense(p).gradient.norm() < 1e-6


# Around it


@METHOD
def test_a_resumed_run_has_the_same_bits(method, device):
    p = small(device=device)
    q = copy.deepcopy(p)
    straight, first = make(method, p, curvature_batch=3), make(method, q, curvature_batch=3)
    for step in range(1, 5):
        straight.step(objective(p, step))
    for step in (1, 2):
        first.step(objective(q, step))
    second = make(method, q, curvature_batch=3, damping=9.0)
    second.load_state_dict(through_a_file(first.state_dict()))
    for step in (3, 4):
        second.step(objective(q, step))
    assert q.theta.equal(p.theta) and second.global_state["damping"].equal(straight.global_state["damping"])


@METHOD
def test_the_work_of_a_step(method, device):
    """A forward and a backward pass in two halves, one more half for each output (GN), and the loss at theta + p."""
    p = small(device=device)
    f = objective(p)
    optimizer = make(method, p)
    optimizer.step(f)
    backwards, passes = (2, 4 + 3) if method == "gn" else (1, 4)
    assert f.cost.counts() == {
        "forwards": 2,
        "backwards": backwards,
        "products": 0,
        "samples": 2 * N,
        "passes": N * passes,
    }
    assert f.cost.used == optimizer.requires


@METHOD
def test_what_is_not_finite_is_not_hidden(method, device):
    p = small(device=device)
    with torch.no_grad():
        p.model[0].weight[0, 0] = math.nan
    optimizer = make(method, p, boost=2.0)
    step, loss = moved(optimizer, objective(p))
    assert loss.isnan() and step.isnan().all() and optimizer.global_state["damping"].item() == 1.0


def test_no_damping_at_all_is_refused():
    with pytest.raises(UsageError, match=r"damping, tau: got 0\.0 and 0\.0, allowed: a sum above 0"):
        SMWNG(small().model.parameters(), damping=0.0, tau=0.0)
