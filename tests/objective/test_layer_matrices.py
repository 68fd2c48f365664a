"""Tests of Linear and Conv2d layers as matrices against convolutions unfolded by Python loops."""

import by_hand
import layered
import pytest
import torch
import torch.nn.functional as F
from problems import error, noise
from torch import nn

from sobench import Objective
from sobench.errors import Unsupported
from sobench.losses import CrossEntropy
from sobench.objective.layers import calls, matrices

TOLERANCE = 1e-12


class Sequence(nn.Module):
    """A layer that reads [N, 2, T, d], and one that reads its mean over a sequence."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(4, 5), nn.Linear(5, 3, bias=False)

    def forward(self, x):
        return self.outer(self.inner(x).tanh()).mean((1, 2))


def conv(**options) -> nn.Module:
    """A convolution of a 6 x 5 image with two channels, and one more with `options`."""
    return nn.Sequential(
        nn.Conv2d(2, 3, 2), nn.Tanh(), nn.Conv2d(3, 4, (3, 2), **options), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


MODELS = {
    "linear": (lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3, bias=False)), (4,)),
    "bare": (lambda: nn.Linear(4, 3), (4,)),
    "sequence": (Sequence, (2, 3, 4)),
    "conv": (conv, (2, 6, 5)),
    "stride": (lambda: conv(stride=(2, 1)), (2, 6, 5)),
    "padding": (lambda: conv(padding=(1, 2)), (2, 6, 5)),
    "dilation": (lambda: conv(dilation=(1, 2)), (2, 6, 5)),
    "all": (lambda: conv(stride=(1, 2), padding=(2, 1), dilation=(2, 1), bias=False), (2, 6, 5)),
    "same": (lambda: nn.Sequential(nn.Conv2d(2, 3, (3, 1), padding="same", dilation=(2, 1)), nn.Flatten()), (2, 5, 4)),
    "valid": (lambda: nn.Sequential(nn.Conv2d(2, 3, (2, 3), padding="valid"), nn.Flatten()), (2, 5, 4)),
} | {name: layered.MODELS[name] for name in layered.SHARED}


@pytest.fixture(params=MODELS)
def seen(request, device):
    """(f, what `record()` saw, the same by hand)."""
    build, shape = MODELS[request.param]
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        model = build().double().to(device)
    inputs, targets = noise((5, *shape), 6).to(device), (torch.arange(5) % 3).to(device)
    f = Objective(model, CrossEntropy(), (inputs, targets))
    with f.record() as records:
        f.value_and_grad()
    return f, records, by_hand.layers(model, F.cross_entropy, inputs, targets)


def test_inputs_outputs_and_gradients(seen):
    f, records, expected = seen
    assert f.matrices.names == tuple(expected)
    for name, layer in expected.items():
        assert error(matrices.inputs(records[name]), layer.a) < TOLERANCE
        assert error(matrices.outputs(records[name]), layer.h) < TOLERANCE
        assert error(len(f) * matrices.output_grads(records[name]), layer.Dh) < TOLERANCE
        assert matrices.locations(records[name]) == layer.a.shape[1] == layer.h.shape[1]


def test_the_layer_is_its_matrix_times_its_inputs(seen):
    f, records, _ = seen
    W = f.matrices.join(f.space.get())
    for name in f.matrices.names:
        h = torch.einsum("ntd,id->nti", matrices.inputs(records[name]), W[name])
        assert error(matrices.outputs(records[name]), h) < TOLERANCE


def test_the_gradient_is_made_of_inputs_and_output_gradients(seen):
    f, _, expected = seen
    G = f.matrices.join(f.value_and_grad()[1])
    for name, layer in expected.items():
        assert error(G[name], layer.G.mean(0)) < TOLERANCE


def test_the_gradient_of_each_sample(seen):
    f, records, expected = seen
    for name, layer in expected.items():
        assert error(len(f) * matrices.sample_grads(records[name]), layer.G) < TOLERANCE


@pytest.mark.parametrize("side", ["Omega", "Gamma"])
def test_factors(seen, side):
    f, records, expected = seen
    factor = {"Omega": matrices.input_factor, "Gamma": matrices.grad_factor}[side]
    for name, layer in expected.items():
        A = getattr(layer, side)
        assert error(factor(records[name]), A) < TOLERANCE
        before = noise(A.shape, 3).to(A)
        before = before + before.T
        out = before.clone()
        assert factor(records[name], out, alpha=0.3, beta=0.6) is out
        assert error(out, 0.3 * A + 0.6 * before) < TOLERANCE


def test_the_mean_input_and_the_action_of_the_input_factor(seen):
    _, records, expected = seen
    for name, layer in expected.items():
        assert error(matrices.mean_input(records[name]), layer.a.mean((0, 1))) < TOLERANCE
        s = noise((layer.a.shape[2],), 4).to(layer.a)
        assert error(matrices.input_action(records[name], s), layer.Omega @ s) < TOLERANCE


# theta as matrices


def test_join_and_write_are_inverse(seen):
    f, *_ = seen
    v, w = noise((2, f.space.size), 5).to(f.batch.inputs.device)
    parts = f.space.named(v)
    for name, M in f.matrices.join(v).items():
        module, prefix = f.network.model.get_submodule(name), f"{name}." if name else ""
        assert torch.equal(M, by_hand.matrix(module, parts[prefix + "weight"], parts.get(prefix + "bias")))
    assert f.matrices.write_(w, f.matrices.join(v)) is w
    assert torch.equal(w, v)


def test_what_no_layer_owns_stays(device):
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)).double().to(device)
    f = Objective(model, CrossEntropy(), (noise((6, 4), 6).to(device), torch.arange(6, device=device) % 3))
    v, w = noise((2, f.space.size), 5).to(device)
    assert f.matrices.names == ("0", "2")
    written = f.space.named(f.matrices.write_(w.clone(), f.matrices.join(v)))
    for name, part in written.items():
        assert torch.equal(part, f.space.named(w if name.startswith("1.") else v)[name])


@pytest.mark.parametrize("frozen", ["weight", "bias"])
def test_only_what_is_trained_is_in_the_matrix(frozen):
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    getattr(model[0], frozen).requires_grad_(False)
    f = Objective(model, CrossEntropy(), (noise((6, 4), 6), torch.arange(6) % 3))
    with f.record() as records:
        g = f.value_and_grad()[1]
    if frozen == "weight":
        assert f.matrices.names == ("2",)
    else:
        G = f.matrices.join(g)["0"]
        a = matrices.inputs(records["0"])
        assert G.shape == (5, 4) and a.shape == (6, 1, 4)
        assert error(torch.einsum("nti,ntd->id", matrices.output_grads(records["0"]), a), G) < TOLERANCE
        A = matrices.input_factor(records["0"])
        assert error(matrices.input_action(records["0"], G[0]), A @ G[0]) < TOLERANCE


# What cannot be


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    return model


REFUSED = {
    "tied": (tied, (4,), r"^layer 2 \(Linear.*\) shares its weight with another; allowed: "),
    "groups": (
        lambda: nn.Sequential(nn.Conv2d(2, 4, 2, groups=2), nn.Flatten()),
        (2, 3, 3),
        r"^layer 0 \(Conv2d.*\): allowed: groups=1 and padding_mode='zeros'",
    ),
    "circular": (
        lambda: nn.Sequential(nn.Conv2d(2, 4, 2, padding=1, padding_mode="circular"), nn.Flatten()),
        (2, 3, 3),
        r"^layer 0 \(Conv2d.*\): allowed: groups=1 and padding_mode='zeros'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_layers_that_are_no_matrix_of_their_own(case):
    build, shape, message = REFUSED[case]
    f = Objective(build().double(), CrossEntropy(), (noise((5, *shape), 6), torch.arange(5) % 3))
    f.value_and_grad()
    with pytest.raises(Unsupported, match=message):
        _ = f.matrices


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_padding_that_differs_from_side_to_side():
    model = nn.Sequential(nn.Conv2d(1, 2, 2, padding="same"), nn.Flatten()).double()
    f = Objective(model, CrossEntropy(), (noise((5, 1, 3, 3), 6), torch.arange(5) % 3))
    refusal = "padding='same' of an even kernel; allowed: the same padding at each side"
    with pytest.raises(Unsupported, match=refusal), f.record() as records:
        f.value_and_grad()
    with pytest.raises(Unsupported, match=refusal):
        matrices.inputs(records["0"])


def test_patches_of_images_do_not_depend_on_how_these_lie_in_memory():
    layer = nn.Conv2d(3, 2, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2))
    images = torch.randn(5, 3, 7, 6)
    expected = F.unfold(images[1:], layer.kernel_size, layer.dilation, layer.padding, layer.stride).transpose(1, 2)
    for x in (images[1:], images.to(memory_format=torch.channels_last)[1:], images.transpose(2, 3).contiguous().mT[1:]):
        assert torch.equal(calls.input_rows(layer, x), expected)
