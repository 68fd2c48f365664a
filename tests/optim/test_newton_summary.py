"""NewtonSummary: its step against dense derivatives, its degenerate cases, its invariance, its options one by one."""

import pytest
import torch
from harness import run_with
from objectives import make, moved
from problems import Dense, Source, error, noise, problem
from torch import nn

from sobench import Objective
from sobench.config import files
from sobench.errors import UsageError
from sobench.linalg.cubic import minimise_cubic
from sobench.losses import CrossEntropy, SquaredError
from sobench.objective.taylor.partition import make_partition
from sobench.optim.newton_summary import NewtonSummary
from sobench.training.streams import Streams
from sobench.training.trainer import Trainer


class Same:
    """A training set of which every independent batch is the batch itself."""

    def __init__(self, batch):
        self.batch = batch

    def draw(self, n, generator):
        return self.batch


def same(model="mlp_tanh", loss="cross_entropy", device="cpu", **options):
    """A problem, and its objective whose curvature is that of the same batch."""
    p, f = make(model, loss, device, **options)
    f.source = Same(p.batch)
    return p, f


def sequence(f, steps, optimizer):
    """theta after each of so many steps, [steps, P]."""
    found = []
    for k in range(1, steps + 1):
        optimizer.step(f.on(f.batch, Streams(0, f.space.get().device).at(k)))
        found.append(f.space.get())
    return torch.stack(found)


def test_discrete_without_damping_is_newton(device):
    p, f = same(device=device, l2=0.1)
    expected = Dense(p)
    step, loss = moved(NewtonSummary(p.model.parameters(), lambda_int=0.0, momentum=0.0, partition="discrete"), f)
    assert error(step, -torch.linalg.solve(expected.hessian, expected.gradient.detach())) < 1e-8
    assert error(loss, expected.value) < 1e-12


def test_trivial_without_damping_is_cauchys_steepest_descent(device):
    p, f = same("conv_avgpool", device=device)
    g, H = Dense(p).gradient.detach(), Dense(p).hessian
    step, _ = moved(NewtonSummary(p.model.parameters(), lambda_int=0.0, momentum=0.0, partition="trivial"), f)
    assert error(step, -(g @ g) / (g @ H @ g) * g) < 1e-10


def test_newton_on_a_quadratic_takes_one_step():
    torch.manual_seed(0)
    model = nn.Linear(3, 2).double()
    x, y = noise((9, 3), 1), noise((9, 2), 2)
    f = Objective(model, SquaredError(), (x, y), source=Same((x, y)))
    NewtonSummary(model.parameters(), lambda_int=3.0, momentum=0.0, partition="discrete").step(
        f
    )  # no third derivative: no damping
    _, g = f.value_and_grad()
    assert g.norm() < 1e-12


def test_infinite_damping_is_a_vanishing_step():
    lengths = []
    for damping in (1e2, 1e6, 1e10):
        p, f = same()
        lengths.append(moved(NewtonSummary(p.model.parameters(), lambda_int=damping, momentum=0.0), f)[0].norm().item())
    assert lengths[1] / lengths[2] == pytest.approx(100, rel=1e-2)  # ||D eta|| ~ lambda_int^(-1/2)


def test_the_step_by_dense_derivatives(device):
    """With momentum, an independent batch, lr and a damping: every term worked out here."""
    p, f = make(device=device)
    f.source = Source(p)
    theta, partition = p.theta, make_partition(f.space, "canonical")
    optimizer, momentum = NewtonSummary(p.model.parameters(), lr=0.3, lambda_int=2.0, momentum=0.9), 0
    for k in (1, 2, 3):
        step = f.on(f.batch, Streams(0, f.space.get().device).at(k))
        other = step.independent_batch().batch
        momentum = 0.9 * momentum + Dense(p, theta).gradient.detach()
        at = Dense(p, theta, other)
        U = torch.zeros(len(partition), len(theta)).to(theta)
        U[partition.labels, torch.arange(len(theta))] = momentum
        third = torch.stack([_third(p, theta, other, row) for row in U])
        eta = minimise_cubic(U @ at.hessian @ U.T, U @ at.gradient.detach(), third.abs() ** (1 / 3), 2.0).eta
        theta = theta - 0.3 * U.T @ eta
        optimizer.step(f.on(f.batch, Streams(0, f.space.get().device).at(k)))
        assert error(f.space.get(), theta) < 1e-9


def _third(p, theta, batch, v):
    """The third derivative along v, by Richardson's differences of v'Hv."""

    def bend(t):
        return v @ Dense(p, theta + t * v, batch).hessian @ v

    coarse, fine = ((bend(h) - bend(-h)) / (2 * h) for h in (2e-3 / v.norm(), 1e-3 / v.norm()))
    return (4 * fine - coarse) / 3


class Rescaled(nn.Module):
    """The same network in other coordinates: each of its tensors is (a tensor of this module - shift) / scale."""

    def __init__(self, model, scales, shifts):
        super().__init__()
        self.model, self.scales, self.shifts = [model], scales, shifts
        self.theta = nn.ParameterList(
            [nn.Parameter(a * p.detach() + b) for p, a, b in zip(model.parameters(), scales, shifts)]
        )

    def forward(self, x):
        model = self.model[0]
        values = ((p - b) / a for p, a, b in zip(self.theta, self.scales, self.shifts))
        return torch.func.functional_call(model, dict(zip(dict(model.named_parameters()), values)), (x,))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_trajectory_does_not_change_under_affine_reparameterisation(momentum):
    """Section 5.2: theta~ = alpha_s theta + beta_s in each group. Twenty steps, the same points."""
    scales, shifts = [0.1, 3.0, -2.0, 10.0, 0.5, 7.0], [0.3, -1.0, 0.0, 2.0, 0.1, -0.2]
    p, f = same()
    options = dict(lr=0.5, lambda_int=1.0, momentum=momentum)
    other = Rescaled(p.model, scales, shifts)
    there = Objective(other, p.loss, p.batch, source=Same(p.batch))
    path = sequence(there, 20, NewtonSummary(other.parameters(), **options))
    back = torch.cat(
        [
            (part - b) / a
            for part, a, b in zip(path.split([q.numel() for q in other.parameters()], dim=1), scales, shifts)
        ],
        dim=1,
    )
    here = sequence(f, 20, NewtonSummary(p.model.parameters(), **options))
    assert error(back, here) < 1e-8
    assert error(here[-1], here[0]) > 1e-2  # it moved


def test_diagonal_is_each_group_by_itself():
    p, f = same()
    partition = make_partition(f.space, "canonical")
    g = f.value_and_grad()[1]
    first, second, third = f.summary(g, partition)
    alone = NewtonSummary(p.model.parameters(), lambda_int=0.0, momentum=0.0, diagonal=True)
    step, _ = moved(alone, f)
    assert error(step, -g * partition.spread(first / second.diagonal())) < 1e-10


def test_refresh_average_and_clip():
    p, f = same()
    optimizer = NewtonSummary(p.model.parameters(), lr=0.01, curvature_period=3, stats_decay=0.75, lambda_int=1.0)
    seen = []
    for _ in range(7):
        optimizer.step(f)
        seen.append(optimizer.global_state["eta"].clone())
    assert torch.equal(seen[0], seen[2]) and torch.equal(seen[3], seen[5]) and not torch.equal(seen[2], seen[3])
    assert optimizer.global_state["taken"].sum() >= 3  # three refreshes, each with a branch

    p, f = same("mlp_relu")
    clipped = NewtonSummary(p.model.parameters(), lr=0.1, lambda_int=0.0, momentum=0.0, clip=True)
    g = f.value_and_grad()[1]
    partition = make_partition(f.space, "canonical")
    first, second, _ = f.summary(g, partition)
    eta = torch.linalg.solve(second, first)
    assert (eta < 0).any() and (eta > 0).any()
    step, _ = moved(clipped, f)
    assert error(step, -0.1 * g * partition.spread(eta.clamp(min=0))) < 1e-8


def test_averaged_terms_are_solved_after_averaging():
    p, f = same()
    optimizer = NewtonSummary(
        p.model.parameters(), lr=0.05, momentum=0.0, average="terms", stats_decay=0.5, lambda_int=1.0
    )
    partition, kept = make_partition(f.space, "canonical"), None
    for _ in range(3):
        terms = f.summary(f.value_and_grad()[1], partition)
        kept = terms if kept is None else [0.5 * a + 0.5 * b for a, b in zip(kept, terms)]
        optimizer.step(f)
        expected = minimise_cubic(kept[1], kept[0], kept[2].abs() ** (1 / 3), 1.0).eta
        assert error(optimizer.global_state["eta"], expected) < 1e-10


def test_curvature_batch():
    p = problem("mlp_tanh", "cross_entropy")
    drawn = []

    class Counting(Source):
        def draw(self, n, generator):
            drawn.append(n)
            return super().draw(n, generator)

    f = Objective(p.model, CrossEntropy(), p.batch, source=Counting(p))
    NewtonSummary(p.model.parameters(), curvature_batch=9).step(f)
    NewtonSummary(p.model.parameters()).step(f)
    assert drawn == [9, len(f)]


def test_own_groups_and_their_errors():
    p, f = same()
    groups = {"first": ["0.*"], "rest": ["2.*", "4.*"]}
    optimizer = NewtonSummary(p.model.parameters(), partition=groups)
    optimizer.step(f)
    assert optimizer.global_state["eta"].shape == (2,)
    with pytest.raises(UsageError, match="4.weight is in no group"):
        NewtonSummary(p.model.parameters(), partition={"a": ["0.*", "2.*"]}).step(f)
    with pytest.raises(UsageError, match="partition: got 3"):
        NewtonSummary(p.model.parameters(), partition=3)


def test_groups_that_do_not_fit_are_refused_before_anything_runs():
    """By a trainer, with the names of the model's tensors, when it is made."""
    settings = files.group_defaults("optimizer", "newton_summary")
    with pytest.raises(UsageError, match="partition: 1.bias is in no group; allowed"):
        Trainer(run_with(optimizer=settings | {"partition": {"weights": ["*.weight"]}}))
    with pytest.raises(
        UsageError, match="partition: got 'layers', allowed: canonical, trivial, discrete, kinds, depth"
    ):
        Trainer(run_with(optimizer=settings | {"partition": "layers"}))


def test_the_record_has_the_extremes_of_eta(device):
    """Newton's step is u eta with u = g: eta_i = (H^-1 g)_i / g_i. All P groups are free of the damping."""
    p, f = same(device=device, l2=0.1)
    optimizer = NewtonSummary(p.model.parameters(), lambda_int=0.0, momentum=0.0, partition="discrete")
    g, H = Dense(p).gradient.detach(), Dense(p).hessian
    optimizer.step(f)
    eta = torch.linalg.solve(H, g) / g
    assert error(optimizer.diagnostics["smallest_eta"], eta.min()) < 1e-8
    assert error(optimizer.diagnostics["largest_eta"], eta.max()) < 1e-8
    assert optimizer.diagnostics["free"] == len(g) and optimizer.diagnostics["cubic_norm"] == 0
