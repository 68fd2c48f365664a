"""SGD with decoupled weight decay against torch's SGD and the formula."""

import copy

import pytest
import torch
from problems import error, noise, problem

from sobench import Objective
from sobench.optim.sgdw import SGDW


def objective(device="cpu"):
    p = problem("mlp_tanh", "cross_entropy", device=device)
    return Objective(p.model, p.loss, p.batch)


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_formula(nesterov, device):
    f = objective(device)
    optimizer, m = SGDW(f.space.parameters, lr=0.1, momentum=0.8, weight_decay=0.3, nesterov=nesterov), 0.0
    for _ in range(4):
        loss, g = f.value_and_grad()
        m = 0.8 * m + g
        W = f.space.get()
        assert optimizer.step(f) == loss
        assert error(f.space.get(), W - 0.1 * ((g + 0.8 * m if nesterov else m) + 0.3 * W)) < 1e-14


def test_without_weight_decay_it_is_torchs_sgd_bit_for_bit(device):
    f = objective(device)
    g = Objective(copy.deepcopy(f.network.model), f.loss_function, f.batch)
    ours, theirs = (
        SGDW(f.space.parameters, lr=0.1, momentum=0.9),
        torch.optim.SGD(g.space.parameters, lr=0.1, momentum=0.9),
    )
    for _ in range(4):
        assert ours.step(f) == theirs.step(g)
    assert torch.equal(f.space.get(), g.space.get())


def test_each_group_has_its_own_and_keeps_it():
    W, b, unused = (torch.nn.Parameter(noise((3,), seed)) for seed in range(3))
    start = [p.detach().clone() for p in (W, b, unused)]
    optimizer = SGDW([{"params": [W, unused], "weight_decay": 0.5}, {"params": [b], "lr": 0.2}], lr=0.1)
    for p in (W, b):
        p.grad = noise((3,), 7)
    assert optimizer.step() is None
    assert error(W, start[0] - 0.1 * (W.grad + 0.5 * start[0])) < 1e-15
    assert error(b, start[1] - 0.2 * b.grad) < 1e-15
    assert torch.equal(unused, start[2])
    assert [group["weight_decay"] for group in optimizer.state_dict()["param_groups"]] == [0.5, 0]


def test_the_weight_decay_survives_a_step_that_fails():
    W = torch.nn.Parameter(torch.ones(3))
    optimizer = SGDW([W], weight_decay=0.5, momentum=0.9)
    W.grad = torch.ones(3)
    optimizer.state[W]["momentum_buffer"] = torch.ones(2)
    with pytest.raises(RuntimeError):
        optimizer.step()
    assert optimizer.param_groups[0]["weight_decay"] == 0.5
