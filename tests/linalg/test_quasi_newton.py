"""Tests of BFGS updates, their dampings and compact L-BFGS against the dense formulas of the thesis."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sobench.linalg.kronecker import mode_products
from sobench.linalg.quasi_newton import Compact, Dense, Scaled, bfgs_, double_damping, lm_damping, powell

seeds = settings(max_examples=60, deadline=None)
cases = st.tuples(st.integers(0, 2**31), st.integers(1, 6), st.floats(-3, 3))  # seed, d, log10 of the scale of y
dampings = pytest.mark.parametrize("damping", [double_damping, lm_damping])


def draw(case, curved=None):
    """A positive definite H [d, d] and a pair; s'y > 0 if curved, < 0 if curved is False."""
    seed, d, scale = case
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(d, d, generator=generator, dtype=torch.float64)
    s, y = torch.randn(2, d, generator=generator, dtype=torch.float64)
    y = 10**scale * y
    if curved is not None and (s @ y > 0) != curved:
        y = -y
    return X @ X.T + 0.1 * torch.eye(d, dtype=torch.float64), s, y


def recursion(H, s, y):
    """Equation 2.6, as it is printed."""
    rho, eye = 1 / (s @ y), torch.eye(len(s), dtype=s.dtype)
    return (eye - rho * torch.outer(s, y)) @ H @ (eye - rho * torch.outer(y, s)) + rho * torch.outer(s, s)


def after(H, pairs):
    """H after these pairs, one by one."""
    for pair in pairs:
        H = recursion(H, *pair)
    return H


def norm(M):
    return float(torch.linalg.eigvalsh(M)[-1])


def close(a, b, tol=1e-9):
    torch.testing.assert_close(a, b, rtol=tol, atol=tol * max(1.0, float(b.abs().max())))


@seeds
@given(case=cases)
def test_an_update_is_the_formula_and_satisfies_the_secant_equation(case):
    H, s, y = draw(case, curved=True)
    expected, ratio = recursion(H, s, y), y @ H @ y / (s @ y)
    close(bfgs_(H, s, y), ratio)
    close(H, expected, 1e-8)
    assert float((H @ y - s).norm()) <= 1e-9 * (1 + float(ratio)) * float(s.norm() + y.norm() * H.norm())
    assert float(torch.linalg.eigvalsh(H)[0]) > -1e-10 * norm(H)


@pytest.mark.parametrize("y", [[-1.0, 0.5], [0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0], [-math.inf, 0.0]])
@pytest.mark.parametrize(
    "start",
    [Dense.start, lambda gamma, like: Compact.start(gamma, like, 3), lambda gamma, like: Scaled.start(gamma, like, 3)],
    ids=["dense", "compact", "scaled"],
)
def test_a_pair_without_positive_finite_curvature_is_skipped(start, y, device):
    s, y = torch.tensor([1.0, 0.0], device=device), torch.tensor(y, device=device)
    H = start(0.5, s)
    H.update_(torch.tensor([1.0, 2.0], device=device), torch.tensor([2.0, 1.0], device=device))
    before = H @ torch.eye(2, device=device)
    H.update_(s, y)
    assert torch.equal(H @ torch.eye(2, device=device), before) and before.isfinite().all()


@seeds
@given(case=cases, mu1=st.floats(0.05, 0.9))
def test_powell_keeps_a_pair_of_enough_curvature_and_mends_the_others(case, mu1):
    H, s, y = draw(case)
    damped, yHy = powell(s, y, H @ y, mu1), float(y @ H @ y)
    enough = float(s @ y) >= mu1 * yHy
    if enough:
        assert torch.equal(damped, s)
    else:
        assert float(damped @ y) == pytest.approx(mu1 * yHy, rel=1e-6)
        theta = (1 - mu1) * yHy / (yHy - float(s @ y))
        assert 0 < theta < 1
        close(damped, theta * s + (1 - theta) * H @ y)
    B = torch.linalg.inv(H)  # equation 2.8, from y'H y / s'y <= 1 / mu1 alone
    bfgs_(H, damped, y)
    assert norm(torch.linalg.inv(H)) <= norm(B) * (1 + 1 / mu1) * (1 + 1e-6)


@dampings
@seeds
@given(case=cases, mu1=st.floats(0.05, 0.9), mu2=st.floats(0.01, 1.0), negative=st.booleans())
def test_a_damped_update_keeps_the_secant_equation_and_the_bounds(damping, case, mu1, mu2, negative):
    """(2.8) and (2.10), whose 1 / mu1 stands for y'H y / s'y of the damped pair, which `update_` returns."""
    H, s, y = draw(case, curved=not negative)
    s_, y_ = damping(Dense({"H": H}), s, y, mu1, mu2)
    assert float(s_ @ y_) >= mu2 * float(s_ @ s_) * (1 - 1e-6) > 0
    B, before = torch.linalg.inv(H), H.clone()
    ratio = float(Dense({"H": H}).update_(s_, y_))
    assert ratio == pytest.approx(float(y_ @ before @ y_ / (s_ @ y_)), rel=1e-8)
    assert float((H @ y_ - s_).norm()) <= 1e-7 * float(s_.norm() + H.norm() * y_.norm())
    assert float(torch.linalg.eigvalsh(H)[0]) > -1e-10 * norm(H)
    assert norm(torch.linalg.inv(H)) <= norm(B) * (1 + ratio) * (1 + 1e-5)
    assert norm(H) <= ((norm(before) ** 0.5 + (ratio / mu2) ** 0.5) ** 2 + 1 / mu2) * (1 + 1e-7)


@seeds
@given(case=cases, mu2=st.floats(0.01, 50.0))
def test_the_second_damping_by_its_formula(case, mu2):
    H, s, y = draw(case)
    s_, y_ = double_damping(Dense({"H": H}), s, y, 0.2, mu2)
    ss, sy = float(s_ @ s_), float(s_ @ y)
    theta = (1 - mu2) * ss / (ss - sy) if sy < mu2 * ss else 1.0
    close(y_, theta * y + (1 - theta) * s_, 1e-7)
    s_, y_ = lm_damping(Dense({"H": H}), s, y, 0.2, mu2)
    close(y_, y + mu2 * s_)


@seeds
@given(case=cases, c=st.floats(0.01, 100))
def test_hessian_action_inverts_a_rank_one_change(case, c):
    """Theorem 1: from H = A^-1, s = H a and y = A+ s give H+ = (A + c a a')^-1."""
    A, a, _ = draw(case)
    H, changed = torch.linalg.inv(A), A + c * torch.outer(a, a)
    s = H @ a
    bfgs_(H, s, changed @ s)
    close(H, torch.linalg.inv(changed), 1e-7)


def pairs(count, d, seed=0):
    """Pairs of which every third has s'y < 0, and one is not a number."""
    generator = torch.Generator().manual_seed(seed)
    for i in range(count):
        s, noise = torch.randn(2, d, generator=generator, dtype=torch.float64)
        y = 2 * s + 0.5 * noise
        yield s, -y if i % 3 == 2 else y * (math.nan if i == 4 else 1)


@pytest.mark.parametrize("history", [1, 3, 4, 20])
def test_compact_is_the_recursion_over_the_last_pairs(history, device):
    d, gamma, kept = 6, 0.7, []
    eye = torch.eye(d, dtype=torch.float64)
    H = Compact.start(gamma, eye[0].to(device), history)
    for s, y in pairs(12, d):
        ratio = H.update_(s.to(device), y.to(device))
        before = after(gamma * eye, kept[-history:])
        if s @ y > 0:
            close(ratio.cpu(), y @ before @ y / (s @ y))
            kept.append((s, y))
        expected = after(gamma * eye, kept[-history:])
        close((H @ eye.to(device)).cpu(), expected)
        close((H @ eye[0].to(device)).cpu(), expected[:, 0])
    assert len(kept) > 4


@pytest.mark.parametrize("history", [1, 3, 20])
def test_scaled_is_the_recursion_from_the_latest_gamma(history, device):
    d, gamma, kept = 6, 0.7, []
    eye = torch.eye(d, dtype=torch.float64)
    H = Scaled.start(gamma, eye[0].to(device), history)
    expected = gamma * eye
    close((H @ eye[0].to(device)).cpu(), expected[0])
    for s, y in pairs(12, d):
        ratio = H.update_(s.to(device), y.to(device))
        if s @ y > 0:
            close(ratio.cpu(), y @ expected @ y / (s @ y))
            kept, gamma = [*kept, (s, y)], s @ y / (y @ y)
        expected = after(gamma * eye, kept[-history:])
        close((H @ eye.to(device)).cpu(), expected)
        close((H @ eye[0].to(device)).cpu(), expected[:, 0])
    assert len(kept) > 4


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_compact_is_a_factor_of_a_kronecker_product(mode):
    shape = (3, 4, 5)
    H = Compact.start(2.0, torch.zeros(shape[mode], dtype=torch.float64), 2)
    for s, y in pairs(4, shape[mode]):
        H.update_(s, y)
    G = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    factors = [torch.eye(size, dtype=torch.float64) for size in shape]
    factors[mode] = H @ factors[mode]
    dense = torch.einsum("ai,bj,ck,ijk->abc", *factors, G)
    factors[mode] = H
    close(mode_products(G, factors), dense)


def test_compact_in_single_precision_bears_pairs_that_are_nearly_parallel():
    """As K-BFGS has them: moving averages of what changes little from step to step."""
    d, generator = 40, torch.Generator().manual_seed(3)
    G = torch.randn(d, d, generator=generator, dtype=torch.float64)
    G, mean = G @ G.T / d + 0.5 * torch.eye(d, dtype=torch.float64), torch.zeros(d, dtype=torch.float64)
    H, expected = Compact.start(2.0, torch.zeros(d), 60), 2.0 * torch.eye(d, dtype=torch.float64)
    for _ in range(60):
        mean = 0.9 * mean + 0.1 + 0.001 * torch.randn(d, generator=generator, dtype=torch.float64)
        s, y = mean.float(), (G @ mean).float()
        H.update_(s, y)
        expected = recursion(expected, s.double(), y.double())
    assert float(((H @ torch.eye(d)).double() - expected).norm() / expected.norm()) < 1e-5


@pytest.mark.parametrize("start", [Compact.start, Scaled.start])
def test_the_state_counts_the_updates(start):
    H = start(0.7, torch.zeros(6, dtype=torch.float64), 3)
    for number, (s, y) in enumerate(pairs(5, 6), 1):
        H.update_(s, y)
        assert H.state["count"] == number
