"""What shows only when a model runs: noise, samples that interact, modules with two names, layers frozen later."""

import pytest
import torch
import torch.nn.functional as F
from forwards import Model
from torch import Tensor, nn

from sobench import Objective, load_optimizer
from sobench.losses import CrossEntropy
from sobench.objective import make_partition

N = 6


def two_layers(between, **modules: nn.Module) -> Model:
    torch.manual_seed(0)
    layers = {"a": nn.Linear(4, 5).double(), "b": nn.Linear(5, 3).double()}
    return Model(lambda self, x: self.b(between(self, torch.tanh(self.a(x)))), **layers, **modules)


def objective(model: nn.Module, samples: int = N) -> Objective:
    torch.manual_seed(1)
    return Objective(model, CrossEntropy(), (torch.randn(samples, 4).double(), torch.arange(samples) % 3))


def _noise(self, h: Tensor) -> Tensor:
    return h + torch.randn_like(h) if self.training else h


NOISY = {
    "F.dropout": lambda: two_layers(lambda self, h: F.dropout(h, 0.5, self.training)),
    "added noise": lambda: two_layers(_noise),
    "stochastic depth": lambda: two_layers(lambda self, h: h * (torch.rand(()) < 0.5) if self.training else h),
    "nn.Dropout": lambda: two_layers(lambda self, h: self.drop(h), drop=nn.Dropout(0.5)),
}


@pytest.mark.parametrize("name", NOISY)
def test_one_objective_has_one_value_and_leaves_the_random_state(name):
    f = objective(NOISY[name]())
    state = torch.get_rng_state()
    values = [f.loss(), f.value_and_grad()[0], f.loss(f.space.get()), f(), f.loss()]
    assert max(values) - min(values) < 1e-14
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("name", NOISY)
def test_the_oracles_are_those_of_the_same_mask(name):
    """The Hessian is the derivative of the gradient: only of one function."""
    f = objective(NOISY[name]())
    theta, v, h = f.space.get(), torch.ones(f.space.size).double(), 1e-6
    differences = (f.value_and_grad(theta + h * v)[1] - f.value_and_grad(theta - h * v)[1]) / (2 * h)
    torch.testing.assert_close(f.hessian() @ v, differences, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", NOISY)
def test_another_step_has_another_mask(name):
    f = objective(NOISY[name]())
    losses = {f.on(f.batch).loss().item() for _ in range(12)}
    assert len(losses) > 1


def test_without_noise_nothing_is_seeded():
    f = objective(two_layers(lambda self, h: h))
    assert not f.network.draws_noise and f._noise_seed is None


INTERACTING = {
    "a mean over the batch": lambda: two_layers(lambda self, h: h - h.mean(0)),
    "F.batch_norm": lambda: two_layers(lambda self, h: F.batch_norm(h, None, None, training=True)),
    "the first sample": lambda: two_layers(lambda self, h: h + h[:1]),
}


@pytest.mark.parametrize("name", INTERACTING)
def test_derivatives_of_single_samples_where_samples_interact(name):
    f = objective(INTERACTING[name]())
    theta = tuple(p.detach().requires_grad_() for p in f.space.unflatten(f.space.get()))
    z = f.network(f.batch.inputs, theta)
    losses = F.cross_entropy(z, f.batch.targets, reduction="none")
    flat = lambda y: f.space.flatten(torch.autograd.grad(y, theta, retain_graph=True, materialize_grads=True))
    torch.testing.assert_close(f.per_sample_grads(), torch.stack([flat(y) for y in losses]))
    torch.testing.assert_close(f.output_jacobian(), torch.stack([torch.stack([flat(y) for y in row]) for row in z]))
    torch.testing.assert_close(f.per_sample_grads().mean(0), f.value_and_grad()[1])


def test_the_comparison_of_samples_is_not_metered_and_made_once():
    f = objective(two_layers(lambda self, h: h))
    f.per_sample_grads()
    assert f.network.interacts is False and f.cost.forwards == 1
    alone = objective(two_layers(lambda self, h: h), samples=1)
    alone.per_sample_grads()
    assert alone.network.interacts is None  # one sample shows nothing


def _aliased() -> Model:
    model = two_layers(lambda self, h: h)
    model.layers = nn.ModuleList([model.a, model.b])
    return model


def _tied() -> Model:
    torch.manual_seed(0)
    model = Model(
        lambda self, x: self.c(torch.tanh(self.b(torch.tanh(self.a(x))))), a=nn.Linear(4, 4), b=nn.Linear(4, 4)
    )
    model.c = nn.Linear(4, 3)
    model.b.weight = model.a.weight
    return model.double()


@pytest.mark.parametrize("make", [_aliased, _tied])
def test_passes_elsewhere_leave_the_parameters_of_the_model_in_place(make):
    f = objective(make())
    before = [(name, id(p)) for name, p in f.network.model.named_parameters(remove_duplicate=False)]
    theta, v = f.space.get(), torch.ones(f.space.size).double()
    f.loss(theta + v), f.value_and_grad(theta + v), f.loss(theta + 1e-20j * v), f.per_sample_grads(theta + v)
    f.summary(v, make_partition(f.space, "canonical"), theta + v)
    assert [(name, id(p)) for name, p in f.network.model.named_parameters(remove_duplicate=False)] == before
    torch.testing.assert_close(f.space.get(), theta)
    f.space.assign_(theta + v)
    torch.testing.assert_close(f.loss(), f.loss(theta + v))
    torch.testing.assert_close(f.per_sample_grads().mean(0), f.value_and_grad()[1])


@pytest.mark.parametrize(
    "optimizer, settings",
    [
        ("hessian_free", {}),
        ("newton_krylov", {"screening": False}),
        ("kfac", {"damping_rule": "levenberg_marquardt"}),
    ],
)
def test_a_module_with_two_names_is_trained_as_with_one(optimizer, settings):
    trained = []
    for make in (lambda: two_layers(lambda self, h: h), _aliased):
        model = make()
        method = load_optimizer(optimizer)(model.parameters(), **settings)
        for seed in range(3):
            torch.manual_seed(seed)
            method.step(objective(model))
        trained.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*trained)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("kept", [True, False], ids=["one objective", "an objective each step"])
def test_a_layer_that_is_frozen_later_stays(kept, momentum):
    model = two_layers(lambda self, h: h)
    optimizer = load_optimizer("sgd")(model.parameters(), lr=0.1, momentum=momentum, weight_decay=0.1)
    f = objective(model)
    optimizer.step(f)
    model.a.requires_grad_(False)
    frozen, other = model.a.weight.clone(), model.b.weight.clone()
    for _ in range(3):
        optimizer.step(f.on(f.batch) if kept else objective(model))
    assert torch.equal(model.a.weight, frozen) and not torch.equal(model.b.weight, other)
