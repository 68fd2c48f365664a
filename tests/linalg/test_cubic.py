"""Tests of the minimum of the cubic model: its equation, and by a search over the norm that no solution is longer."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch.testing import assert_close

from sobench.linalg.cubic import minimise_cubic

BRANCHES = {"positive", "singular", "indefinite", "hard"}


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def residual(H, g, D, damping, eta):
    """|| (H + damping / 2 ||D eta|| D^2) eta - g ||, over the size of its terms."""
    terms = H @ eta, damping / 2 * (D * eta).norm() * D**2 * eta, g
    return ((terms[0] + terms[1] - g).norm() / sum(term.norm() for term in terms).clamp(min=1e-300)).item()


def excess(H, g, D, damping, r):
    """||D eta|| / r where eta solves the linear system of this r: 1 at a root. [len(r)]"""
    M = H + damping / 2 * r[:, None, None] * torch.diag(D**2)
    return (D * torch.linalg.solve(M, g.expand(len(r), -1))).norm(dim=1) / r


@st.composite
def models(draw, kinds=("indefinite", "positive", "singular", "hard", "free")):
    kind, size = draw(st.sampled_from(kinds)), draw(st.integers(2, 8))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    random = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    D = 10 ** random(size).clamp(-1.5, 1.5)
    Q = torch.linalg.qr(random(size, size))[0]
    a = random(size) * 10 ** draw(st.floats(-2, 2))
    a = {"positive": a.abs(), "singular": a.abs()}.get(kind, a)
    c = random(size)
    if kind == "singular":
        a[0] = 0
    if kind == "hard":
        a[0], c[0] = a.min() - 0.5, 0
        c = c * 10 ** draw(st.floats(-4, 1))
    A = Q @ torch.diag(a) @ Q.T
    H, g = D[:, None] * (A + A.T) / 2 * D, D * (Q @ c)
    if kind == "free":
        D = D.clone()
        D[: size // 2] = 0
    return kind, H, g, D, 10 ** draw(st.floats(-3, 3))


@settings(deadline=None, max_examples=300)
@given(models())
def test_eta_solves_its_equation(model):
    _, H, g, D, damping = model
    solution = minimise_cubic(H, g, D, damping)
    assert residual(H, g, D, damping, solution.eta) < 1e-8
    assert_close((D * solution.eta).norm(), solution.r, rtol=1e-8, atol=0)
    assert set(solution.branches) == BRANCHES and solution.free == (D == 0).sum()


@settings(deadline=None, max_examples=200)
@given(models(kinds=("indefinite", "positive", "singular", "hard")))
def test_no_root_is_longer(model):
    """Beyond it ||D eta(r)|| < r, however far; and the model's matrix is positive semi-definite there."""
    _, H, g, D, damping = model
    solution = minimise_cubic(H, g, D, damping)
    r = solution.r * (1 + torch.logspace(-6, 6, 200, dtype=torch.float64))
    assert (excess(H, g, D, damping, r) < 1).all()
    A = H / D[:, None] / D
    assert torch.linalg.eigvalsh(A)[0] + damping / 2 * solution.r > -1e-9 * A.norm()


@settings(deadline=None, max_examples=100)
@given(models(kinds=("indefinite", "positive", "hard")), st.integers(0, 2**31))
def test_it_is_the_global_minimum_of_the_model(model, seed):
    _, H, g, D, damping = model
    value = lambda eta: -eta @ g + eta @ H @ eta / 2 + damping / 6 * (D * eta).norm() ** 3  # noqa: E731
    solution = minimise_cubic(H, g, D, damping)
    best, generator = value(solution.eta), torch.Generator().manual_seed(seed)
    for scale in (1e-3, 0.1, 1, 10):
        other = solution.eta + scale * solution.r * torch.randn(len(g), generator=generator, dtype=torch.float64) / D
        assert value(other) >= best - 1e-9 * abs(best)


def test_one_group_by_the_quadratic_formula():
    """h eta + damping / 2 d^3 eta |eta| = g, of which the largest |eta| is that of the sign of g."""
    for h in (2.0, 0.0, -2.0):
        for g in (3.0, -3.0):
            solution = minimise_cubic(vector([h]), vector(g), vector(0.5), 4.0)
            k = 4.0 / 2 * 0.5**3
            assert_close(solution.eta, vector(g / 3 * (-h + (h**2 + 4 * k * 3) ** 0.5) / (2 * k)), rtol=1e-12, atol=0)


def test_branches():
    taken = lambda *model: {name for name, yes in minimise_cubic(*model).branches.items() if yes}  # noqa: E731
    one = vector(1, 1)
    assert taken(torch.diag(vector(1, 2)), one, one, 1.0) == {"positive"}
    assert taken(torch.diag(vector(0, 2)), one, one, 1.0) == {"singular"}
    assert taken(torch.diag(vector(-1, 2)), one, one, 1.0) == {"indefinite"}
    assert taken(torch.diag(vector(-1, 2)), vector(0, 1), one, 1.0) == {"indefinite", "hard"}


def test_the_hard_case_by_hand():
    """A = diag(-1, 2), g = (0, 1), damping 1: r_0 = 2, where y_2 = 1 / (2 + 1) and y_1 makes ||y|| = 2."""
    solution = minimise_cubic(torch.diag(vector(-1, 2)), vector(0, 1), vector(1, 1), 1.0)
    assert_close(solution.r, torch.tensor(2.0, dtype=torch.float64), rtol=1e-8, atol=0)
    assert_close(solution.eta.abs(), vector((4 - 1 / 9) ** 0.5, 1 / 3), rtol=1e-8, atol=0)


def test_a_saddle_point_is_left():
    """g = 0 with a negative eigenvalue: the model falls to both sides, and one of them is taken."""
    solution = minimise_cubic(torch.diag(vector(-3, 1)), vector(0, 0), vector(1, 1), 2.0)
    assert_close(solution.eta.abs(), vector(3, 0), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("D, damping", [(vector(1, 2, 3), 0.0), (vector(0, 0, 0), 5.0)])
def test_without_a_cubic_term_it_is_newtons_step(D, damping):
    H = vector([2, 1, 0], [1, -3, 1], [0, 1, 1])
    solution = minimise_cubic(H, vector(1, 2, 3), D, damping)
    assert_close(solution.eta, torch.linalg.solve(H, vector(1, 2, 3)), rtol=1e-12, atol=0)
    assert solution.free == 3


def test_at_a_minimum_it_stays():
    solution = minimise_cubic(torch.diag(vector(1, 2)), vector(0, 0), vector(1, 1), 1.0)
    assert not solution.eta.any() and solution.r == 0


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_is_answered_with_nan(bad):
    for H, g, D in [((bad, 2), (1, 1), (1, 1)), ((1, 2), (bad, 1), (1, 1)), ((1, 2), (1, 1), (bad, 1))]:
        assert minimise_cubic(torch.diag(vector(*H)), vector(*g), vector(*D), 1.0).eta.isnan().all()


def test_more_damping_shorter_steps():
    lengths = [minimise_cubic(torch.diag(vector(-1, 2)), vector(1, 1), vector(1, 2), 10.0**k).r for k in range(-2, 7)]
    assert all(a > b for a, b in zip(lengths, lengths[1:]))
    assert_close(
        lengths[-1] / lengths[-3], torch.tensor(0.1, dtype=torch.float64), rtol=1e-2, atol=0
    )  # r ~ damping^(-1/2)
