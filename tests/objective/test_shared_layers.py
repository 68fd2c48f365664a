"""Layers that are called several times in one pass: their steps are those of one call on all locations, or refused."""

import pytest
import torch
from forwards import Model
from layered import SHARED, make
from recorded import LAYERED, WIDTH, N, last, objective, seeded, square, trained
from torch import nn
from torch.utils.checkpoint import checkpoint

from sobench import load_optimizer
from sobench.errors import Unsupported


def _same_module_twice() -> nn.Module:
    layer = square()
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), last())


def _halves(call):
    """A model that multiplies what `call(layer, x)` gives for the halves of x, [N, 2, 4]."""
    return lambda: Model(lambda self, x: self.o(call(self.a, x).tanh().prod(1)), a=nn.Linear(2, 4), o=last())


TWO_WAYS = {
    "siamese": (
        _halves(lambda layer, x: layer(x.view(len(x), 2, 2))),
        _halves(lambda layer, x: torch.stack([layer(x[:, :2]), layer(x[:, 2:])], 1)),
    ),
    "the same module twice in a Sequential": (
        lambda: Model(lambda self, x: self.b(self.a(self.a(x).tanh()).tanh()), a=square(), b=last()),
        _same_module_twice,
    ),
    "activation checkpointing": (
        lambda: Model(lambda self, x: self.b(self.a(self.a(x).tanh()).tanh()), a=square(), b=last()),
        lambda: Model(
            lambda self, x: self.b(checkpoint(lambda y: self.a(self.a(y).tanh()).tanh(), x, use_reentrant=False)),
            a=square(),
            b=last(),
        ),
    ),
    "a normalization": (
        lambda: Model(
            lambda self, x: self.b(self.n(self.n(self.a(x)).tanh())), a=square(), n=nn.LayerNorm(4), b=last()
        ),
        lambda: Model(
            lambda self, x: self.b(self.n(checkpoint(self.n, self.a(x), use_reentrant=False).tanh())),
            a=square(),
            n=nn.LayerNorm(4),
            b=last(),
        ),
    ),
}
REFUSED = {
    "calls of different batches": (
        lambda: Model(lambda self, x: self.o(self.a(x) + self.a(x[:1]).tanh()), a=square(), o=last()),
        rf"layer a .*(\[1, {WIDTH}\] for a batch of {N}|called with \[{N}, 1\] samples in a pass); allowed: ",
    ),
    "samples side by side": (
        lambda: Model(lambda self, x: self.o(sum(self.a(x.repeat(2, 1)).chunk(2))), a=square(), o=last()),
        rf"layer a .*\[{2 * N}, {WIDTH}\] for a batch of {N}; allowed: \[{N}, ...\]",
    ),
    "a call that nothing reads": (
        lambda: Model(lambda self, x: (self.a(x + 1), self.o(self.a(x).tanh()))[1], a=square(), o=last()),
        "layer a .*outputs of 1 of its 2 calls are not used",
    ),
    "a call without a graph": (
        lambda: Model(
            lambda self, x: self.o((self.a(x) + self.a(x).detach() + _still(self.a, x)).tanh()), a=square(), o=last()
        ),
        "layer a .*outputs of 2 of its 3 calls are not used",
    ),
}


def _still(layer, x):
    with torch.no_grad():
        return layer(x)


@pytest.mark.parametrize("optimizer", LAYERED)
@pytest.mark.parametrize("name", TWO_WAYS)
def test_one_function_written_in_two_ways_takes_one_step(name, optimizer):
    ends = [trained(optimizer, seeded(build)) for build in TWO_WAYS[name]]
    torch.testing.assert_close(*ends, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("optimizer", LAYERED)
@pytest.mark.parametrize("name", REFUSED)
def test_calls_that_have_no_common_locations_are_refused(name, optimizer):
    build, message = REFUSED[name]
    model = seeded(build)
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(Unsupported, match=message) as refusal:
        load_optimizer(optimizer)(model.parameters()).step(objective(model))
    assert "\n" not in str(refusal.value)
    assert all(torch.equal(p, q) for p, q in zip(before, model.parameters()))


@pytest.mark.parametrize("period", [1, 5])
def test_a_record_is_verified_at_the_first_step_whatever_the_period(period):
    model = seeded(REFUSED["samples side by side"][0])
    method = load_optimizer("kbfgs")(model.parameters(), curvature_period=period)
    with pytest.raises(Unsupported, match="layer a"):
        method.step(objective(model))


def test_the_tensors_of_another_layer_with_several_calls_are_refused():
    model = seeded(lambda: nn.Sequential(nn.LayerNorm(WIDTH), last()))
    model.insert(1, model[0])
    f = objective(model)
    with f.record() as layers:
        f.value_and_grad()
    with pytest.raises(Unsupported, match=r"layer 0 \(LayerNorm.* is called 2 times in a pass; allowed: one call"):
        _ = layers["0"].inputs


@pytest.mark.parametrize("model", SHARED)
def test_a_second_pass_begins_new_records(model):
    """The calls of two passes are not joined, and a pass elsewhere is not taken for one that does not explain."""
    f = make(model)
    with f.record() as layers:
        f.value_and_grad(), f.value_and_grad(2 * f.space.get())
    once = make(model)
    with once.record() as expected:
        once.value_and_grad(2 * once.space.get())
    for name, record in layers.items():
        assert torch.equal(record.inputs, expected[name].inputs)
        assert torch.equal(record.output_grads, expected[name].output_grads)


def test_the_record_of_a_single_call_is_no_copy():
    model = seeded(lambda: nn.Sequential(square(), nn.Tanh(), last()))
    f = objective(model)
    with f.record() as layers:
        f.value_and_grad()
    assert layers["0"].inputs.data_ptr() == f.batch.inputs.data_ptr()
    assert layers["0"].outputs is layers["0"].outputs and layers["0"].output_grads is layers["0"].output_grads
