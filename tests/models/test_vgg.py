"""VGG: its layers against the paper's table 1, its number of parameters, the variance of its initial weights."""

import pytest
import torch
import yaml
from torch import nn

from sobench import Objective
from sobench.config.files import conf_dir
from sobench.config.grid import expand
from sobench.config.identity import identity
from sobench.errors import UsageError
from sobench.losses import CrossEntropy
from sobench.models.vgg import vgg

D = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"]
"""Model D: 16 layers with weights when three fully connected ones are counted; here there is one."""


def make(size=32, outputs=10, depth=16, width=64, **options):
    torch.manual_seed(0)
    return vgg((3, size, size), outputs, depth=depth, width=width, **options)


def test_model_d():
    model = list(make())
    seen = [layer for layer in model if isinstance(layer, (nn.Conv2d, nn.MaxPool2d))]
    assert [layer.out_channels if isinstance(layer, nn.Conv2d) else "M" for layer in seen] == D
    for i, layer in enumerate(model):
        if isinstance(layer, nn.Conv2d):
            assert (layer.kernel_size, layer.padding, layer.stride, layer.bias is None) == (
                (3, 3),
                (1, 1),
                (1, 1),
                False,
            )
            assert (
                isinstance(model[i + 1], nn.BatchNorm2d)
                and isinstance(model[i + 2], nn.ReLU)
                and not model[i + 2].inplace
            )
    assert isinstance(model[-1], nn.Linear) and (model[-1].in_features, model[-1].out_features) == (512, 10)


def test_number_of_parameters():
    channels = [3, *(c for c in D if c != "M")]
    convolutions = sum(9 * a * b + b for a, b in zip(channels, channels[1:]))
    assert (
        sum(p.numel() for p in make(outputs=100).parameters()) == convolutions + 2 * sum(channels[1:]) + 512 * 100 + 100
    )


@pytest.mark.parametrize("size, features", [((32, 32), 1), ((33, 63), 1), ((64, 32), 2)])
def test_any_size_that_survives(size, features):
    model = vgg((1, *size), 7, depth=11, width=4)
    assert model[-1].in_features == 32 * features
    assert model(torch.randn(2, 1, *size)).shape == (2, 7)


@pytest.mark.parametrize(
    "shape, options, message",
    [
        ((3, 31, 32), {}, "halves images five times, got inputs 3x31x32; allowed: .*32 or more a side"),
        ((784,), {}, "got inputs 784"),
        ((3, 32, 32), {"depth": 12}, "model.depth: got 12, allowed: 11, 13, 16, 19"),
        ((3, 32, 32), {"activation": "swish"}, "model.activation: got 'swish', allowed: elu, none, relu"),
    ],
)
def test_refused(shape, options, message):
    with pytest.raises(UsageError, match=message):
        vgg(shape, 10, **({"depth": 16, "width": 4} | options))


def described(model):
    """A word for each layer: its kind with its channels or units."""
    sizes = {
        nn.Conv2d: "out_channels",
        nn.Linear: "out_features",
        nn.BatchNorm1d: "num_features",
        nn.BatchNorm2d: "num_features",
    }
    return [
        (type(layer).__name__, getattr(layer, sizes[type(layer)])) if type(layer) in sizes else type(layer).__name__
        for layer in model
    ]


def from_conf(name):
    file = yaml.safe_load((conf_dir() / "model" / f"{name}.yaml").read_text())
    return vgg((3, 32, 32), 10, **{k: v for k, v in file.items() if k not in ("name", "loss", "target")})


def test_the_vgg11_of_csfd():
    """64C3 MP2 128C3 MP2 2x256C3 MP2 2x512C3 MP2 2x512C3 MP2 2x512FC 10FC, BatchNorm before each ELU."""
    expected = []
    for word in (64, "MP", 128, "MP", 256, 256, "MP", 512, 512, "MP", 512, 512, "MP"):
        expected += ["MaxPool2d"] if word == "MP" else [("Conv2d", word), ("BatchNorm2d", word), "ELU"]
    expected += ["Flatten", *[("Linear", 512), ("BatchNorm1d", 512), "ELU"] * 2, ("Linear", 10)]
    assert described(from_conf("csfd_vgg11")) == expected


def test_the_vgg11_prime_of_groupednewton():
    expected = []
    for word in (64, "MP", 128, "MP", 256, 256, "MP", 512, 512, "MP", 512, 512, "MP"):
        expected += ["MaxPool2d"] if word == "MP" else [("Conv2d", word), "ELU"]
    assert described(from_conf("vgg11_prime")) == [*expected, "Flatten", ("Linear", 10)]


def test_vgg19_has_nineteen_layers_where_three_are_linear():
    layers = described(from_conf("vgg19"))
    widths = [w for w, n in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)) for _ in range(n)]
    assert [layer[1] for layer in layers if layer[0] == "Conv2d"] == widths and layers[-1] == ("Linear", 10)


def test_settings_added_later_do_not_change_the_hash():
    """The identity of a VGG run leaves out activation, BatchNorm and classifier at their defaults, as older runs do."""
    later = {"activation": "elu", "batch_norm": False, "classifier": [8]}
    for model in ("vgg", "vgg16"):
        config = expand([f"model={model}"])[0].config
        assert config["model"].items() >= {"activation": "relu", "batch_norm": True, "classifier": []}.items()
        before = {k: v for k, v in config["model"].items() if k not in later}
        assert identity(config) == identity(config | {"model": before}) and identity(config)["model"] == before
        for key, value in later.items():
            assert identity(config | {"model": config["model"] | {key: value}})["model"][key] == value
    assert identity(expand(["model=mlp"])[0].config)["model"]["activation"] == "relu"


def test_complex_passes_go_through_all_of_it():
    """An ELU network with BatchNorm and hidden linear layers: the complex gradient is autograd's Hessian product."""
    model = make(width=1, depth=11, activation="elu", classifier=[3]).double()
    x, t = torch.randn(3, 3, 32, 32, dtype=torch.float64), torch.tensor([0, 3, 9])
    f = Objective(model, CrossEntropy(), (x, t))
    v = torch.randn_like(f.space.get())
    expected = f.hessian() @ v
    found = f.value_and_grad(f.space.get() + 1e-12j * v)[1].imag / 1e-12
    assert ((found - expected).norm() / expected.norm()).item() < 1e-9


def test_initialisation():
    for layer in make():
        if isinstance(layer, nn.Conv2d):
            deviation = (2 / (9 * layer.out_channels)) ** 0.5
            n = layer.weight.numel()
            assert abs(layer.weight.std().item() / deviation - 1) < 4 / (2 * n) ** 0.5  # four standard errors
            assert abs(layer.weight.mean().item()) < 4 * deviation / n**0.5 and not layer.bias.any()
        if isinstance(layer, nn.BatchNorm2d):
            assert (layer.weight == 1).all() and not layer.bias.any()
