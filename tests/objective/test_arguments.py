"""Mistakes with an Objective in a script or notebook: each is one line that says what to write."""

import contextlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import sobench
from sobench.errors import UsageError
from sobench.losses import CrossEntropy, SquaredError

X, Y = torch.randn(6, 4), torch.arange(6) % 3


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (nn.CrossEntropyLoss(), "got CrossEntropyLoss, which has no curvature; allowed: sobench.losses.CrossEntropy()"),
        (nn.MSELoss(), "got MSELoss, which has no curvature; allowed: sobench.losses.SquaredError(), half the sum"),
        (nn.BCEWithLogitsLoss(), "allowed: sobench.losses.BinaryCrossEntropy()"),
        (F.cross_entropy, "got the function cross_entropy, which has no curvature; allowed: sobench.losses.Cross"),
        (
            nn.HuberLoss(),
            "got HuberLoss, which has no curvature; allowed: sobench.losses.CrossEntropy(), or a subclass",
        ),
        (lambda z, t: z.sum(), "got the function <lambda>"),
        (CrossEntropy, "got the class CrossEntropy; allowed: an object of it, CrossEntropy()"),
        ("cross_entropy", "got 'cross_entropy', which has no curvature"),
        (None, "got NoneType"),
    ],
)
def test_another_loss(loss, said):
    with pytest.raises(UsageError) as error:
        sobench.Objective(model(), loss, (X, Y))
    assert str(error.value).startswith("loss: ") and said in str(error.value)


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (X, "batch: got a tensor [6, 4]; allowed: (inputs, targets), two torch tensors"),
        (X[:2], "batch: got a tensor [2, 4]"),  # two rows are not two tensors
        ((X, Y, Y), "batch: got (a tensor [6, 4], a tensor [6], a tensor [6]); allowed: (inputs, targets)"),
        ((X.numpy(), Y.numpy()), "batch: got (ndarray, ndarray)"),
        (torch.utils.data.TensorDataset(X, Y), "batch: got TensorDataset"),
        ((X, Y[:4]), "batch: inputs [6, 4] and targets [4]; allowed: N inputs and N targets"),
        ((X[:0], Y[:0]), "batch: inputs [0, 4] and targets [0]; allowed: N inputs and N targets, N at least 1"),
        ((X, Y.sum()), "batch: inputs [6, 4] and targets []"),
    ],
)
def test_another_batch(batch, said):
    with pytest.raises(UsageError) as error:
        sobench.Objective(model(), CrossEntropy(), batch)
    assert str(error.value).startswith(said)


def test_a_class_in_place_of_a_model():
    with pytest.raises(UsageError, match="model: got the class Linear; allowed"):
        sobench.Objective(nn.Linear, CrossEntropy(), (X, Y))


@pytest.mark.parametrize("other", [model().parameters(), model().state_dict(), F.relu, np.ones(3)])
def test_another_model(other):
    with pytest.raises(UsageError, match=r"^model: got .*; allowed: a torch\.nn\.Module$"):
        sobench.Objective(other, CrossEntropy(), (X, Y))


@pytest.mark.parametrize(
    ("loss", "targets", "said"),
    [
        (CrossEntropy(), Y.float(), "float32 targets"),
        (CrossEntropy(), Y[:, None], r"int64 targets \[6, 1\]"),
        (CrossEntropy(), Y + 1, "labels in 0..2"),
        (SquaredError(), Y, r"real targets \[N, C\], got outputs \[6, 3\] and int64 targets \[6\]"),
        (SquaredError(), Y.float(), r"float32 targets \[6\]"),
    ],
)
@pytest.mark.parametrize("name", ["sgd", "kfac"])
def test_targets_of_another_kind(loss, targets, said, name):
    net = model()
    optimizer = sobench.load_optimizer(name)(net.parameters(), lr=0.1)
    with pytest.raises(UsageError, match=said):
        optimizer.step(sobench.Objective(net, loss, (X, targets)))


@pytest.mark.parametrize("name", ["kfac", "hf_gauss_newton", "tnt", "adahessian"])
def test_a_step_without_an_objective(name):
    net = model()
    optimizer = sobench.load_optimizer(name)(net.parameters(), lr=0.1)
    name, write = (
        type(optimizer).__name__,
        "allowed: an objective, optimizer.step(f) with f = sobench.Objective(model, ",
    )
    for arguments, got in (
        ((), "nothing"),
        ((None,), "nothing"),
        ((lambda: 1.0,), "the function <lambda>"),
        ((torch.ones(2),), "a tensor [2]"),
        (((X, Y),), "tuple of 2"),
    ):
        with pytest.raises(UsageError) as error:
            optimizer.step(*arguments)
        assert str(error.value).startswith(f"{name}.step: got {got}; {write}")
    assert optimizer.step(sobench.Objective(net, CrossEntropy(), (X, Y))).isfinite()
    assert optimizer.step(f=sobench.Objective(net, CrossEntropy(), (X, Y))).isfinite()


def test_a_step_of_torch_needs_no_objective():
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    F.cross_entropy(net(X), Y).backward()
    before = net[0].weight.clone()
    optimizer.step()
    assert not torch.equal(before, net[0].weight)
    assert optimizer.step(lambda: F.cross_entropy(net(X), Y)).isfinite()


@pytest.mark.parametrize("name", ["sgd", "adam", "lbfgs", "kfac", "newton"])
def test_parameters_of_another_model(name):
    net, other = model(), model()
    optimizer = sobench.load_optimizer(name)(other.parameters(), lr=0.1)
    with pytest.raises(UsageError, match="allowed: .*model.parameters\\(\\) of the same model"):
        optimizer.step(sobench.Objective(net, CrossEntropy(), (X, Y)))
    optimizer.step(sobench.Objective(other, CrossEntropy(), (X, Y)))
    with pytest.raises(UsageError):  # also after a step that was right
        optimizer.step(sobench.Objective(net, CrossEntropy(), (X, Y)))


@pytest.mark.parametrize("name", ["sgd", "kfac", "hf_newton"])
def test_no_grad_around_a_step_changes_nothing(name):
    def stepped(context) -> torch.Tensor:
        net = model()
        optimizer = sobench.load_optimizer(name)(net.parameters(), lr=0.1)
        with context:
            optimizer.step(sobench.Objective(net, CrossEntropy(), (X, Y)))
        return torch.cat([p.detach().flatten() for p in net.parameters()])

    assert torch.equal(stepped(contextlib.nullcontext()), stepped(torch.no_grad()))


@pytest.mark.parametrize("name", ["sgd", "kfac"])
def test_a_step_in_inference_mode(name):
    net = model()
    optimizer = sobench.load_optimizer(name)(net.parameters(), lr=0.1)
    with torch.inference_mode(), pytest.raises(UsageError, match=r"nothing can be trained in torch.inference_mode\(\)"):
        optimizer.step(sobench.Objective(net, CrossEntropy(), (X, Y)))


def test_the_public_names_are_listed():
    assert {"Objective", "load_optimizer", "losses"} <= {*dir(sobench)} and "import_module" not in dir(sobench)
