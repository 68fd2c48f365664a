"""Two ways to treat shared weights: when each is exact, and the definition of both in K-FAC and K-BFGS."""

import by_hand
import pytest
import torch
import torch.nn.functional as F
from forwards import Model
from layered import MODEL, N, make
from problems import error, noise
from torch import nn

from sobench import Objective
from sobench.losses import SquaredError
from sobench.objective.layers import matrices
from sobench.objective.layers.sharing import SHARING
from sobench.optim.kbfgs import KBFGS
from sobench.optim.kfac import KFAC

T, D, K = 3, 4, 2


def averaged(h):
    """The mean over locations, for a network in the reduce setting."""
    return h.mean(1)


def listed(h):
    """The outputs of all locations, for a network in the expand setting."""
    return h.flatten(1)


NETWORKS = {  # the end of the network, and the way that is exact for it
    "each location has a loss": (listed, "expand"),
    "the loss is of the mean": (averaged, "reduce"),
}


def deep_linear(end) -> nn.Module:
    """Three Linear layers with biases, over T locations."""
    torch.manual_seed(1)
    return Model(
        lambda self, x: end(self.c(self.b(self.a(x)))), a=nn.Linear(D, 3), b=nn.Linear(3, 3), c=nn.Linear(3, K)
    ).double()


def convolved(end) -> nn.Module:
    """A convolution and a Linear layer at its pixels."""
    torch.manual_seed(1)
    pixels = lambda h: h.flatten(2).transpose(1, 2)
    return Model(
        lambda self, x: end(self.c(pixels(self.a(x)))), a=nn.Conv2d(2, 3, 2, padding=1), c=nn.Linear(3, K)
    ).double()


def fisher(f: Objective, name: str, sharing: str) -> torch.Tensor:
    """Gamma x Omega of a layer, with Gamma summed over the columns of a root of the loss's Hessian, the identity.

    The targets z - e_c have the gradient e_c in the outputs: each is a sampled target as good as another.
    """
    z, Gamma = f.network(f.batch.inputs).detach(), 0
    for c in range(z.shape[1]):
        g = f.with_batch((f.batch.inputs, z - torch.eye(z.shape[1]).to(z)[c]))
        with g.record() as layers:
            g.propagate()
        record = SHARING[sharing](layers[name])
        Gamma = Gamma + matrices.grad_factor(record)
    return torch.kron(Gamma, matrices.input_factor(record))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("build, shape", [(deep_linear, (T, D)), (convolved, (2, 2, 3))])
def test_k_fac_is_the_gauss_newton_block_of_a_deep_linear_network(network, build, shape):
    """Propositions 1 and 2 of the paper, and that the other way is not exact there."""
    end, exact = NETWORKS[network]
    model, x = build(end), noise((N, *shape), 2)
    f = Objective(model, SquaredError(), (x, torch.zeros_like(model(x)).detach()))
    J = f.output_jacobian()
    G = torch.einsum("ncp,ncq->pq", J, J) / N
    for name in f.matrices.names:
        I, D_l = f.matrices.join(f.space.get())[name].shape
        rows = torch.stack([f.matrices.join(row)[name].flatten() for row in torch.eye(len(G)).to(G)])
        block = rows.T @ G @ rows
        assert block.shape == (I * D_l, I * D_l)
        assert error(fisher(f, name, exact), block) < 1e-12
        (other,) = SHARING.keys() - {exact}
        assert error(fisher(f, name, other), block) > 0.01


# The definition


def reduced(f: Objective, targets: torch.Tensor) -> dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """{layer: mean_t a_t [N, D], mean_t h_t [N, I], sum_t Dh_t [N, I]} by loops."""
    layers = by_hand.layers(f.network.model, F.cross_entropy, f.batch.inputs, targets)
    return {
        name: (
            torch.stack([sum(a) / len(a) for a in layer.a]),
            torch.stack([sum(h) / len(h) for h in layer.h]),
            torch.stack([sum(g) for g in layer.Dh]),
        )
        for name, layer in layers.items()
    }


def covariance(a: torch.Tensor) -> torch.Tensor:
    return sum(torch.outer(v, v) for v in a) / len(a)


@MODEL
def test_k_fac_reduce(model, device):
    f = make(model, device)
    optimizer = KFAC(f.space.parameters, lr=0.1, fisher="empirical", sharing="reduce")
    expected = reduced(f, f.batch.targets)
    optimizer.step(f)
    for name, (a, _, Dh) in expected.items():
        assert error(optimizer.factors[name]["Omega"], covariance(a)) < 1e-12
        assert error(optimizer.factors[name]["Gamma"], covariance(Dh)) < 1e-12


@MODEL
def test_k_bfgs_reduce(model, device):
    """A, H_A and the pairs of the first step, with one location."""
    f, lam, beta = make(model, device), 0.3, 0.9
    optimizer = KBFGS(f.space.parameters, lr=0.1, damping=lam, stats_decay=beta, sharing="reduce")
    before = reduced(f, f.batch.targets)
    optimizer.warm_start(f)
    H_A = {name: optimizer.factors[name]["H_A"].clone() for name in before}
    for name, (a, *_) in before.items():
        A = covariance(a)
        assert error(H_A[name], torch.linalg.inv(A + lam**0.5 * torch.eye(len(A)).to(A))) < 1e-10
    optimizer.step(f)
    after = reduced(f, f.batch.targets)
    for name, (a, h, Dh) in before.items():
        _, h_after, Dh_after = after[name]
        for pair, difference in (("s", h_after - h), ("y", Dh_after - Dh)):
            expected = (1 - beta) * difference.mean(0)  # rounding below BatchNorm
            torch.testing.assert_close(optimizer.factors[name][pair], expected, rtol=1e-9, atol=1e-14)
        s = H_A[name] @ a.mean(0)
        y = covariance(a) @ s + lam**0.5 * s
        assert error(optimizer.factors[name]["H_A"] @ y, s) < 1e-9  # the secant equation


@pytest.mark.parametrize("method", [KFAC, KBFGS])
def test_one_location_is_no_choice(method):
    """A layer without shared weights takes the same step in both ways."""
    moved = []
    for sharing in SHARING:
        f = make("mlp")
        optimizer = method(f.space.parameters, sharing=sharing)
        for _ in range(3):
            optimizer.step(f.on(f.batch))
        moved.append(f.space.get())
    torch.testing.assert_close(*moved, rtol=1e-12, atol=1e-14)
