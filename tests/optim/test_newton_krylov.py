"""The stochastic Newton-Krylov method against dense algebra, and each line of its box on a problem that takes it."""

import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from objectives import moved
from problems import LOSSES, Dense, Source, error, noise, pairs, problem
from torch import nn

from sobench import Objective
from sobench.config.grid import expand
from sobench.errors import Unsupported
from sobench.losses import SquaredError
from sobench.optim.newton_krylov import CURVATURES, NewtonKrylov, Products, without
from sobench.training.trainer import Trainer

INDEFINITE = ("mlp_tanh", "squared_error", 0.01)


@dataclass
class Whole:
    """A training set of one chunk."""

    inputs: torch.Tensor
    targets: torch.Tensor

    def chunks(self):
        return [(self.inputs, self.targets)]


def make(model="mlp_tanh", loss="cross_entropy", l2=0.0, device="cpu", **hyperparameters):
    """A problem, its objective on a batch of a larger training set, and the optimizer."""
    p = problem(model, loss, l2=l2, device=device)
    f = Objective(p.model, p.loss, p.batch, l2=l2, source=Source(p))
    return p, f, NewtonKrylov(p.model.parameters(), **hyperparameters)


def started(optimizer, f, direction):
    """As after a step that ended with this direction."""
    optimizer.begin(f)
    optimizer.global_state["direction"] = direction


def direction(optimizer):
    """dw of the last step, [P]."""
    return optimizer.global_state["direction"] / optimizer.diagnostics["gamma"]


def regression(device, opposed=False):
    """Least squares: an objective, its training set the batch or one of the opposite gradient; and the optimum."""
    x, t = noise((8, 4), 1).to(device), noise((8, 3), 2).to(device)
    model = nn.Linear(4, 3).double().to(device)
    others = 2 * model(x).detach() - t if opposed else t
    solution = torch.linalg.lstsq(torch.cat([x, torch.ones_like(x[:, :1])], 1), t).solution
    return model, Objective(model, SquaredError(), (x, t), source=Whole(x, others)), solution


def krylov(H, g, k):
    """argmin g'x + x'Hx/2 over span{g, H g, ..., H^(k-1) g}."""
    K, _ = torch.linalg.qr(torch.stack([torch.linalg.matrix_power(H, i) @ g for i in range(k)], 1))
    return -K @ torch.linalg.solve(K.T @ H @ K, K.T @ g)


def ratio(p, theta, dw, gamma):
    """Equation 13, from losses and derivatives by plain autograd."""
    here = Dense(p, theta)
    change = Dense(p, theta + gamma * dw).value - here.value
    energy = gamma * here.gradient @ dw + gamma**2 / 2 * dw @ here.hessian @ dw
    return abs((change - energy) / change).item()


# The whole step


@pytest.mark.parametrize("curvature", CURVATURES)
def test_a_convex_quadratic_is_minimised_in_one_step(curvature, device):
    """Its Taylor ratio is 0: the step is taken as it is."""
    model, f, solution = regression(device)
    optimizer = NewtonKrylov(model.parameters(), curvature=curvature, cg_iterations=50, cg_tol=1e-14)
    optimizer.step(f)
    found = torch.cat([model.weight.T, model.bias[None]])
    assert error(found, solution) < (1e-5 if curvature == "forward_difference" else 1e-12)
    assert (optimizer.diagnostics["gamma"], optimizer.diagnostics["tries"]) == (1.0, 0)
    assert optimizer.diagnostics["eta"] < 1e-6


@pytest.mark.parametrize(
    ("model", "loss"), pairs(["mlp_tanh", "mlp_relu", "conv_maxpool", "batchnorm", "autoencoder"], list(LOSSES))
)
def test_the_first_step_is_the_krylov_minimiser_sized_by_its_taylor_ratio(model, loss, device):
    p, f, optimizer = make(model, loss, 0.01, device, screening=False, cg_iterations=3, cg_tol=0.0)
    here, theta = Dense(p), p.theta
    step, returned = moved(optimizer, f)
    seen = optimizer.diagnostics
    dw = krylov(here.hessian, here.gradient.detach(), seen["cg_iterations"])
    assert seen["cg_iterations"] == 3 or seen["terminated"]
    assert error(direction(optimizer), dw) < 1e-9 and error(returned, here.value) < 1e-13
    torch.testing.assert_close(step, seen["gamma"] * dw, rtol=0, atol=1e-9 * dw.norm().item())
    if seen["gamma"] > 1e-6:
        assert seen["eta"] == pytest.approx(ratio(p, theta, dw, seen["gamma"]), rel=1e-4, abs=1e-9)
        assert seen["eta"] <= 0.05 and (seen["eta"] >= 0.025 or seen["gamma"] == 1.0)


@pytest.mark.parametrize("taylor_ratio", [0.01, 0.05, 0.2])
def test_the_taylor_ratio_is_kept_in_its_interval(taylor_ratio, device):
    """Over a run, at weights that the quadratic model does not suit; or the tries are spent."""
    p, f, optimizer = make("mlp_tanh", "squared_error", device=device, taylor_ratio=taylor_ratio, screening=False)
    with torch.no_grad():
        [q.mul_(2) for q in p.model.parameters()]
    changed = 0
    for _ in range(12):
        optimizer.step(f)
        seen = optimizer.diagnostics
        assert seen["eta"] <= taylor_ratio or (seen["tries"], seen["gamma"]) == (20, 1e-6)
        assert seen["eta"] >= taylor_ratio / 2 or seen["tries"] == 0
        changed += seen["tries"] > 0
    assert changed >= 6


def test_the_next_solve_starts_from_the_last_move(device):
    p, f, optimizer = make(*INDEFINITE, device, screening=False, cg_iterations=1)
    step, _ = moved(optimizer, f)
    assert optimizer.diagnostics["gamma"] < 1
    here = Dense(p)
    r = -(here.gradient.detach() + here.hessian @ step)
    kappa = r @ here.hessian @ r
    optimizer.step(f)
    assert error(direction(optimizer), step + r @ r / kappa * r if kappa > 0 else step) < 1e-10


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_trains_a_network_on_mini_batches(activation):
    """From a loss of 2.3 to below 0.2 in three epochs, with few changes of the step size."""
    run = expand(
        [
            "dataset=digits",
            "model=mlp",
            "model.widths=[20]",
            f"model.activation={activation}",
            "dtype=float64",
            "batch_size=128",
            "optimizer=newton_krylov",
            "threads=1",
            "budget.steps=30",
        ]
    )[0]
    trainer, tries = Trainer(run), []
    for _, f in itertools.islice(trainer.problem.objectives(), 30):
        trainer.optimizer.step(f)
        tries.append(trainer.optimizer.diagnostics.get("tries", 0))
    assert trainer.problem.evaluate()["train_loss"] < 0.2 and sum(tries) / len(tries) < 8


# Pre-screening


def test_a_batch_against_the_global_gradient_leaves_everything_as_it_was(device):
    model, f, _ = regression(device, opposed=True)
    optimizer = NewtonKrylov(model.parameters())
    started(optimizer, f, last := torch.ones_like(f.space.get()))
    step, loss = moved(optimizer, f)
    assert not step.any() and optimizer.global_state["direction"] is last and error(loss, f.loss()) < 1e-14
    assert optimizer.diagnostics == {"skipped": 1, "global_share": 0.5}  # a gradient of 8 samples beside one of 8
    optimizer.step(f)
    assert optimizer.diagnostics == {"skipped": 1, "global_share": 0.0}  # theta is where it was: so is g


def test_without_screening_there_is_no_global_gradient(device):
    model, f, solution = regression(device, opposed=True)
    f.source = None
    optimizer = NewtonKrylov(model.parameters(), screening=False, cg_iterations=50, cg_tol=1e-14)
    optimizer.step(f)
    assert error(torch.cat([model.weight.T, model.bias[None]]), solution) < 1e-12
    assert "full" not in f.cost.used and optimizer.diagnostics["global_share"] == 0.0


@pytest.mark.parametrize("period", [1, 3])
def test_the_global_gradient_is_computed_anew_after_its_period(period, device):
    p, f, optimizer = make(device=device, global_period=period)
    f.source = Whole(*f.batch)  # a gradient that never opposes the batch's: every step moves
    shares, gradients = [], []
    for _ in range(7):
        theta = p.theta
        optimizer.step(f)
        shares.append(optimizer.diagnostics["global_share"])
        gradients.append(error(optimizer.global_state["global_gradient"], Dense(p, theta).gradient))
        assert not optimizer.diagnostics["skipped"]
    assert [share > 0 for share in shares] == [k % period == 0 for k in range(7)]
    assert [e < 1e-12 for e in gradients] == [k % period == 0 for k in range(7)]


def test_an_old_global_gradient_does_not_skip_for_ever(device):
    """A step goes beyond the minimum of its batch, where the old g is against g_j; after its period g is new."""
    model, f, _ = regression(device)
    optimizer = NewtonKrylov(model.parameters(), global_period=4)
    optimizer.step(f)
    f.space.assign_(f.space.get() + direction(optimizer))
    skipped = []
    for _ in range(4):
        optimizer.step(f)
        skipped.append(optimizer.diagnostics["skipped"])
    assert skipped == [1, 1, 1, 0]


# Post-screening


def test_what_climbs_along_the_global_gradient_is_taken_out(device):
    g, v = noise((5,), 1).to(device), noise((5,), 2).to(device)
    v -= v @ g / (g @ g) * g
    assert error(without(3 * g + v, g), v) < 1e-14
    for kept in (v - 2 * g, torch.zeros_like(g)):
        assert without(kept, g).equal(kept)
    assert without(g, torch.zeros_like(g)).equal(g)


def test_the_step_does_not_climb_along_the_global_gradient(device):
    p, f, optimizer = make(*INDEFINITE, device, cg_tol=1e9)  # the loop ends at once: dw is the last one
    g = Dense(p, batch=(f.source.inputs, f.source.targets)).gradient.detach()
    v = noise(g.shape, 3).to(g)
    v -= v @ g / (g @ g) * g
    started(optimizer, f, 2 * g + v)
    optimizer.step(f)
    assert optimizer.diagnostics["cg_iterations"] == 0 and error(direction(optimizer), v) < 1e-12


# The loop's end


class Squared(nn.Module):
    """z = w^2 x: the loss (w^2 - 1)^2 / 2 of x = t = 1 has negative curvature for |w| < 0.577."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.3], dtype=torch.float64))

    def forward(self, x):
        return self.w * self.w * x


@pytest.mark.parametrize("curvature", CURVATURES)
@pytest.mark.parametrize("last", [0.0, 0.01])
def test_negative_curvature_at_once_leaves_the_last_direction(last, curvature, device):
    """From none theta stays; else it moves on along it, here at a ratio of 0.02."""
    one = torch.ones(1, 1, dtype=torch.float64, device=device)
    model = Squared().to(device)
    f = Objective(model, SquaredError(), (one, one), source=Whole(one, one))
    optimizer = NewtonKrylov(model.parameters(), curvature=curvature)
    started(optimizer, f, torch.tensor([last], dtype=torch.float64, device=device))
    step, _ = moved(optimizer, f)
    seen = optimizer.diagnostics
    assert (seen["terminated"], seen["cg_iterations"], seen["gamma"], seen["tries"]) == (1, 0, 1.0, 0)
    assert step.item() == pytest.approx(last, abs=1e-15) and optimizer.global_state["direction"].item() == last


def test_later_negative_curvature_ends_the_loop_with_the_direction_so_far(device):
    p, f, optimizer = make(*INDEFINITE, device, screening=False, cg_iterations=50, cg_tol=0.0)
    here = Dense(p)
    optimizer.step(f)
    k = optimizer.diagnostics["cg_iterations"]
    assert optimizer.diagnostics["terminated"] == 1 and 1 <= k < 50
    assert error(direction(optimizer), krylov(here.hessian, here.gradient.detach(), k)) < 1e-8


# The parts


@pytest.mark.parametrize(("model", "loss"), pairs(["mlp_tanh", "conv_avgpool", "batchnorm", "scaled"], list(LOSSES)))
@pytest.mark.parametrize(
    ("curvature", "tolerance"), [("complex_step", 1e-12), ("autograd", 1e-12), ("forward_difference", 1e-6)]
)
def test_curvatures_are_the_hessian(curvature, tolerance, model, loss, device):
    p, f, _ = make(model, loss, 0.01, device)
    here = Dense(p)
    H, v = here.hessian, noise(p.theta.shape, 3).to(p.theta)
    B = CURVATURES[curvature](f, here.gradient.detach(), None)
    for _ in range(2):  # a product that was asked for before, and one that was not
        assert error(B @ v, H @ v) < tolerance
        assert abs((B.along(v) - v @ H @ v) / (v @ H @ v)).item() < 100 * tolerance


def test_the_step_of_differences_is_a_setting(device):
    """Forward differences err as h; complex steps as h^2."""
    p, f, _ = make(device=device)
    here = Dense(p)
    H, v = here.hessian, noise(p.theta.shape, 3).to(p.theta)
    for curvature, order in (("forward_difference", 1), ("complex_step", 2)):
        errors = [error(CURVATURES[curvature](f, here.gradient.detach(), h) @ v, H @ v) for h in (1e-3, 5e-4)]
        assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.02)


def test_lscg_is_least_squares_whatever_the_signs_of_the_curvature(device):
    p, f, optimizer = make(
        "scaled", "squared_error", 0.01, device, solver="lscg", cg_iterations=500, cg_tol=1e-14, screening=False
    )
    here = Dense(p)
    eigenvalues = torch.linalg.eigvalsh(here.hessian)
    assert eigenvalues[0] < 0 and eigenvalues.abs().min() > 1e-3
    optimizer.step(f)
    assert error(direction(optimizer), -torch.linalg.solve(here.hessian, here.gradient.detach())) < 1e-8


@pytest.mark.parametrize("damping", [1e3, 1e6])
def test_levenberg_marquardt_with_infinite_damping_is_scaled_gradient_descent(damping, device):
    p, f, optimizer = make(*INDEFINITE, device, solver="levenberg_marquardt", damping=damping)
    g = Dense(p).gradient.detach()
    step, _ = moved(optimizer, f)
    assert optimizer.diagnostics["gamma"] == 1.0 and error(step * damping, -g) < 5 / damping


def test_levenberg_marquardt_solves_the_damped_system(device):
    p, f, optimizer = make(
        *INDEFINITE, device, solver="levenberg_marquardt", damping=1.0, cg_iterations=200, cg_tol=1e-13, screening=False
    )
    here = Dense(p)
    optimizer.step(f)
    A = here.hessian + torch.eye(len(p.theta)).to(here.hessian)
    assert torch.linalg.eigvalsh(here.hessian)[0] < 0 < torch.linalg.eigvalsh(A)[0]
    assert error(direction(optimizer), -torch.linalg.solve(A, here.gradient.detach())) < 1e-10


def test_backtracking_takes_the_first_size_that_satisfies_armijo(device):
    p, f, optimizer = make("autoencoder", "cross_entropy", device=device, step_rule="backtracking", screening=False)
    with torch.no_grad():
        [q.mul_(3) for q in p.model.parameters()]
    theta, here = p.theta, Dense(p)
    step, _ = moved(optimizer, f)
    dw, seen = direction(optimizer), optimizer.diagnostics

    def holds(gamma):
        return Dense(p, theta + gamma * dw).value <= here.value + 0.01 * gamma * here.gradient @ dw

    assert (
        seen["tries"] >= 1
        and seen["gamma"] == pytest.approx(0.8 ** seen["tries"])
        and error(step, seen["gamma"] * dw) < 1e-12
    )
    assert holds(seen["gamma"]) and not any(holds(0.8**i) for i in range(seen["tries"])) and math.isnan(seen["eta"])


def test_backtracking_stays_where_no_size_will_do(device):
    """From a direction along which the loss rises."""
    p, f, optimizer = make(device=device, step_rule="backtracking", screening=False, cg_tol=1e9, tries=3)
    started(optimizer, f, 10 * Dense(p).gradient.detach())
    step, _ = moved(optimizer, f)
    assert not step.any() and (optimizer.diagnostics["gamma"], optimizer.diagnostics["tries"]) == (0.0, 3)


# Around it


def test_full_batch_is_the_method_on_the_whole_set(device):
    p, f, optimizer = make(*INDEFINITE, device, full_batch=True)
    q, _, other = make(*INDEFINITE, device)
    training = f.source.inputs, f.source.targets
    whole = Objective(q.model, q.loss, training, l2=q.l2, source=Whole(*training))
    for _ in range(4):
        (step, loss), (expected, value) = moved(optimizer, f), moved(other, whole)
        assert error(step, expected) < 1e-8 and error(loss, value) < 1e-12
    assert optimizer.diagnostics["global_share"] == 0.0


def test_full_batch_refuses_running_statistics(device):
    _, f, optimizer = make("batchnorm", device=device, full_batch=True)
    with pytest.raises(Unsupported, match="full_batch: the model has BatchNorm; allowed: full_batch=false"):
        optimizer.step(f)


def test_the_work_of_a_step(device):
    """Passes of a sample: gradients of 6 and 11; H dw, then kappa and H p an iteration; dw'H dw; a loss for a size."""
    p, f, optimizer = make(device=device, cg_iterations=1)
    optimizer.step(f)
    seen = optimizer.diagnostics
    assert (seen["cg_iterations"], seen["terminated"]) == (1, 0)
    product, curvature = 4 * 3, 4 * 3
    local = 3 + 2 * product + 2 * curvature + seen["tries"] + 1
    assert f.cost.passes == 6 * local + 11 * 3 and seen["global_share"] == pytest.approx(33 / f.cost.passes)
    assert f.cost.used == optimizer.requires


def test_a_loss_that_is_not_a_number_is_not_hidden(device):
    p, f, optimizer = make(device=device)
    with torch.no_grad():
        p.model[0].weight[0, 0] = math.nan
    assert optimizer.step(f).isnan()


def test_the_share_of_the_global_gradient_is_of_the_work_of_its_step(device):
    """A gradient costs three passes a sample."""
    _, f, optimizer = make(device=device)
    f.source = Whole(*f.batch)
    for _ in range(3):
        before = f.cost.passes
        optimizer.step(f)
        assert optimizer.diagnostics["global_share"] == pytest.approx(3 * len(f) / (f.cost.passes - before))


def test_the_product_that_gave_a_curvature_is_not_made_again():
    """CG asks for p'Hp and then for H p."""
    made = []
    H = Products(lambda p: made.append(p) or 2 * p)
    p = torch.tensor([1.0, 3.0])
    assert H.along(p) == 20 and torch.equal(H @ p, 2 * p) and len(made) == 1
    assert torch.equal(H @ (2 * p), 4 * p) and len(made) == 2
