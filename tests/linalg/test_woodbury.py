"""Tests of the small Woodbury system against the large one, and of equation 5.6 against 5.7."""

import math

import pytest
import torch
from problems import error, noise

from sobench.linalg.woodbury import inner_solve

N, n, P = 4, 6, 9
DAMPING = 0.3


def system(rank=n, seed=0):
    """U [n, P], g [P], and G = damping I + U'U / N."""
    U = noise((n, rank), seed) @ noise((rank, P), seed + 1)
    return U, noise((P,), seed + 2), DAMPING * torch.eye(P).to(U) + U.T @ U / N


@pytest.mark.parametrize("rank", [n, 2, 1])
def test_the_small_solve_gives_the_large_one(rank):
    U, g, G = system(rank)
    d = inner_solve(U @ U.T / N, U @ g, DAMPING)
    assert error((g - U.T @ d / N) / DAMPING, torch.linalg.solve(G, g)) < 1e-12


def test_u_times_the_solution_is_d():
    """What the predicted reduction rests on: g'G^-1 g = d'd / N + damping ||G^-1 g||^2."""
    U, g, G = system()
    d, x = inner_solve(U @ U.T / N, U @ g, DAMPING), torch.linalg.solve(G, g)
    assert error(d, U @ x) < 1e-12
    assert error(d @ d / N + DAMPING * x @ x, g @ x) < 1e-12


def test_systems_of_a_batch_are_solved_each_by_itself():
    systems = [system(seed=seed) for seed in (0, 10, 20)]
    damping = torch.tensor(DAMPING, dtype=torch.float64)
    d = inner_solve(
        torch.stack([U @ U.T / N for U, _, _ in systems]), torch.stack([U @ g for U, g, _ in systems]), damping
    )
    for d_l, (U, g, _) in zip(d, systems):
        assert error(d_l, inner_solve(U @ U.T / N, U @ g, DAMPING)) < 1e-14


def test_with_a_root_of_h_it_is_equation_5_6_and_equation_5_7():
    J, g, _ = system()
    R = noise((n, n), 5)
    H = R @ R.T
    eye = torch.eye(n).to(J)
    d = inner_solve(R.T @ J @ J.T @ R / N, R.T @ J @ g, DAMPING)
    ours = (g - J.T @ R @ d / N) / DAMPING
    D = DAMPING * torch.linalg.inv(H) + J @ J.T / N
    assert error(ours, (g - J.T @ torch.linalg.solve(D, J @ g) / N) / DAMPING) < 1e-9
    D = DAMPING * eye + J @ J.T @ H / N
    assert error(ours, (g - J.T @ H @ torch.linalg.solve(D, J @ g) / N) / DAMPING) < 1e-10


def test_with_a_singular_h_it_is_equation_5_7():
    J, g, _ = system()
    R = noise((n, 2), 5)
    D = DAMPING * torch.eye(n).to(J) + J @ J.T @ R @ R.T / N
    d = inner_solve(R.T @ J @ J.T @ R / N, R.T @ J @ g, DAMPING)
    expected = (g - J.T @ R @ R.T @ torch.linalg.solve(D, J @ g) / N) / DAMPING
    assert error((g - J.T @ R @ d / N) / DAMPING, expected) < 1e-12


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_what_cannot_be_factored_is_nan_and_its_neighbours_are_not(bad):
    K = torch.stack([torch.eye(3), torch.diag(torch.tensor([1.0, bad, 1.0]))])
    d = inner_solve(K, torch.ones(2, 3), 0.5)
    assert error(d[0], torch.full((3,), 1 / 1.5)) < 1e-6 and d[1].isnan().all()
