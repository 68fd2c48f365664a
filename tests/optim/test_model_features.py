"""Every optimizer on models with unusual layers and precisions: the step of a plain model, or one line."""

import pytest
import torch
from forwards import Model
from recorded import CLASSES, LAYERED, WIDTH, N, last, seeded, square
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils import weight_norm as old_weight_norm

from sobench import Objective, load_optimizer
from sobench.config import registry
from sobench.errors import SobenchError, Unsupported, UsageError
from sobench.losses import CrossEntropy
from sobench.optim.base import SecondOrderOptimizer

OPTIMIZERS = tuple(name for name in sorted(registry.entries("optimizers")) if name != "newton_summary")
BASED = tuple(
    name
    for name in OPTIMIZERS
    if issubclass(cls := load_optimizer(name), SecondOrderOptimizer) and "closure" not in cls.requires
)
"""Optimizers of this package that ask for more than the closure."""
ON_WEIGHTS = (*LAYERED, "kbfgs20_l", "kernel_sgd")
"""Optimizers that need the weights of layers, beside those of records."""
STATISTICS = ("kfac", "block_fisher", "kbfgs", "kbfgs_l", "shampoo", "tnt", "smw_gn", "smw_ng", "smw_ng_bd")


SETTINGS = {"newton_krylov": {"screening": False}}


class Source:
    """A training set of these batches."""

    def __init__(self, *batches):
        self._batches = batches

    def draw(self, samples, generator):
        return self._batches[0]

    def batches(self, size, generator):
        return iter(self._batches)

    def chunks(self):
        return list(self._batches)


def batch(seed: int = 1, dtype=torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(N, WIDTH, generator=generator).to(dtype), torch.arange(N) % CLASSES


def make(optimizer: str, model: nn.Module) -> torch.optim.Optimizer:
    return load_optimizer(optimizer)(model.parameters(), **SETTINGS.get(optimizer, {}))


def steps(optimizer: str, model: nn.Module, data, count: int = 2) -> Tensor:
    """The parameters in float32 after some steps."""
    method = make(optimizer, model)
    for seed in range(count):
        torch.manual_seed(seed)
        method.step(Objective(model, CrossEntropy(), data, source=Source(data)))
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def plain() -> nn.Module:
    return nn.Sequential(square(), nn.Tanh(), last())


# Weights that are computed


def _pruned() -> nn.Module:
    model = plain()
    prune.l1_unstructured(model[0], "weight", amount=0.5)
    return model


def _parametrized(by) -> nn.Module:
    model = plain()
    by(model[0])
    return model


COMPUTED = {
    "weight_norm": lambda: _parametrized(parametrizations.weight_norm),
    "spectral_norm": lambda: _parametrized(parametrizations.spectral_norm),
    "orthogonal": lambda: _parametrized(parametrizations.orthogonal),
    "a bias": lambda: _parametrized(lambda layer: parametrizations.weight_norm(layer, "bias", dim=None)),
    "weight_norm of old": lambda: _parametrized(old_weight_norm),
    "pruning": _pruned,
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
@pytest.mark.parametrize("name", COMPUTED)
def test_layers_with_computed_weights_are_named(name):
    for optimizer in ON_WEIGHTS:
        model = seeded(COMPUTED[name])
        with pytest.raises(Unsupported, match=r"layer 0 \(\w+\): its (weight|bias) is computed from other parameters"):
            steps(optimizer, model, batch())


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
@pytest.mark.parametrize("optimizer", ["sgdw", "tnt", "shampoo", "robust_lbfgs", "damped_newton", "hf_newton", "adam"])
def test_methods_on_gradients_train_computed_weights(optimizer):
    """The parametrization of torch and a module that computes the same weight take the same steps."""

    class Normed(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.bias, self.g, self.v = layer.bias, layer.weight_g, layer.weight_v

        def forward(self, x):
            weight = self.g * self.v / self.v.square().sum(1, keepdim=True).sqrt()
            return nn.functional.linear(x, weight, self.bias)

    ends = []
    for written in (lambda layer: layer, Normed):
        model = seeded(COMPUTED["weight_norm of old"])
        model[0] = written(model[0])
        ends.append(steps(optimizer, model, batch()))
    torch.testing.assert_close(*ends, rtol=1e-8, atol=1e-9)


# A layer that some batches do not use


class Sometimes(nn.Module):
    """A network that calls its middle layer where the first entry of the batch is positive."""

    def __init__(self):
        super().__init__()
        self.first, self.middle, self.last = square(), square(), last()

    def forward(self, x):
        h = self.first(x).tanh()
        return self.last(self.middle(h).tanh() if x[0, 0] > 0 else h)


class Likeliest(CrossEntropy):
    """The cross entropy, whose sampled labels are the likeliest ones."""

    def sample(self, outputs, generator=None):
        return outputs.argmax(1)


def signed(sign: int, seed: int) -> tuple[Tensor, Tensor]:
    x, y = batch(seed)
    x[0, 0] = sign * x[0, 0].abs()
    return x, y


@pytest.mark.parametrize("optimizer", [*LAYERED, "kbfgs20_l"])
def test_a_batch_that_does_not_use_a_layer_leaves_its_statistics(optimizer):
    """The warm start is that of the batches which use the layer; a later batch without it changes no factor of it."""
    used, unused = signed(1, 1), signed(-1, 2)
    states = []
    for batches in ((used,), (unused, used, unused)):
        model = seeded(Sometimes)
        method = make(optimizer, model)
        f = Objective(model, Likeliest(), used, source=Source(*batches))
        method.warm_start(f)
        states.append(middle(method))
        for _ in range(2):
            method.step(f.on(unused))
            states.append(middle(method))
        method.step(f.on(used))
        assert torch.isfinite(f.space.get()).all()
    first = states[0]
    for state in states[1:]:
        assert all(torch.equal(state[key], first[key]) for key in first)
    assert first or optimizer.startswith("smw")  # which keeps no statistics


def middle(method: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The statistics of the middle layer."""
    factors = method.global_state.get("factors", {}).get("middle", {})
    factors = factors or {"F": method.global_state.get("blocks", {}).get("middle")}
    return {key: value.clone() for key, value in factors.items() if isinstance(value, Tensor)}


@pytest.mark.parametrize("optimizer", ["kfac", "block_fisher", "kbfgs", "kbfgs_l", "kbfgs20", "kbfgs20_l"])
def test_a_layer_that_no_batch_uses_is_named(optimizer):
    with pytest.raises(UsageError, match="layer middle is used by no batch .*; allowed: "):
        steps(optimizer, seeded(Sometimes), signed(-1, 1))


@pytest.mark.parametrize("optimizer", ["smw_ng", "smw_gn", "smw_ng_bd"])
def test_a_model_without_a_layer_is_refused(optimizer):
    model = seeded(lambda: nn.Sequential(nn.LayerNorm(WIDTH), last().requires_grad_(False)))
    with pytest.raises(Unsupported, match="no Linear or Conv2d layer"):
        steps(optimizer, model, batch())


# Sparse gradients


class Words(nn.Module):
    def __init__(self, sparse: bool):
        super().__init__()
        self.words, self.last = nn.Embedding(5, WIDTH, sparse=sparse), last()

    def forward(self, x):
        return self.last(self.words(x).mean(1).tanh())


@pytest.mark.parametrize("l2", [0.0, 0.1])
@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_sparse_embeddings_take_the_steps_of_dense_ones(optimizer, l2):
    torch.manual_seed(2)
    data = torch.randint(5, (N, 3)), torch.arange(N) % CLASSES
    ends = []
    for sparse in (False, True):
        model = seeded(lambda sparse=sparse: Words(sparse))
        method = make(optimizer, model)
        try:
            for seed in range(2):
                torch.manual_seed(seed)
                method.step(Objective(model, CrossEntropy(), data, l2=l2, source=Source(data)))
        except SobenchError:  # an embedding has no complex form
            assert optimizer == "newton_krylov"
        except RuntimeError as error:  # torch's own refusal, by the name of the optimizer
            assert "sparse" in str(error) and not l2 and optimizer in ("adam", "rmsprop")
            return
        assert model.words.sparse == sparse
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(*ends, rtol=1e-10, atol=1e-12)


# Precision


UNSTABLE = ("newton", "adahessian", "esgd", "lbfgs", "adam", "rmsprop")
"""Optimizers that divide by small numbers, or whose random probe is another in another precision."""


def _autocast() -> nn.Module:
    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.b(self.a(x).tanh())

    return Model(forward, a=square(), b=last())


LOW = {
    "bfloat16": lambda model: model.bfloat16(),
    "float16": lambda model: model.half(),
    "a part in bfloat16": lambda model: nn.Sequential(
        Model(lambda self, x: self.a(x.bfloat16()).float(), a=model[0].bfloat16()), *model[1:]
    ),
    "autocast": lambda model: Model(_autocast().function, a=model[0], b=model[2]),
}


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name not in UNSTABLE])
@pytest.mark.parametrize("name", LOW)
def test_a_step_in_low_precision_is_close_to_one_in_float32(name, optimizer):
    ends, start = [], None
    for change in (lambda model: model, LOW[name]):
        model = seeded(plain).bfloat16().float()
        start = torch.cat([p.detach().flatten() for p in model.parameters()])
        model = change(model)
        data = batch(1, torch.bfloat16)
        first = next(model.parameters()).dtype if name in ("bfloat16", "float16") else torch.float32
        data = data[0].to(first), data[1]
        try:
            ends.append(steps(optimizer, model, data, count=1).float())
        except SobenchError as error:
            assert optimizer == "newton_krylov" and "complex" in str(error) and len(str(error).splitlines()) == 1
            return
    wide, low = (end - start for end in ends)
    assert (wide - low).norm() <= 0.05 * wide.norm() + 2**-8 * start.norm()


@pytest.mark.parametrize("optimizer", STATISTICS)
def test_statistics_are_kept_in_float32(optimizer):
    model = seeded(plain).bfloat16()
    method = make(optimizer, model)
    for _ in range(2):
        method.step(Objective(model, CrossEntropy(), batch(1, torch.bfloat16)))
    found = list(tensors(method.state_dict()["state"]))
    assert found and {t.dtype for t in found if t.is_floating_point()} == {torch.float32}
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def tensors(state):
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, (dict, list, tuple)):
        for part in state.values() if isinstance(state, dict) else state:
            yield from tensors(part)


@pytest.mark.parametrize("optimizer", BASED)
def test_a_step_inside_autocast_is_refused(optimizer):
    model = seeded(plain).float()
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(UsageError, match=r"inside torch\.autocast"):
        steps(optimizer, model, batch(1, torch.float32))
