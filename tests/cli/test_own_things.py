"""Models and data sets of another package: by their names in every command, and each mistake is one line."""

from pathlib import Path

import pytest
from harness import SMALL, command, directories, directory, rows, summary

from sobench.config import registry, signature
from sobench.errors import UsageError
from sobench.results import method_code

MODELS = '''
"""Models."""
import torch
from torch import nn


class Net(nn.Module):
    """One hidden layer."""

    def __init__(self, input_shape, outputs, width: int = 4, scale=1, act="tanh", sizes=(3, 3), bias: bool = True,
                 depth: int | None = None, kind=nn.Tanh, *args, **kwargs):
        super().__init__()
        assert isinstance(sizes, tuple) and not args and not kwargs
        self.net = nn.Sequential(nn.Flatten(), nn.LazyLinear(width), kind(), nn.Linear(width, outputs, bias=bias))

    def forward(self, x):
        return self.net(x)


def needy(input_shape, outputs, width: int):
    return Net(input_shape, outputs, width)


def fixed():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def narrow(input_shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


def unfit(outputs):
    return nn.Linear(7, outputs)


def raising(input_shape):
    raise RuntimeError("no weights here")


def nothing(input_shape):
    pass


def without():
    return nn.Flatten()


def taken(input_shape, outputs, loss="x"):
    return fixed()


def placed(input_shape, outputs, width=3, /):
    return fixed()


odd = 7
'''
DATA = '''
"""Data sets."""
from sobench.data import Dataset


def blobs(samples: int = 60, shift=1.0, options={"a": 1}):
    """Two blobs."""
    import torch

    x = torch.randn(2 * samples, 5, generator=torch.Generator().manual_seed(0))
    y = (torch.arange(2 * samples) % 2)
    x = x + shift * y[:, None]
    return Dataset("blobs", (x[:samples], y[:samples]), (x[samples:], y[samples:]), classes=2)


def line():
    """Real targets."""
    import torch

    x = torch.linspace(-1, 1, 64)[:, None]
    return Dataset("line", (x, 2 * x), (x, 2 * x), classes=None)


def broken(store):
    return {}["train"]


def gaps():
    import torch

    x = torch.full((9, 2), float("nan"))
    return Dataset("gaps", (x, torch.zeros(9).long()), (x, torch.zeros(9).long()), 2)


def arrays():
    import numpy

    pair = numpy.ones((9, 2)), numpy.zeros(9)
    return Dataset("arrays", pair, pair, 2)


def pixels():
    import torch

    pair = torch.ones(9, 2, dtype=torch.uint8), torch.zeros(9).long()
    return Dataset("pixels", pair, pair, 2)


def columns():
    import torch

    pair = torch.ones(9, 2), torch.zeros(9, 1).long()
    return Dataset("columns", pair, pair, 2)


def pair():
    return 1, 2


def named(name="x"):
    return blobs()
'''
NETS = ("needy", "fixed", "narrow", "unfit", "raising", "nothing", "without", "taken", "placed", "odd")
SETS = ("blobs", "line", "broken", "gaps", "arrays", "pixels", "columns", "pair", "named")
WORDS = ("threads=1", "budget.steps=3", "batch_size=8")


@pytest.fixture
def theirs(plugins, workplace):
    models = {"net": "their_models.nets:Net"} | {name: f"their_models.nets:{name}" for name in NETS}
    plugins("their-models", {"their_models/__init__.py": "", "their_models/nets.py": MODELS}, models, "sobench.models")
    sets = {name: f"their_data.sets:{name}" for name in SETS}
    site = plugins("their-data", {"their_data/__init__.py": "", "their_data/sets.py": DATA}, sets, "sobench.datasets")
    yield site
    method_code.forget()


def test_their_configuration_is_their_signature(theirs):
    own = {"width": 4, "scale": 1, "act": "tanh", "sizes": [3, 3], "bias": True, "depth": None}
    assert signature.defaults("model", "net") == {"name": "net", **own, "loss": "cross_entropy", "target": "label"}
    assert signature.defaults("dataset", "blobs") == {"name": "blobs", "samples": 60, "shift": 1.0, "options": {"a": 1}}


def test_in_every_command(theirs):
    words = ["dataset=blobs", "model=net", "model.width=2,5", "model.sizes=[1,2,3]", *WORDS]
    done = command("run", "-m", *words, "optimizer=sgd,kfac", "dataset.shift=2")
    assert done.code == 0 and done.out.splitlines()[-1] == "4 runs: 4 done", done
    assert all("blobs_net_" in str(path) for path in directories())
    record = (directories()[0] / "environment.json").read_text()
    assert "their_models.nets" in record and "their_data.sets" in record
    assert "blobs_net" in command("status").out.replace(" ", "_")
    assert command("check", "sgd", "model=net", "dataset=blobs").out.splitlines()[-1] == "sgd: 10 of 10 checks passed"


def test_a_model_does_what_the_same_module_does_by_hand(theirs):
    """A lazy layer is made by the first pass, from the seed of the run alone."""
    import torch

    assert command("run", *WORDS, "model=net").code == 0
    first = rows(directory(), "eval")
    torch.rand(1)
    assert command("run", *WORDS, "model=net", "runs=again").code == 0
    again = rows(directory(Path("again")), "eval")
    assert [row["train_loss"] for row in first] == [row["train_loss"] for row in again]


def test_real_targets_take_a_loss_of_values(theirs):
    refused = command("run", *WORDS, "dataset=line", "model=net")
    assert refused.code == 2 and "loss: got 'cross_entropy', the targets here are real numbers" in refused.err
    assert command("run", *WORDS, "dataset=line", "model=net", "model.loss=squared_error").code == 0
    assert summary(directory())["status"] == "done"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["model=needy"], "allowed: model.width=VALUE; input_shape and outputs alone are given by the data set"),
        (["model=needy", "model.width=x"], "model.width: got 'x', allowed: a whole number"),
        (["model=net", "model.width=2.5"], "model.width: got 2.5, allowed: a whole number"),
        (["model=net", "model.scale=x"], "model.scale: got 'x', allowed: a number"),
        (["model=net", "model.bias=1"], "model.bias: got 1, allowed: true or false"),
        (["model=net", "model.depth=x"], "model.depth: got 'x', allowed: a whole number, or null"),
        (["model=net", "model.sizes=3"], "model.sizes: got 3, allowed: a list"),
        (["model=net", "model.widht=3"], "model.widht: no such key, allowed: "),
        (["model=net", "model.target=labels"], "model.target: got 'labels', allowed: label, binary or input"),
        (["model=nett"], "did you mean 'net'"),
        (
            ["model=narrow"],
            "model 'narrow' (their_models.nets:narrow) returns outputs [2, 3] for inputs [2, 1, 8, 8]; ",
        ),
        (["model=unfit"], "model 'unfit' (their_models.nets:unfit) raised RuntimeError: "),
        (["model=raising"], "raised RuntimeError: no weights here (nets.py, line 37)"),
        (
            ["model=nothing"],
            "model 'nothing' (their_models.nets:nothing) returned NoneType; allowed: a torch.nn.Module",
        ),
        (["model=without"], "has no parameter that requires a gradient"),
        (["model=taken"], "the parameter 'loss' has the name of a key of sobench's own; allowed: another name"),
        (["model=placed"], "the parameter 'width' is positional-only; allowed: parameters that can be given by name"),
        (["model=odd"], "model 'odd' (their_models.nets:odd) is of type int; allowed: a function or a class"),
        (["dataset=broken"], "dataset 'broken' (their_data.sets:broken) raised KeyError: 'train' (sets.py, line 25)"),
        (["dataset=gaps"], "gaps: the inputs of train have values from nan to nan; allowed: finite"),
        (["dataset=arrays"], "arrays: train is (ndarray, ndarray); allowed: (inputs, targets), two torch tensors"),
        (["dataset=pixels"], "the inputs of train are uint8 [9, 2]; allowed: floating point [N, ...]: inputs.float()"),
        (["dataset=columns"], "columns: the labels of train are int64 [9, 1]; allowed: int64 [N]"),
        (["dataset=pair"], "dataset 'pair' (their_data.sets:pair) returned tuple; allowed: a sobench.data.Dataset"),
        (["dataset=named"], "the parameter 'name' has the name of a key of sobench's own"),
        (["dataset=blobs", "dataset.samples=2.5"], "dataset.samples: got 2.5, allowed: a whole number"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(theirs, words, line):
    refused = command("run", *WORDS, *words)
    assert refused.code == 2 and len(refused.errors) == 1 and line in refused.err, refused
    assert not directories()


def test_a_name_of_ours_is_not_taken(plugins, workplace):
    plugins("taking", {"taking.py": MODELS}, {"mlp": "taking:fixed"}, "sobench.models")
    done = command("run", *SMALL)
    assert done.code == 0
    assert done.errors == [
        "sobench: warning: two models are called 'mlp': using sobench.models.mlp:mlp, not taking:fixed; "
        "for the other: model=taking:fixed"
    ]


def test_a_result_of_older_code_is_stale(theirs):
    words = [*WORDS, "dataset=blobs", "model=net"]
    assert command("run", *words).code == 0
    assert "stale" not in command("status").out
    for file, old, new, reason in (
        ("their_models/nets.py", "return self.net(x)", "return 2 * self.net(x)", "older code of its model"),
        ("their_data/sets.py", "x = x + shift", "x = x - shift", "older code of its data set"),
    ):
        path = theirs / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        method_code.forget()
        assert f"made by {reason}" in command("run", *words).out
        path.write_text(f"# a comment\n{text}")
        method_code.forget()
        assert "made by" not in command("run", *words).out


LOSSES = "import torch\n\n\nclass Needy:\n    def __init__(self, width):\n        pass\n"


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ("torch.nn:CrossEntropyLoss", "loss 'own' (torch.nn:CrossEntropyLoss) has no takes; allowed: a subclass of"),
        ("their_losses:Needy", "loss 'own' (their_losses:Needy) raised TypeError: "),
    ],
)
def test_a_loss_that_is_none_is_one_line(plugins, workplace, entry, line):
    plugins("their-losses", {"their_losses.py": LOSSES}, {"own": entry}, "sobench.losses")
    for optimizer in ("sgd", "kfac"):  # kfac samples labels
        refused = command("run", *SMALL, "loss=own", f"optimizer={optimizer}")
        assert refused.code == 2 and len(refused.errors) == 1 and line in refused.err, refused
    assert not directories()


def test_an_optimizer_with_a_parameter_called_name(plugins, workplace):
    code = "import torch\n\n\nclass Own(torch.optim.SGD):\n    def __init__(self, params, name='x'):\n        pass\n"
    plugins("own", {"own_optimizer.py": code}, {"own": "own_optimizer:Own"})
    with pytest.raises(UsageError, match="the parameter 'name' has the name of a key of sobench's own"):
        signature.defaults("optimizer", "own")
    assert registry.is_plugin("optimizer", "own") and not registry.is_plugin("optimizer", "sgd")
