"""Equation 8 against the dense product with a padded or cut inverse, what is kept, and the paper's two propositions."""

from __future__ import annotations

import pytest
import torch
from problems import noise
from torch import Tensor, nn

from sobench import Objective
from sobench.losses import CrossEntropy
from sobench.optim.kernel_sgd import KernelSGD
from sobench.training.streams import Streams

D_H = 5  # width of the last hidden layer


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, D_H), nn.Tanh(), nn.Linear(D_H, 3)).double()


def batch(m: int, seed: int = 1, shape=(3,)) -> tuple[Tensor, Tensor]:
    return noise((m, *shape), seed), torch.arange(m) % 3


def kernel_matrix(x: Tensor, gamma: float) -> Tensor:
    return torch.exp(-gamma * torch.cdist(x.flatten(1), x.flatten(1)).square())


def reshaped(inverse: Tensor, d: int) -> Tensor:
    """Section 3.1: zeros appended, or the last rows and columns removed."""
    P, r = torch.zeros(d, d, dtype=inverse.dtype), min(d, len(inverse))
    P[:r, :r] = inverse[:r, :r]
    return P


def one_step(
    model: nn.Module, x: Tensor, y: Tensor, streams=None, **options
) -> tuple[list[Tensor], list[Tensor], KernelSGD]:
    """The parameters' changes over -lr, their gradients, and the optimizer."""
    f = Objective(model, CrossEntropy(), (x, y), streams=streams)
    before = [p.detach().clone() for p in model.parameters()]
    grads = torch.autograd.grad(nn.functional.cross_entropy(model(x), y), list(model.parameters()))
    optimizer = KernelSGD(model.parameters(), lr=0.1, **options)
    optimizer.step(f)
    return [(b - p.detach()) / 0.1 for b, p in zip(before, model.parameters())], list(grads), optimizer


@pytest.mark.parametrize("m", [2, D_H, 8])
def test_the_output_layer_takes_equation_8_and_the_others_their_gradients(m):
    x, y = batch(m)
    moves, grads, _ = one_step(network(), x, y, gamma=0.7)
    P = reshaped(torch.linalg.inv(kernel_matrix(x, 0.7)), D_H)
    torch.testing.assert_close(moves[4], grads[4] @ P, rtol=1e-9, atol=1e-12)
    for i in (0, 1, 2, 3, 5):
        torch.testing.assert_close(moves[i], grads[i], rtol=1e-11, atol=1e-13)


def test_all_layers():
    x, y = batch(4)
    moves, grads, _ = one_step(network(), x, y, gamma=0.7, layers="all")
    inverse = torch.linalg.inv(kernel_matrix(x, 0.7))
    for i in (0, 2, 4):
        torch.testing.assert_close(moves[i], grads[i] @ reshaped(inverse, grads[i].shape[1]), rtol=1e-9, atol=1e-12)
    for i in (1, 3, 5):
        torch.testing.assert_close(moves[i], grads[i], rtol=1e-11, atol=1e-13)


def test_convolutions_are_matrices_too():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)).double()
    x, y = batch(3, shape=(1, 3, 3))
    moves, grads, _ = one_step(model, x, y, gamma=0.7, layers="all")
    P = reshaped(torch.linalg.inv(kernel_matrix(x, 0.7)), 4)
    torch.testing.assert_close(moves[0].flatten(1), grads[0].flatten(1) @ P, rtol=1e-9, atol=1e-12)


def test_a_repeated_row_takes_the_pseudo_inverse_and_is_recorded():
    x, y = batch(4)
    x[3] = x[1]
    moves, grads, optimizer = one_step(network(), x, y, gamma=0.7)
    P = reshaped(torch.linalg.pinv(kernel_matrix(x, 0.7), hermitian=True), D_H)
    torch.testing.assert_close(moves[4], grads[4] @ P, rtol=1e-8, atol=1e-11)
    assert optimizer.diagnostics["rank"] == 3 and optimizer.diagnostics["trace"] == 4


def random_matrix(seed: int, step: int, state: dict | None = None, **options) -> Tensor:
    """The control's matrix after a step; `state`: of an optimizer that has made one before."""
    model = network()
    optimizer = KernelSGD(model.parameters(), kernel="random_psd", **options)
    if state:
        optimizer.load_state_dict(state)
    optimizer.step(Objective(model, CrossEntropy(), batch(4), streams=Streams(seed).at(step)))
    random_matrix.state = optimizer.state_dict()
    return optimizer.global_state["random"]


def test_the_random_control_differs_by_seed_and_not_by_step_unless_asked():
    first = random_matrix(0, 1)
    assert torch.equal(random_matrix(0, 2, random_matrix.state), first)
    assert not torch.equal(random_matrix(1, 1), first)
    assert torch.linalg.eigvalsh(first).min() > 0
    assert not torch.equal(random_matrix(0, 2, random_matrix.state, redraw=True), first)


def test_the_random_control_is_as_large_as_the_largest_batch():
    """The short batch of a fixed partition may come first; its matrix is the leading part of that of the others."""
    model = network()
    optimizer = KernelSGD(model.parameters(), kernel="random_psd")
    x, y = batch(4)
    f = Objective(model, CrossEntropy(), (x, y))
    for key, samples in ((1, 1), (0, 4), (1, 1)):
        optimizer.step(f.on((x[:samples], y[:samples]), key=key))
        R = optimizer.global_state["random"]
        expected = torch.linalg.inv(R[:samples, :samples])
        torch.testing.assert_close(optimizer.global_state["kept"][key][0].double(), expected, rtol=1e-4, atol=1e-5)
    assert R.shape == (4, 4)


def test_matrices_of_a_fixed_partition_are_made_once(monkeypatch):
    model, made = network(), []
    optimizer = KernelSGD(model.parameters(), lr=0.1)
    monkeypatch.setattr(optimizer, "_inverted", lambda f, make=optimizer._inverted: made.append(f.key) or make(f))
    x, y = batch(8)
    f = Objective(model, CrossEntropy(), (x, y))
    for key in (0, 1, 1, 0):
        optimizer.step(f.on((x[4 * key : 4 * key + 4], y[4 * key : 4 * key + 4]), key=key))
    assert made == [0, 1]
    assert sum(inverse.numel() for inverse, _, _ in optimizer.global_state["kept"].values()) == 8 * 4, "n x m numbers"
    optimizer.step(f.on((x[:4], y[:4])))
    optimizer.step(f.on((x[:4], y[:4])))
    assert made == [0, 1, None, None] and len(optimizer.global_state["kept"]) == 2


def test_what_is_kept_is_what_would_be_made():
    steps = []
    for key in (None, 0):
        model = network()
        optimizer, (x, y) = KernelSGD(model.parameters(), lr=0.1), batch(4)
        f = Objective(model, CrossEntropy(), (x, y))
        for _ in range(3):
            optimizer.step(f.on((x, y), key=key))
        steps.append(f.space.get())
    assert torch.equal(*steps)


def test_theorem_3_1_for_one_sample_and_why_it_stops_there():
    """The logits of a sample move by -lr G'H^-1 G (a - y): its loss never rises, whatever lr is. In a batch of
    several, one that is shared by all of them can be moved too far: a large lr is the counterexample."""

    def change(m: int, seed: int, lr: float) -> float:
        torch.manual_seed(seed)
        model = nn.Linear(3, 3, bias=False).double()
        f = Objective(model, CrossEntropy(), batch(m, seed))
        before = KernelSGD(model.parameters(), lr=lr).step(f)
        return float(f.loss() - before)

    changes = [change(1, seed, lr) for seed in range(50) for lr in (0.01, 1.0, 100.0)]
    assert max(changes) <= 0 and min(changes) < 0
    assert max(change(4, seed, 100.0) for seed in range(10)) > 0


def test_proposition_3_2_under_its_assumption_and_without():
    """||(H^1/2 x I) v|| <= ||v|| holds where the eigenvalues of H sum to at most 1 / n_c. The rbf kernel's sum to m,
    for which the distance to the optimum grows: the constant vector of m equal samples is stretched by sqrt(m)."""
    n_c, d = 3, 4
    x = noise((d, 3), 1)
    H, v = kernel_matrix(x, 0.7), noise((n_c, d), 2)
    root = lambda A: torch.linalg.eigh(A).eigenvectors * torch.linalg.eigvalsh(A).clamp(min=0).sqrt()
    small = H / (n_c * H.trace())
    assert small.trace() <= 1 / n_c + 1e-15 and (v @ root(small)).norm() <= v.norm()
    assert H.trace() == d
    ones = torch.ones(n_c, d, dtype=torch.float64)
    alike = kernel_matrix(torch.ones(d, 3, dtype=torch.float64), 0.7)
    assert torch.isclose((ones @ root(alike)).norm(), d**0.5 * ones.norm())


def test_the_random_control_acts_on_a_model_of_one_tensor():
    """W <- W - lr grad_W R^-1, with R the leading part of the random matrix: as many rows as the batch has samples."""
    model = nn.Linear(4, 3, bias=False).double()
    optimizer, (x, y) = KernelSGD(model.parameters(), lr=0.1, kernel="random_psd"), batch(4, shape=(4,))
    before, f = model.weight.detach().clone(), Objective(model, CrossEntropy(), (x, y))
    G = torch.autograd.grad(nn.functional.cross_entropy(model(x), y), model.weight)[0]
    optimizer.step(f)
    expected = before - 0.1 * G @ torch.linalg.inv(optimizer.global_state["random"])
    torch.testing.assert_close(model.weight.detach(), expected, rtol=1e-8, atol=1e-8)
