"""Tests of layer records: the gradients of Linear and Conv2d layers computed from records alone."""

import copy

import pytest
import torch
import torch.nn.functional as F
from problems import error, noise
from torch import nn

from sobench import Objective
from sobench.errors import Unsupported, UsageError
from sobench.losses import CrossEntropy, SquaredError, SquaredHinge
from sobench.training.streams import Streams

TOLERANCE = 1e-12


def conv(**options) -> nn.Module:
    """Two convolutions of a 6 x 5 image, the second with `options`."""
    return nn.Sequential(
        nn.Conv2d(1, 2, 2),
        nn.Tanh(),
        nn.Conv2d(2, 3, (3, 2), **options),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 3, batch_first=True)

    def forward(self, x):
        return self.lstm(x)[0][:, -1]


MODELS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3, bias=False)), (4,)),
    "sequence": (lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Flatten(), nn.Linear(10, 3)), (2, 4)),
    "batchnorm": (lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)), (4,)),
    "conv": (conv, (1, 6, 5)),
    "conv_stride": (lambda: conv(stride=(2, 1)), (1, 6, 5)),
    "conv_padding": (lambda: conv(padding=(1, 2)), (1, 6, 5)),
    "conv_dilation": (lambda: conv(dilation=(2, 1)), (1, 6, 5)),
    "conv_no_bias": (lambda: conv(stride=2, padding=1, bias=False), (1, 6, 5)),
}


def make(model="mlp", device="cpu", loss=None, **options):
    build, shape = MODELS[model]
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        net = build().double().to(device)
    inputs, targets = noise((6, *shape), 6).to(device), (torch.arange(6) % 3).to(device)
    return Objective(net, CrossEntropy() if loss is None else loss, (inputs, targets), **options)


def plain(f, targets=None):
    """{layer: (inputs, outputs, output gradients, {parameter: gradient})} by torch alone, on a copy of the model."""
    model, seen = copy.deepcopy(f.network.model), {}
    x = f.batch.inputs
    for name, module in model.named_children():
        seen[name] = [x]
        x = module(x)
        x.retain_grad()
        seen[name].append(x)
    F.cross_entropy(x, f.batch.targets if targets is None else targets).backward()
    return {
        name: (inputs, outputs, outputs.grad, {k: p.grad for k, p in model.get_submodule(name).named_parameters()})
        for name, (inputs, outputs) in seen.items()
    }


def gradients(record) -> dict[str, torch.Tensor]:
    """weight.grad and bias.grad from a record: sums over samples and positions of gradient x input."""
    x, dz, layer = record.inputs, record.output_grads, record.module
    if isinstance(layer, nn.Conv2d):
        x = F.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride).transpose(1, 2)  # [N, T, C k k]
        dz = dz.flatten(2).transpose(1, 2)  # [N, T, out]
    grads = {"weight": torch.einsum("...o,...i->oi", dz, x).view(layer.weight.shape)}
    return grads | ({"bias": dz.flatten(0, -2).sum(0)} if layer.bias is not None else {})


PASSES = {
    "value_and_grad": lambda f: f.value_and_grad(),
    "closure": lambda f: f(),
    "hessian": lambda f: f.hessian(),
    "at": lambda f: f.value_and_grad(f.space.get()),
    "after another pass": lambda f: (f.loss(2 * f.space.get()), f.value_and_grad()),
    "with products": lambda f: (f.value_and_grad(), f.ggn().dense(), f.hessian().dense(), f.ggn() @ f.space.get()),
    "with samples": lambda f: (f.value_and_grad(), f.per_sample_grads(), f.output_jacobian()),
}


@pytest.mark.parametrize("oracle", PASSES)
@pytest.mark.parametrize("model", MODELS)
def test_records_reproduce_the_gradients(model, oracle, device):
    f = make(model, device)
    with f.record() as io:
        PASSES[oracle](f)
    expected = plain(f)
    assert set(io) == {name for name, m in f.network.model.named_children() if list(m.parameters())}
    for name, record in io.items():
        inputs, outputs, output_grads, grads = expected[name]
        assert record.name == name and record.module is f.network.model.get_submodule(name)
        assert error(record.inputs, inputs) < TOLERANCE and error(record.outputs, outputs) < TOLERANCE
        assert error(record.output_grads, output_grads) < TOLERANCE
        assert not any(t.requires_grad for t in (record.inputs, record.outputs, record.output_grads))
        if not isinstance(record.module, nn.BatchNorm1d):
            actual = gradients(record)
            assert actual.keys() == grads.keys()
            assert all(error(actual[k], grads[k]) < TOLERANCE for k in grads)


def test_a_second_pass_on_the_same_batch_at_new_parameters(device):
    """K-BFGS: write theta+, then record the same batch again."""
    f = make("conv_stride", device)
    with f.record() as old:
        f.value_and_grad()
    before = plain(f)
    f.space.assign_(1.5 * f.space.get())
    with f.record() as new:
        f.value_and_grad()
    for io, expected in ((old, before), (new, plain(f))):
        for name, record in io.items():
            assert error(record.outputs, expected[name][1]) < TOLERANCE
            assert error(record.output_grads, expected[name][2]) < TOLERANCE


@pytest.mark.parametrize("outside", [True, False], ids=["sampled().record()", "sampled() inside record()"])
def test_records_of_sampled_labels(outside, device):
    """Kronecker factors of the true Fisher: the layers' gradients under labels from p(y | x)."""
    f = make("conv_padding", device, streams=Streams(0, device).at(1))
    if outside:
        s = f.sampled()
        with s.record() as io:
            s.value_and_grad()
    else:
        with f.record() as io:
            f.value_and_grad()
            s = f.sampled()
            s.value_and_grad()
        assert f.cost.forwards == 1 and f.cost.backwards == 2
    assert not torch.equal(s.batch.targets, f.batch.targets)
    expected = plain(f, targets=s.batch.targets)
    for name, record in io.items():
        assert error(record.output_grads, expected[name][2]) < TOLERANCE


@pytest.mark.parametrize("failing", [False, True])
def test_hooks_live_only_inside(failing, device):
    f = make("conv", device)
    f.value_and_grad()
    try:
        with f.record() as io:
            f.value_and_grad()
            assert all(r.module._forward_hooks for r in io.values())
            if failing:
                raise RuntimeError
    except RuntimeError:
        pass
    assert not any(m._forward_hooks or m._backward_hooks for m in f.network.model.modules())
    before = {name: (r.inputs, r.outputs, r.output_grads, r.output_grads.clone()) for name, r in io.items()}
    for oracle in (*PASSES.values(), lambda f: f.sampled().value_and_grad(), lambda f: f.loss(2 * f.space.get())):
        oracle(f)
    for name, (inputs, outputs, output_grads, values) in before.items():
        r = io[name]
        assert r.inputs is inputs and r.outputs is outputs and r.output_grads is output_grads
        assert torch.equal(r.output_grads, values)


def test_what_was_not_passed_is_not_recorded(device):
    f = make(device=device)
    f.value_and_grad()
    with f.record() as io:
        pass
    assert all(r.inputs is None and r.output_grads is None for r in io.values())
    with f.record() as io:
        f.loss()
    assert all(r.outputs is not None and r.output_grads is None for r in io.values())


def test_inputs_and_gradients_of_two_passes_are_never_mixed(device):
    """The second gradient is the kept pass's: it makes no forward pass, and the latest one was the loss elsewhere."""
    f = make(device=device)
    with f.record() as io:
        f.value_and_grad(), f.loss(2 * f.space.get()), f.value_and_grad()
    assert all(r.output_grads is None for r in io.values())


def test_a_layer_whose_output_is_not_one_tensor_is_named():
    f = Objective(Recurrent().double(), CrossEntropy(), (noise((6, 2, 4), 6), torch.arange(6) % 3))
    with pytest.raises(Unsupported, match=r"lstm \(LSTM"), f.record():
        f.value_and_grad()


def test_frozen_layers_are_left_out():
    f = make()
    f.network.model[0].requires_grad_(False)
    f = Objective(f.network.model, SquaredHinge(), f.batch)
    with f.record() as io:
        f.value_and_grad()
    assert list(io) == ["2"] and io["2"].output_grads is not None


def test_output_gradients_carry_the_mean():
    """Twice the batch, the same samples: half the gradient in each."""
    model = make().network.model
    x, t = noise((6, 4), 6), noise((6, 3), 7)
    scaled_grads = []
    for repeats in (1, 2):
        f = Objective(model, SquaredError(), (x.repeat(repeats, 1), t.repeat(repeats, 1)))
        with f.record() as io:
            f.value_and_grad()
        scaled_grads.append(io["2"].output_grads[:6])
        assert error(scaled_grads[-1], (model(x) - t) / (6 * repeats)) < TOLERANCE
    assert error(2 * scaled_grads[1], scaled_grads[0]) < TOLERANCE


# propagate: the gradients of the outputs alone


@pytest.mark.parametrize("model", MODELS)
def test_propagate_fills_the_gradients_of_the_outputs(model, device):
    f = make(model, device, l2=0.3)
    with f.record() as io:
        loss = f.propagate()
    assert f.cost.forwards == 1 and loss.shape == () and not loss.requires_grad
    assert error(loss, f.loss()) < TOLERANCE
    for name, record in io.items():
        assert error(record.output_grads, plain(f)[name][2]) < TOLERANCE and not record.output_grads.requires_grad


def test_propagate_after_a_gradient_is_of_the_sampled_labels(device):
    """Kronecker factors: a gradient, then the output gradients of sampled labels, on one forward pass."""
    f = make("conv_padding", device, streams=Streams(0, device).at(1))
    with f.record() as io:
        g = f.value_and_grad()[1]
        s = f.sampled()
        s.propagate()
    assert not torch.equal(s.batch.targets, f.batch.targets)
    expected, gradient = plain(f, targets=s.batch.targets), plain(f)
    for name, record in io.items():
        assert error(record.inputs, expected[name][0]) < TOLERANCE
        assert error(record.output_grads, expected[name][2]) < TOLERANCE
    parts = [p.flatten() for _, _, _, grads in gradient.values() for p in grads.values()]
    assert error(g, torch.cat(parts)) < TOLERANCE


def test_propagate_forms_no_gradient_of_a_parameter(device):
    f, formed = make("conv", device), []
    gradients_of_a_block(f)  # the first pass of a model is verified by its gradients
    handles = [p.register_hook(formed.append) for p in f.space.parameters]
    with f.record():
        f.value_and_grad()
        assert len(formed) == len(f.space.parameters)
        f.propagate()
    assert len(formed) == len(f.space.parameters) and all(p.grad is None for p in f.space.parameters)
    [handle.remove() for handle in handles]


def test_propagate_outside_a_record(device):
    f = make(device=device)
    for when in (lambda: None, f.value_and_grad, lambda: gradients_of_a_block(f)):
        when()
        with pytest.raises(UsageError, match=r"propagate\(\) .* call it inside `with f\.record\(\) as layers:`"):
            f.propagate()


def gradients_of_a_block(f):
    with f.record() as io:
        f.propagate()
    return io


def test_recorded_records_when_it_is_told_to(device):
    f = make(device=device)
    with f.recorded(False) as nothing:
        f.value_and_grad()
    assert nothing is None and "record" not in f.cost.used
    with f.recorded(True) as io:
        f.value_and_grad()
    assert all(record.output_grads is not None for record in io.values())


@pytest.mark.parametrize(
    "backward", [lambda f: f.value_and_grad(), lambda f: f.propagate()], ids=["gradient", "propagate"]
)
def test_a_layer_in_place_leaves_gradients_as_they_were_before_it(backward, device):
    passes = []
    for inplace in (False, True):
        f = make("mlp", device)
        f.network.model[1] = nn.ReLU(inplace=inplace)
        with f.record() as io:
            backward(f)
        passes.append(io)
    for name in ("0", "2"):
        assert error(passes[1][name].output_grads, passes[0][name].output_grads) < TOLERANCE
        assert error(passes[1][name].inputs, passes[0][name].inputs) < TOLERANCE
    assert passes[1]["0"].output_shape == (6, 5)
    with pytest.raises(
        Unsupported, match=r"outputs of 0 \(Linear.*overwritten by an in-place layer: use inplace=False"
    ):
        _ = passes[1]["0"].outputs


def test_recorded_records_unless_it_is_told_otherwise(device):
    f = make(device=device)
    with f.recorded() as io:
        f.value_and_grad()
    assert all(record.output_grads is not None for record in io.values())
