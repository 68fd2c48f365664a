"""Torch's own optimizers, stepped by an objective, are torch's own loop bit for bit."""

import copy

import pytest
import torch
import torch.nn.functional as F
from problems import noise, problem

from sobench import Objective, load_optimizer

STEPS = 5
OPTIMIZERS = {
    "sgd": {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    "adam": {"lr": 0.01, "weight_decay": 0.01},
    "rmsprop": {"lr": 0.01, "centered": True},
    "adagrad": {"lr": 0.1},
    "lbfgs": {"lr": 0.5, "max_iter": 4, "history_size": 3},
    "lbfgs with line search": {"lr": 1.0, "max_iter": 4, "line_search_fn": "strong_wolfe"},
}


def batches(shape, dtype, device):
    for k in range(STEPS):
        yield noise((6, *shape), 10 + k).to(device, dtype), (torch.arange(6, device=device) + k) % 3


def by_hand(model, optimizer, shape, dtype, device):
    """The loop that torch's documentation gives."""
    found = []
    for inputs, targets in batches(shape, dtype, device):

        def closure(inputs=inputs, targets=targets):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(inputs), targets)
            loss.backward()
            return loss.detach()  # LBFGS makes a float of it: a warning, where it has a graph

        found.append(float(optimizer.step(closure)))
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("model", ["mlp_relu", "batchnorm", "conv_maxpool"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_same_bits_as_the_loop_by_hand(name, model, dtype, device):
    p = problem(model, "cross_entropy", device=device)
    ours, theirs = p.model.to(dtype), copy.deepcopy(p.model).to(dtype)
    make, shape = load_optimizer(name.split()[0]), p.batch[0].shape[1:]
    expected = by_hand(theirs, make(theirs.parameters(), **OPTIMIZERS[name]), shape, dtype, device)
    f, optimizer = None, make(ours.parameters(), **OPTIMIZERS[name])
    found = []
    for batch in batches(shape, dtype, device):
        f = Objective(ours, p.loss, batch) if f is None else f.on(batch)
        found.append(float(optimizer.step(f)))
    assert found == expected
    for (key, a), b in zip(ours.state_dict().items(), theirs.state_dict().values()):
        assert torch.equal(a, b), key
    assert f.cost.used == {"closure"}


def test_the_penalty_is_sgds_weight_decay_bit_for_bit(device):
    models = []
    for l2 in (0.0, 0.3):
        p = problem("mlp_tanh", "squared_error", l2=l2, device=device)
        f = Objective(p.model, p.loss, p.batch, l2=l2)
        optimizer = torch.optim.SGD(p.model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.3 - l2)
        for _ in range(STEPS):
            optimizer.step(f)
        models.append(p.theta)
    assert torch.equal(*models)


def test_the_closure_zeroes_what_was_there():
    p = problem("mlp_tanh", "cross_entropy")
    f = Objective(p.model, p.loss, p.batch)
    f()
    once = [q.grad.clone() for q in p.model.parameters()]
    f()
    assert all(torch.equal(q.grad, g) for q, g in zip(p.model.parameters(), once))
    with torch.no_grad():
        f()
    assert all(torch.equal(q.grad, g) for q, g in zip(p.model.parameters(), once))
