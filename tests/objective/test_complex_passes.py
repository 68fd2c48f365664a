"""Tests of complex steps through layers and whole networks against Hessian products by double backward."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from problems import LOSSES, MODELS, Dense, Source, error, noise, pairs, problem
from torch import nn
from torch.func import functional_call

from sobench import Objective
from sobench.errors import Unsupported
from sobench.linalg import cg
from sobench.losses import CrossEntropy
from sobench.models.activations import Sin
from sobench.models.lenet import lenet
from sobench.models.lstm import lstm
from sobench.models.vgg import vgg
from sobench.objective.complex_oracles import complex_hessian
from sobench.objective.holomorphic.mode import ComplexFunctions
from sobench.objective.torch_private import load_forward_rules

STEPS = {1e-8: 1e-10, 1e-10: 1e-12, 1e-12: 1e-12, 1e-20: 1e-12, 1e-30: 1e-12}
"""h: the relative error allowed of Hp, of which h^2 is a part."""


class Residual(nn.Module):
    """x + f(x), where f works in place on what it is given, and a mean and a power besides."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ELU(inplace=True))

    def forward(self, x):
        y = self.inner(F.pad(x, (1, 1))[..., 1:-1])
        z = x * 2
        F.relu_(z)
        return torch.cat([x + y, z, x**3 / 4], 1)[:, ::3] - x.mean((2, 3), keepdim=True)


class Products(nn.Module):
    """Products that torch makes of tensors of one kind alone, of a complex one and a real one."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 6) / 4)
        self.register_buffer("fixed", torch.randn(6, 6) / 4)

    def forward(self, x):
        return torch.einsum("nchw,wv->nvch", x @ self.fixed, self.fixed @ self.weight).sin()


LAYERS = {  # between a convolution to [N, 4, 6, 6] and a linear layer
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(144, 3, bias=False), nn.Tanh()),
    "convolution": lambda: nn.Conv2d(4, 3, 3, stride=2, padding=1, dilation=2, bias=False),
    "convolution in groups": lambda: nn.Conv2d(4, 6, 3, groups=2, padding="same"),
    "circular convolution": lambda: nn.Conv2d(4, 2, 3, padding=1, padding_mode="circular"),
    "transposed convolution": lambda: nn.ConvTranspose2d(4, 2, 3, stride=2, groups=2),
    "convolution of one dimension": lambda: nn.Sequential(nn.Flatten(2), nn.Conv1d(4, 2, 5)),
    "convolution of three dimensions": lambda: nn.Sequential(nn.Unflatten(1, (2, 2)), nn.Conv3d(2, 2, (2, 3, 3))),
    "softmax": lambda: nn.Softmax(1),
    "frozen convolution": lambda: nn.Conv2d(4, 3, 3).requires_grad_(False),
    "average pooling": lambda: nn.AvgPool2d(3, stride=2, padding=1),
    "average pooling of one dimension": lambda: nn.Sequential(nn.Flatten(2), nn.AvgPool1d(5)),
    "mean": lambda: nn.AdaptiveAvgPool2d(1),
    "adaptive average pooling": lambda: nn.AdaptiveAvgPool2d((4, 3)),
    "max pooling": lambda: nn.MaxPool2d(2),
    "max pooling that overlaps, of ties": lambda: nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, stride=1, padding=1)),
    "max pooling of one dimension": lambda: nn.Sequential(nn.Flatten(2), nn.MaxPool1d(5)),
    "adaptive max pooling": lambda: nn.AdaptiveMaxPool2d((4, 3)),
    "batch normalization": lambda: nn.BatchNorm2d(4),
    "batch normalization of vectors": lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(144)),
    "plain batch normalization": lambda: nn.BatchNorm2d(4, affine=False, track_running_stats=False),
    "batch normalization, eval": lambda: nn.BatchNorm2d(4).eval(),
    "relu": lambda: nn.ReLU(),
    "relu in place": lambda: nn.ReLU(inplace=True),
    "leaky relu": lambda: nn.LeakyReLU(0.2, inplace=True),
    "elu": lambda: nn.ELU(0.7),
    "sigmoid": lambda: nn.Sigmoid(),
    "tanh": lambda: nn.Tanh(),
    "softplus": lambda: nn.Softplus(beta=2),
    "sin": Sin,
    "silu": lambda: nn.SiLU(inplace=True),
    "gelu": lambda: nn.GELU(approximate="tanh"),
    "identity": nn.Identity,
    "residual": Residual,
    "products": Products,
}


def images(side: int, channels: int = 2, samples: int = 5):
    labels = torch.randint(3, (samples,), generator=torch.Generator().manual_seed(4))
    return noise((samples, channels, side, side), 3), labels


def network(layer) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        first, middle = nn.Conv2d(2, 4, 3).double(), layer().double()
        for m in middle.modules():
            if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.affine:
                nn.init.uniform_(m.weight, 0.5, 1.5), nn.init.normal_(m.bias)
        width = middle(first(images(8)[0])).flatten(1).shape[1]
        return nn.Sequential(first, middle, nn.Flatten(), nn.Linear(width, 3).double())


def whole(build, shape, **options) -> nn.Module:
    torch.manual_seed(0)
    return build(shape, 3, **options).double()


VGG11 = dict(depth=11, width=4, activation="elu", classifier=(8, 8))
LENET = dict(activation="sigmoid", pooling="average")
CASES = {name: (lambda layer=layer: network(layer), images(8)) for name, layer in LAYERS.items()}
CASES |= {
    "LeNet": (lambda: whole(lenet, (1, 28, 28), **LENET), images(28, channels=1)),
    "VGG-11": (lambda: whole(vgg, (3, 32, 32), **VGG11), images(32, channels=3, samples=6)),
}


def by_double_backward(model: nn.Module, batch, p: torch.Tensor):
    """f, g [P] and H p [P] at the model's parameters."""
    named = [(name, q) for name, q in model.named_parameters() if q.requires_grad]
    buffers = {name: b.clone() for name, b in model.named_buffers()}
    value = F.cross_entropy(functional_call(model, dict(named) | buffers, (batch[0],)), batch[1])
    flat = lambda tensors: torch.cat([t.flatten() for t in tensors])
    g = flat(torch.autograd.grad(value, [q for _, q in named], create_graph=True))
    Hp = flat(torch.autograd.grad(g @ p, [q for _, q in named], materialize_grads=True))
    return value.detach(), g.detach(), Hp


@pytest.mark.parametrize("name", CASES)
def test_products_with_the_hessian(name):
    build, batch = CASES[name]
    model = build()
    f = Objective(model, CrossEntropy(), batch)
    theta, p = f.space.get(), noise(f.space.size, 9)
    value, g, Hp = by_double_backward(model, batch, p)
    before = {key: t.clone() for key, t in model.state_dict().items()}
    for h, tolerance in STEPS.items():
        loss, gradient = f.value_and_grad(torch.complex(theta, h * p))
        assert error(gradient.imag / h, Hp) < tolerance
        assert error(loss.imag / h, g @ p) < tolerance * max(1, float(g.norm() * p.norm() / (g @ p).abs()))
        assert error(f.curvature(p, h), p @ Hp) < 1e-10
    assert error(loss.real, value) < 1e-12 and error(gradient.real, g) < 1e-12
    for key, t in model.state_dict().items():
        assert torch.equal(t, before[key]), key
    assert all(q.grad is None for q in model.parameters())


@pytest.mark.parametrize(("model", "loss"), pairs([name for name in MODELS if name != "dropout"], list(LOSSES)))
def test_every_loss_and_the_penalty(model, loss, device):
    """With a penalty for every second model: each loss is seen with one and without."""
    l2 = 0.3 * (list(MODELS).index(model) % 2)
    p = problem(model, loss, l2=l2, device=device)
    f, v = Objective(p.model, p.loss, p.batch, l2=l2), noise(p.theta.shape, 9).to(p.theta)
    for at in (None, p.elsewhere()):
        H = Dense(p, at).hessian
        theta = p.theta if at is None else at
        assert error(f.value_and_grad(torch.complex(theta, 1e-12 * v))[1].imag / 1e-12, H @ v) < 1e-12
        assert error(f.curvature(v, at=at), v @ H @ v) < 1e-10


def test_dropout_draws_the_mask_of_the_real_passes(device):
    p = problem("dropout", "cross_entropy", device=device)
    f, v = Objective(p.model, p.loss, p.batch), noise(p.theta.shape, 9).to(p.theta)
    Hv = f.hessian() @ v
    assert error(complex_hessian(f) @ v, Hv) < 1e-12 and error(f.curvature(v), v @ Hv) < 1e-10
    assert error(f.value_and_grad(p.theta + 0j)[1].real, f.value_and_grad()[1]) < 1e-12


def test_single_precision(device):
    """With h = 1e-12 and directions of 1e-8 the products are below 1e-20, and accurate to the rounding of float32."""
    p = problem("conv_avgpool", "cross_entropy", device=device)
    v = noise(p.theta.shape, 9).to(p.theta)
    expected = (Dense(p).hessian @ v).float()
    f = Objective(p.model.float(), p.loss, (p.batch[0].float(), p.batch[1]))
    torch.set_flush_denormal(True)
    for scale in (1.0, 1e-8):
        product = complex_hessian(f) @ (scale * v.float())
        assert product.dtype == torch.float32 and error(product / scale, expected) < 1e-5
        assert abs(float(f.curvature(scale * v.float()) / scale**2 / (v.float() @ expected)) - 1) < 1e-4


def test_inputs_follow_the_precision_of_the_parameters(device):
    p = problem("conv_avgpool", "cross_entropy", device=device)
    single = Objective(p.model.float(), p.loss, (p.batch[0].float(), p.batch[1]))
    at = p.theta.to(torch.complex128) + 1e-12j
    loss, g = single.value_and_grad(at)
    assert loss.dtype == g.dtype == torch.complex128 and single.loss(at) == loss


def test_the_whole_training_set(device):
    p = problem("mlp_tanh", "cross_entropy", l2=0.3, device=device)
    source, v = Source(p), noise(p.theta.shape, 9).to(p.theta)
    f = Objective(p.model, p.loss, p.batch, l2=0.3, source=source).full()
    H = Dense(p, None, (source.inputs, source.targets)).hessian
    assert error(complex_hessian(f) @ v, H @ v) < 1e-12 and error(f.curvature(v), v @ H @ v) < 1e-12


def test_an_operator_follows_cg_to_the_newton_step(device):
    p = problem("mlp_tanh", "cross_entropy", l2=0.3, device=device)
    f = Objective(p.model, p.loss, p.batch, l2=0.3)
    g, H = f.value_and_grad()[1], Dense(p).hessian
    step = cg(complex_hessian(f) + 1.0, g, max_iterations=200, tol=1e-12).x
    assert error(step, torch.linalg.solve(H + torch.eye(len(H)).to(H), g)) < 1e-10


def test_nothing_of_a_complex_pass_is_recorded():
    p = problem("mlp_tanh", "cross_entropy")
    f = Objective(p.model, p.loss, p.batch)
    with f.record() as io:
        f.value_and_grad()
        seen = {name: (r.inputs, r.output_grads) for name, r in io.items()}
        complex_hessian(f) @ p.theta, f.curvature(p.theta)
        assert all(seen[name] == (r.inputs, r.output_grads) for name, r in io.items())


class Calls(nn.Module):
    """The layer that calls a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


REFUSED = {  # what is not analytic, or has no form: the name that the message gives
    "abs": lambda x: x.abs(),
    "norm": lambda x: x / x.norm(),
    "conj": lambda x: x.conj() * x,
    "real": lambda x: x.real,
    "detach": lambda x: x * x.detach(),
    "var": lambda x: x / torch.var(x),
    "to": lambda x: x.to(torch.float32).double(),
    "hardtanh": F.hardtanh,
    "gelu": F.gelu,
    "abs_": lambda x: (x * 1).abs_(),
    "hstack": lambda x: torch.hstack([x, x]),
}


@pytest.mark.filterwarnings("ignore:Casting complex values")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_analytic_is_refused_by_its_name(name):
    model = nn.Sequential(nn.Linear(4, 3), Calls(REFUSED[name])).double()
    f = Objective(model, CrossEntropy(), problem("mlp_tanh", "cross_entropy").batch)
    for oracle in (f.loss, f.value_and_grad):
        with pytest.raises(Unsupported, match=r"no complex pass through 1 \(Calls\(\)\): .*" + name.removesuffix("_")):
            oracle(f.space.get() + 0j)
    with pytest.raises(Unsupported, match=r"1 \(Calls\(\)\)"):
        f.curvature(f.space.get())
    assert not any(m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("layer", [nn.PReLU(), nn.GELU(), nn.RReLU(), nn.Hardtanh(), nn.LogSoftmax(1)], ids=str)
def test_a_layer_with_no_complex_form_is_named(layer):
    f = Objective(
        nn.Sequential(nn.Linear(4, 3), layer).double(), CrossEntropy(), problem("mlp_tanh", "cross_entropy").batch
    )
    with pytest.raises(Unsupported, match=rf"1 \({type(layer).__name__}"):
        f.loss(f.space.get() + 0j)


@pytest.mark.parametrize("trainable", [True, False])
def test_there_is_no_complex_pass_through_the_lstm(trainable):
    model = lstm((5,), 2, vectors=torch.ones(9, 4), hidden=3, trainable=trainable)
    f = Objective(model, CrossEntropy(), (torch.ones(4, 5, dtype=torch.int64), torch.tensor([0, 1, 1, 0])))
    with pytest.raises(Unsupported, match="no complex pass through"):
        f.loss(f.space.get() + 0j)


def test_real_tensors_go_through_the_mode_as_they_are():
    model, (x, _) = network(lambda: nn.BatchNorm2d(4).eval()), images(8)
    with ComplexFunctions():
        inside = model(x)
    assert torch.equal(inside, model(x))


def test_images_without_a_batch():
    z = torch.complex(noise((2, 6, 6), 1), noise((2, 6, 6), 2))
    for layer in (nn.Conv2d(2, 3, 3), nn.AvgPool2d(2), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1)):
        with ComplexFunctions():
            alone, batch = layer.double()(z), layer(z[None])
        assert torch.equal(alone, batch[0])


def test_functions_in_place_keep_their_further_arguments():
    z = torch.complex(noise((2, 3), 1), noise((2, 3), 2))
    with ComplexFunctions():
        cube, leaky = z.clone().pow_(3), F.leaky_relu_(z.clone(), 0.5)
    assert error(cube, z * z * z) < 1e-12 and error(leaky, torch.where(z.real > 0, z, 0.5 * z)) < 1e-12


def test_dual_numbers_find_their_rules_loaded():
    """torch would load them at the first dual number, with a warning."""
    load_forward_rules.cache_clear()
    p = problem("mlp_tanh", "cross_entropy")
    Objective(p.model, p.loss, p.batch).curvature(p.theta)
    assert load_forward_rules.cache_info().currsize == 1
