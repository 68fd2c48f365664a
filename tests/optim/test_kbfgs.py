"""K-BFGS against a dense transcription of the thesis's algorithms 4 and 9, and its degenerate cases."""

import math

import pytest
import torch
import torch.nn.functional as F
from objectives import through_a_file
from problems import LOSSES, Source, error, noise, problem
from problems import targets as make_targets
from torch import nn

from sobench import Objective, load_optimizer
from sobench.errors import UsageError
from sobench.optim.kbfgs import KBFGS, KBFGSL
from sobench.optim.kbfgs20 import KBFGS20, KBFGS20L

MLP = (lambda: [nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3)], (4,))
CONV = (lambda: [nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.Conv2d(3, 4, 2, bias=False), nn.Linear(16, 3)], (2, 5, 6))
NETS = {"mlp": MLP, "conv": CONV, "linear": (lambda: [nn.Linear(4, 3)], (4,))}
ALGORITHM_9 = {
    "lr": 0.3,
    "damping": 0.3,
    "momentum": 0.9,
    "dampening": 0.0,
    "weight_decay": 0.0,
    "stats_decay": 0.9,
    "curvature_period": 1,
    "mu1": 0.2,
    "powell": "lm",
    "action": "minibatch",
    "start": "inverse",
    "bias_input": "one",
    "double_gradient": False,
}
ALGORITHM_4 = ALGORITHM_9 | {"dampening": 0.9, "powell": "double", "action": "average"}


def layers_of(net):
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        return [layer.double() for layer in NETS[net][0]()]


class Reference:
    """f_B of tanh layers as a function of the matrices W_l [I, D], by unfolding; and the algorithm's lines on them."""

    def __init__(self, layers, formula, data, l2=0.0, **settings):
        self.layers, self.formula, self.l2, self.hp = layers, formula, l2, settings
        self.W = [
            torch.cat([m.weight.flatten(1), m.bias[:, None]], 1) if m.bias is not None else m.weight.flatten(1)
            for m in layers
        ]
        self.W = [W.detach().clone().requires_grad_() for W in self.W]
        self.k, self.M, self.second = 0, [torch.zeros_like(W) for W in self.W], None
        a, h, _ = self.forward(*data)
        self.T = [x.shape[1] for x in a]
        lam = settings["damping"]
        self.lam_A, self.lam_G = [(T * lam) ** 0.5 for T in self.T], [(lam / T) ** 0.5 for T in self.T]
        self.A = [self.second_moment(x) for x in a]
        self.H_A = [torch.linalg.inv(A + lam_A * torch.eye(len(A)).double()) for A, lam_A in zip(self.A, self.lam_A)]
        if settings["start"] == "identity":
            self.H_A = [torch.eye(len(A)).double() for A in self.A]
        gammas = [1 / lam_G if settings["powell"] == "lm" else 1.0 for lam_G in self.lam_G]
        self.H_0 = [gamma * torch.eye(len(W)).double() for gamma, W in zip(gammas, self.W)]
        self.H_G, self.pairs = list(self.H_0), [[] for _ in self.W]
        self.s, self.y = [torch.zeros(len(W)).double() for W in self.W], [torch.zeros(len(W)).double() for W in self.W]

    @staticmethod
    def second_moment(a):
        return torch.einsum("nti,ntj->ij", a, a).detach() / len(a)

    def forward(self, x, t):
        """a_l [N, T, D] and h_l [N, T, I] of every layer, and the sum of the losses."""
        inputs, outputs = [], []
        for i, (m, W) in enumerate(zip(self.layers, self.W)):
            conv = isinstance(m, nn.Conv2d)
            x = x if conv else x.flatten(1)
            a = F.unfold(x, m.kernel_size, m.dilation, m.padding, m.stride).transpose(1, 2) if conv else x[:, None]
            a = torch.cat([a, torch.ones_like(a[..., :1])], 2) if m.bias is not None else a
            h = a @ W.T
            inputs.append(a), outputs.append(h)
            z = h.transpose(1, 2) if conv else h[:, 0]
            if conv:
                size = [(n + 2 * p - k) // s + 1 for n, p, k, s in zip(x.shape[2:], m.padding, m.kernel_size, m.stride)]
                z = z.reshape(len(x), -1, *size)
            x = z if i == len(self.layers) - 1 else z.tanh()
        return inputs, outputs, self.formula(x, t).sum()

    def passes(self, x, t):
        """The gradients DW; means over samples and locations of a, h, Dh; the a; and the mean loss with its penalty."""
        a, h, total = self.forward(x, t)
        grads = torch.autograd.grad(total / len(x), [*self.W, *h])
        DW = [g + self.l2 * W.detach() for g, W in zip(grads, self.W)]
        Dh = [len(x) * g for g in grads[len(self.W) :]]
        means = [[u.detach().mean((0, 1)) for u in us] for us in (a, h, Dh)]
        return DW, *means, a, total.detach() / len(x) + self.l2 / 2 * sum((W.detach() ** 2).sum() for W in self.W)

    def step(self, x, t):
        hp = self.hp
        beta = hp["stats_decay"]
        self.k += 1
        DW, mean_a, mean_h, mean_Dh, a, loss = self.passes(x, t)
        if self.second is not None:
            DW, self.second = [(g + g2) / 2 for g, g2 in zip(DW, self.second)], None
        for l, g in enumerate(DW):
            self.M[l] = hp["momentum"] * self.M[l] + (1 - hp["dampening"]) * g
            p = self.H_G[l] @ self.M[l] @ self.H_A[l]
            with torch.no_grad():
                self.W[l] -= hp["lr"] * (p + hp["weight_decay"] * self.W[l])
        if self.k % hp["curvature_period"]:
            return loss
        DW2, _, mean_h2, mean_Dh2, _, _ = self.passes(x, t)
        self.second, self.ratios = DW2 if hp["double_gradient"] else None, []
        for l in range(len(self.W)):
            A = self.second_moment(a[l])
            self.A[l] = beta * self.A[l] + (1 - beta) * A
            A = self.A[l] if hp["action"] == "average" else A
            if hp["bias_input"] == "mean" and self.layers[l].bias is not None:
                mean_a[l][-1] = mean_a[l][:-1].mean()
            s = self.H_A[l] @ mean_a[l]
            self.H_A[l] = recursion(self.H_A[l], s, A @ s + self.lam_A[l] * s)
            self.s[l] = beta * self.s[l] + (1 - beta) * (mean_h2[l] - mean_h[l])
            self.y[l] = beta * self.y[l] + (1 - beta) * (mean_Dh2[l] - mean_Dh[l])
            pair = self.damped(self.s[l], self.y[l], self.H_G[l], self.lam_G[l])
            self.ratios.append(float(pair[1] @ self.H_G[l] @ pair[1] / (pair[0] @ pair[1])))
            self.pairs[l].append(pair)
            self.H_G[l] = self.H_0[l]
            for s, y in self.pairs[l][-hp.get("history", 1000) :]:
                self.H_G[l] = recursion(self.H_G[l], s, y)
        return loss

    def damped(self, s, y, H, mu2):
        """Algorithm 3 or algorithm 8."""
        mu1, yHy = self.hp["mu1"], y @ H @ y
        theta = (1 - mu1) * yHy / (yHy - s @ y) if s @ y < mu1 * yHy else 1
        s = theta * s + (1 - theta) * H @ y
        if self.hp["powell"] == "lm":
            return s, y + mu2 * s
        theta = (1 - mu2) * (s @ s) / (s @ s - s @ y) if s @ y < mu2 * (s @ s) else 1
        return s, theta * y + (1 - theta) * s

    @property
    def theta(self):
        """As the model's parameters lie: weight, bias, weight, ..."""
        parts = [(W[:, :-1], W[:, -1]) if m.bias is not None else (W,) for W, m in zip(self.W, self.layers)]
        return torch.cat([p.detach().flatten() for pair in parts for p in pair])


def recursion(H, s, y):
    """Equation 2.6."""
    rho, eye = 1 / (s @ y), torch.eye(len(s), dtype=s.dtype)
    return (eye - rho * torch.outer(s, y)) @ H @ (eye - rho * torch.outer(y, s)) + rho * torch.outer(s, s)


def sequential(layers):
    parts = []
    for m in layers:
        parts += [nn.Flatten(), m, nn.Tanh()] if isinstance(m, nn.Linear) else [m, nn.Tanh()]
    return nn.Sequential(*parts[:-1])


def batch(net, seed, loss="cross_entropy", samples=7):
    """Inputs of mean 0.5, so that no mean over samples is small by chance."""
    return noise((samples, *NETS[net][1]), seed) + 0.5, make_targets(LOSSES[loss][0], samples, 3, seed)


def run(cls, net="mlp", steps=6, loss="cross_entropy", l2=0.0, device="cpu", **settings):
    """The optimizer after `steps` batches, its objective of the last, and what each step returned."""
    model = sequential(layers_of(net)).to(device)
    optimizer, losses = cls(model.parameters(), **settings), []
    for k in range(steps):
        f = Objective(model, LOSSES[loss][0], [t.to(device) for t in batch(net, k, loss)], l2=l2)
        losses.append(float(optimizer.step(f)))
    return optimizer, f, losses


CASES = {  # name: (optimizer, what its settings must amount to)
    "algorithm 9": (KBFGS, ALGORITHM_9, {}),
    "algorithm 9, L": (KBFGSL, ALGORITHM_9, {"history": 3}),
    "algorithm 4": (KBFGS20, ALGORITHM_4, {}),
    "algorithm 4, L": (KBFGS20L, ALGORITHM_4, {"history": 3}),
    "improvement 1 off": (KBFGS, ALGORITHM_9, {"powell": "double"}),
    "improvement 2 off": (KBFGS, ALGORITHM_9, {"action": "average"}),
    "bias input": (KBFGS20, ALGORITHM_4, {"bias_input": "mean"}),
    "identity": (KBFGS20, ALGORITHM_4, {"start": "identity", "lr": 0.05}),
    "periods": (KBFGS, ALGORITHM_9, {"curvature_period": 3, "weight_decay": 0.1, "stats_decay": 0.7, "mu1": 0.4}),
    "double gradient": (KBFGS20, ALGORITHM_4, {"double_gradient": True}),
    "double gradient, periods": (KBFGS20, ALGORITHM_4, {"double_gradient": True, "curvature_period": 2}),
}


@pytest.mark.parametrize("net", ["mlp", "conv"])
@pytest.mark.parametrize("name", CASES)
def test_steps_are_the_algorithms(name, net, device):
    cls, algorithm, changes = CASES[name]
    settings = algorithm | changes
    loss, l2 = ("squared_error", 0.01) if "algorithm" in name else ("cross_entropy", 0.0)
    reference = Reference(layers_of(net), LOSSES[loss][1], batch(net, 0, loss), l2, **settings)
    expected = [float(reference.step(*batch(net, k, loss))) for k in range(8)]
    optimizer, f, losses = run(cls, net, 8, loss, l2, device, **{"lr": 0.3} | changes)
    assert losses == pytest.approx(expected, rel=1e-8)
    assert error(f.space.get().cpu(), reference.theta) < 1e-8
    for factor, H_A in zip(optimizer.factors.values(), reference.H_A):
        assert error(factor["H_A"].cpu(), H_A) < 1e-7


def test_the_cases_meet_both_branches_of_the_dampings():
    """Pairs with enough curvature, with too little and with a negative one are all met by the test above."""
    met = set()
    for net, algorithm in [("mlp", ALGORITHM_4), ("conv", ALGORITHM_4)]:
        reference = Reference(layers_of(net), LOSSES["cross_entropy"][1], batch(net, 0), **algorithm)
        for k in range(8):
            H_G = list(reference.H_G)
            reference.step(*batch(net, k))
            for s, y, H, pairs, lam_G in zip(reference.s, reference.y, H_G, reference.pairs, reference.lam_G):
                met |= {("powell", bool(s @ y < 0.2 * (y @ H @ y))), ("negative", bool(s @ y < 0))}
                met |= {("identity", bool(pairs[-1][0] @ y < lam_G * (pairs[-1][0] @ pairs[-1][0])))}
    assert met == {(branch, way) for branch in ("powell", "negative", "identity") for way in (False, True)}


@pytest.mark.parametrize("net", ["mlp", "conv"])
@pytest.mark.parametrize(("full", "limited"), [(KBFGS, KBFGSL), (KBFGS20, KBFGS20L)])
def test_a_memory_longer_than_the_run_changes_nothing(full, limited, net):
    _, f, losses = run(full, net, steps=20, lr=0.1)
    _, g, limited_losses = run(limited, net, steps=20, lr=0.1, history=21)
    assert limited_losses == pytest.approx(losses, rel=1e-8) and error(g.space.get(), f.space.get()) < 1e-7
    _, h, _ = run(limited, net, steps=20, lr=0.1, history=4)
    assert error(h.space.get(), f.space.get()) > 1e-5


@pytest.mark.parametrize(("new", "old"), [(KBFGS, KBFGS20), (KBFGSL, KBFGS20L)])
def test_both_improvements_off_is_k_bfgs_20(new, old):
    """Table 3.8; bit for bit, where K-BFGS-20 is run with heavy ball as chapter 3 does."""
    _, f, _ = run(new, lr=0.1, powell="double", action="average")
    _, g, _ = run(old, lr=0.1, dampening=0.0)
    assert torch.equal(f.space.get(), g.space.get())


@pytest.mark.parametrize("cls", [KBFGS, KBFGSL])
def test_with_much_damping_it_is_heavy_ball_with_lr_over_damping(cls):
    """lambda to infinity: H_A = I / lambda_A and H_G = I / lambda_G stay, and lambda_A lambda_G = lambda.

    Where s'y > 0, as for squared error behind one layer (y = s): Powell's damping of a pair with s'y < 0 gives
    s~ = H y and y~ = 2 y for any lambda, and halves H_G along y.
    """
    _, f, _ = run(cls, "linear", loss="squared_error", lr=1e11, damping=1e12)
    _, g, _ = run(torch.optim.SGD, "linear", loss="squared_error", lr=0.1, momentum=0.9)
    assert error(f.space.get(), g.space.get()) < 1e-5


def test_between_curvature_steps_the_factors_rest_and_no_second_pass_is_made():
    optimizer, f, _ = run(KBFGS, steps=2, curvature_period=3)
    before = {l: factor["H_A"].clone() for l, factor in optimizer.factors.items()}
    f = f.on(f.batch)
    f.cost.forwards = 0
    optimizer.step(f)
    assert f.cost.forwards == 2 and all(not torch.equal(optimizer.factors[l]["H_A"], H) for l, H in before.items())
    assert optimizer.diagnostics
    before = {l: (factor["H_A"].clone(), factor["H_G"]["H"].clone()) for l, factor in optimizer.factors.items()}
    for _ in range(2):
        optimizer.step(f := f.on(f.batch))
    assert f.cost.forwards == 4 and optimizer.diagnostics == {}
    for l, factor in optimizer.factors.items():
        assert torch.equal(factor["H_A"], before[l][0]) and torch.equal(factor["H_G"]["H"], before[l][1])


@pytest.mark.parametrize("cls", [KBFGS, KBFGSL])
def test_diagnostics_are_those_of_figure_2_1(cls):
    settings = ALGORITHM_9 | {"mu1": 0.9, "damping": 0.03}
    reference, met = Reference(layers_of("mlp"), LOSSES["cross_entropy"][1], batch("mlp", 0), **settings), set()
    for k in range(1, 7):
        reference.step(*batch("mlp", k - 1))
        optimizer, _, _ = run(cls, steps=k, lr=0.3, mu1=0.9, damping=0.03)
        got = {key: float(value) for key, value in optimizer.diagnostics.items()}
        expected = {f"yhy/{l}": r for l, r in enumerate(reference.ratios, 1)}
        expected |= {f"yhy_ok/{l}": float(r <= 2 / 0.9) for l, r in enumerate(reference.ratios, 1)}
        assert got == pytest.approx(expected, rel=1e-7)
        met |= {value for key, value in expected.items() if "ok" in key}
    assert met == {0.0, 1.0}


def test_the_memory_resumes_when_it_is_full_and_when_it_is_not():
    for steps in (1, 3):
        straight, f, _ = run(KBFGSL, steps=steps, history=2)
        saved = through_a_file(straight.state_dict())
        model = sequential(layers_of("mlp"))
        model.load_state_dict(f.network.model.state_dict())
        resumed = KBFGSL(model.parameters(), history=2)
        resumed.load_state_dict(saved)
        for k in range(7, 10):
            straight.step(f.on(batch("mlp", k)))
            resumed.step(Objective(model, f.loss_function, batch("mlp", k)))
        assert all(torch.equal(p, q) for p, q in zip(model.parameters(), f.network.model.parameters()))


@pytest.mark.parametrize("cls", [KBFGS, KBFGS20L])
def test_batchnorm_moves_along_the_momentum_over_the_damping(cls):
    """Section 3.4.3."""
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)).double()
    start, m = model[1].weight.detach().clone(), 0
    optimizer = cls(model.parameters(), lr=0.2, damping=0.5, dampening=0.25)
    for k in range(3):
        f = Objective(model, LOSSES["cross_entropy"][0], batch("mlp", k))
        m = 0.9 * m + 0.75 * f.space.named(f.value_and_grad()[1])["1.weight"].clone()
        start = start - 0.2 / 0.5 * m
        optimizer.step(f)
        assert error(model[1].weight.detach(), start) < 1e-12


@pytest.mark.parametrize("cls", [KBFGS, KBFGSL, KBFGS20, KBFGS20L])
def test_a_dead_layer_leaves_every_factor_finite(cls):
    """Its outputs, their gradients and what reads it are exactly 0: s'y = 0 in three of the updates."""
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3, bias=False)).double()
    with torch.no_grad():
        model[0].bias.fill_(-100)
    optimizer = cls(model.parameters(), lr=0.1)
    for k in range(3):
        loss = optimizer.step(Objective(model, LOSSES["cross_entropy"][0], batch("mlp", k)))
    assert float(loss) == pytest.approx(math.log(3)) and all(p.isfinite().all() for p in model.parameters())
    for factor in optimizer.factors.values():
        H_G = optimizer.inverse(factor["H_G"]) @ torch.eye(len(factor["s"]), dtype=torch.float64)
        assert H_G.isfinite().all() and factor["H_A"].isfinite().all()


@pytest.mark.parametrize("name", ["kbfgs", "kbfgs_l", "kbfgs20", "kbfgs20_l"])
def test_bad_hyperparameters(name):
    bad = {"damping": 0.0, "mu1": 1.0, "powell": "none", "action": "batch", "start": "zero", "curvature_period": 0}
    for key, value in bad.items():
        with pytest.raises(UsageError, match=rf"^{key}: got {value!r}, allowed: "):
            load_optimizer(name)(nn.Linear(2, 2).parameters(), **{key: value})


def test_the_average_starts_as_the_mean_over_all_batches(device):
    """A = E[(x, 1) (x, 1)'] of the first layer, over 12 samples in batches of 6."""
    p = problem("mlp_tanh", "cross_entropy", device=device)
    f = Objective(p.model, p.loss, p.batch, source=Source(p, samples=12))
    optimizer = KBFGS20(p.model.parameters())
    optimizer.warm_start(f)
    x = torch.cat([f.source.inputs, torch.ones_like(f.source.inputs[:, :1])], 1)
    assert error(optimizer.factors["0"]["A"], x.T @ x / 12) < 1e-12
