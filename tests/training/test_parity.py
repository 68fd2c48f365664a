"""Implementations of one algorithm side by side: equal ones are equal, and a wrong setting is found at its step."""

import math
import sys
import types

import by_hand
import pytest
import torch
import torch.nn.functional as F
from own_conf import add_to_conf
from torch import Tensor, nn

from sobench.config import parity
from sobench.config.grid import expand
from sobench.errors import Failure, UsageError
from sobench.objective.parameter_space import ParameterSpace
from sobench.optim.adahessian import signs
from sobench.training.parity.comparison import compare, difference
from sobench.training.parity.draws import SharedBits
from sobench.training.problem import Problem
from sobench.training.streams import Streams

PROBLEM = ["model.widths=[8]", "model.activation=tanh", "threads=1"]
STEPS = 4


def outcomes(text: str, tmp_path, monkeypatch, *words: str, steps: int = STEPS):
    """The outcomes of the algorithm that this YAML file describes."""
    add_to_conf(tmp_path, monkeypatch, {"parity/mine.yaml": text})
    algorithm = parity.read("mine")
    return compare(algorithm, expand(parity.overrides(algorithm, [*PROBLEM, *words]))[0], steps)


def pair(name: str, settings: str, changed: str) -> str:
    """An algorithm of one class twice, the second time with one setting changed."""
    return f"""
settings: {{{settings}}}
implementations:
  - name: {name}
  - {{name: {name}, label: changed, settings: {{{changed}}}}}
"""


# The difference


def test_the_difference_by_hand():
    """|x - x'| over the longer of the two ways from the origin."""
    origin, x, other = torch.tensor([1.0, 1.0]), torch.tensor([4.0, 5.0]), torch.tensor([1.0, 2.0])
    assert difference({"x": x}, {"x": other}, {"x": origin}) == pytest.approx(math.hypot(3, 3) / 5)
    assert difference({"x": other}, {"x": x}, {"x": origin}) == pytest.approx(math.hypot(3, 3) / 5)
    assert difference({"x": origin}, {"x": origin}, {"x": origin}) == 0
    assert difference({"x": origin}, {"x": x}, {"x": origin}) == 1  # one has not moved
    assert difference({"x": x}, {"x": 2 * origin - x}, {"x": origin}) == pytest.approx(2)  # opposite ways
    assert difference({"x": x}, {"x": x * math.nan}, {"x": origin}) == math.inf


def test_the_difference_of_factors_is_the_largest_one():
    x = {"a": torch.eye(2), "b": torch.ones(1, 1)}
    assert difference(x, {"a": torch.eye(2), "b": torch.full((1, 1), 4.0)}, {}) == pytest.approx(3 / 4)
    with pytest.raises(Failure, match=r"has a \[2, 2\], the first implementation has a \[2, 2\], b \[1, 1\]"):
        difference(x, {"a": torch.eye(2)}, {})


# Steps


def test_equal_implementations_do_not_differ(tmp_path, monkeypatch):
    same = pair("torch.optim:Adam", "lr: 0.01, eps: 1.0e-8", "lr: '${lr}', eps: '${eps}'")
    first, second = outcomes(same, tmp_path, monkeypatch)
    assert first.end is None and second.first is None and second.end == 0 and not second.failure


@pytest.mark.parametrize(
    "name, settings, changed, step",
    [  # the formulas of the two methods: the first step at which the setting has a part
        ("torch.optim:Adam", "lr: 0.01, eps: 1.0e-8", "lr: '${lr}', eps: 1.0e-4", 1),
        ("torch.optim:Adam", "lr: 0.01, betas: [0.9, 0.999]", "lr: '${lr}', betas: [0.8, 0.999]", 2),
        ("torch.optim:Adam", "lr: 0.01, betas: [0.9, 0.999]", "lr: '${lr}', betas: [0.9, 0.99]", 2),
        ("torch.optim:SGD", "lr: 0.01, momentum: 0.9", "lr: '${lr}', momentum: 0.8", 2),
        ("torch.optim:SGD", "lr: 0.01, momentum: 0.9", "lr: 0.02, momentum: '${momentum}'", 1),
        ("torch.optim:SGD", "lr: 0.01, momentum: 0.9", "lr: '${lr}', momentum: '${momentum}', dampening: 0.1", 2),
    ],
)
def test_a_changed_setting_is_found_at_its_step(tmp_path, monkeypatch, name, settings, changed, step):
    _, second = outcomes(pair(name, settings, changed), tmp_path, monkeypatch)
    assert second.first == step and second.there > 1e-6


def test_the_difference_of_adams_epsilon_by_hand(tmp_path, monkeypatch):
    """After a step theta moves by lr g / (|g| + eps): the bias corrections of both moments cancel."""
    settings = pair("torch.optim:Adam", "lr: 0.01, eps: 1.0e-8", "lr: '${lr}', eps: 1.0e-3")
    _, second = outcomes(settings, tmp_path, monkeypatch, steps=1)
    problem = Problem(expand([*PROBLEM, "dtype=float64"])[0].config, torch.device("cpu"))
    _, f = next(problem.objectives())
    F.cross_entropy(problem.model(f.batch.inputs), f.batch.targets).backward()
    g = torch.cat([p.grad.flatten() for p in problem.model.parameters()])
    one, two = (g / (g.abs() + eps) for eps in (1e-8, 1e-3))
    assert second.there == pytest.approx(float((one - two).norm() / max(one.norm(), two.norm())), rel=1e-6)


def test_only_the_parameters_that_match_are_given_to_it(tmp_path, monkeypatch):
    """torch's Muon takes matrices and refuses vectors."""
    muon = pair("torch.optim:Muon", "lr: 0.01", "lr: '${lr}'")
    assert outcomes(f"match: ndim == 2\n{muon}", tmp_path, monkeypatch)[1].end == 0
    with pytest.raises(UsageError, match="Muon only supports 2D parameters"):
        outcomes(f"match: bias\n{muon}", tmp_path, monkeypatch)


def test_a_package_that_fails_does_not_stop_the_others(tmp_path, monkeypatch):
    class Broken(torch.optim.SGD):
        def step(self, closure=None):
            if self.state:
                raise ZeroDivisionError("a fault\nof two lines")
            return super().step(closure)

    monkeypatch.setitem(sys.modules, "broken", types.SimpleNamespace(Broken=Broken))
    text = pair("torch.optim:SGD", "lr: 0.01, momentum: 0.5", "lr: '${lr}', momentum: '${momentum}'")
    text += "  - {name: 'broken:Broken', package: broken, module: torch}\n"
    text += "  - {name: 'torch.optim:SGD', label: unknown, neutral: {momentun: 0.5}}\n"
    _, second, third, fourth = outcomes(text, tmp_path, monkeypatch)
    assert second.end == 0 and not second.failure
    assert "ZeroDivisionError: a fault" in third.failure and "\n" not in third.failure and third.end == 0
    assert fourth.failure.startswith("unknown: this version has no setting 'momentun'; allowed: lr, momentum, ")


def test_the_first_one_must_be_installed(tmp_path, monkeypatch):
    text = "settings: {lr: 0.1}\nimplementations: [{name: sgd, package: not-there, module: not_there}, {name: sgd}]"
    with pytest.raises(UsageError, match=r"sgd, which the others .* is not installed; allowed: pip install not-there$"):
        outcomes(text, tmp_path, monkeypatch)


# Random signs


def test_signs_are_the_same_by_either_function():
    shapes = [(5, 7), (3,), (31,), ()]
    model = nn.ParameterList([nn.Parameter(torch.zeros(shape)) for shape in shapes])
    streams = Streams(3)
    with SharedBits(streams.at(2)):
        ours = signs(ParameterSpace(model.named_parameters()), streams.at(2).generator("probe"))
    with SharedBits(streams.at(2)):
        likes = torch.cat([(2 * torch.randint_like(p, 2) - 1).flatten() for p in model])
    with SharedBits(streams.at(2)):
        generator = torch.Generator().manual_seed(7)
        sized = [torch.randint(0, 2, p.shape, generator=generator).flatten() * 2.0 - 1.0 for p in model]
    with SharedBits(streams.at(3)):
        later = torch.cat([(2 * torch.randint_like(p, 2) - 1).flatten() for p in model])
    assert torch.equal(ours, likes) and torch.equal(ours, torch.cat(sized)) and not torch.equal(ours, later)
    assert {*ours.tolist()} == {-1.0, 1.0} and abs(ours.mean()) < 0.5


def test_other_numbers_are_those_of_torch():
    draws = []
    for _ in range(2):
        with SharedBits(Streams(0).at(1)):
            draws.append(torch.cat([torch.randn(4), torch.randint(0, 10, (4,)).float()]))
    assert torch.equal(*draws) and draws[0][4:].max() > 1


# Factors


def witness(model: nn.Module, loss: str, batch: tuple[Tensor, Tensor], scale: float = 1.0) -> dict:
    """K-FAC's factors of a batch by plain torch, from the third call on times `scale`."""
    witness.calls += 1
    factor = scale if witness.calls > 2 else 1.0
    found = by_hand.layers(model, F.cross_entropy, *batch)
    return {name: {"Omega": factor * one.Omega, "Gamma": one.Gamma} for name, one in found.items()}


@pytest.mark.parametrize("scale, first", [(1.0, None), (1 + 1e-5, 3)])
def test_the_factors_of_kfac_are_those_by_hand(tmp_path, monkeypatch, scale, first):
    witness.calls = 0
    monkeypatch.setitem(sys.modules, "of_the_test", types.SimpleNamespace(witness=witness))
    text = f"""
compares: [Omega, Gamma]
settings: {{}}
implementations:
  - {{name: kfac, neutral: {{fisher: empirical, stats_decay: 0.0}}}}
  - {{name: "of_the_test:witness", witness: true, neutral: {{scale: {scale}}}}}
"""
    _, second = outcomes(text, tmp_path, monkeypatch, "batch_size=8")
    assert second.first == first and not second.failure
    assert second.end < 1e-12 if first is None else second.end == pytest.approx(1e-5, rel=1e-3)


def test_a_witness_that_fails_or_has_other_layers(tmp_path, monkeypatch):
    def fails(*_):
        raise KeyError("layer")

    def lacks(*arguments):
        found = witness(*arguments)
        return {name: found[name] for name in list(found)[:1]}

    witness.calls = 0
    monkeypatch.setitem(sys.modules, "of_the_test", types.SimpleNamespace(fails=fails, lacks=lacks))
    text = """
compares: [Omega]
settings: {}
implementations:
  - {name: kfac, neutral: {fisher: empirical, stats_decay: 0.0}}
  - {name: "of_the_test:fails", witness: true}
  - {name: "of_the_test:lacks", witness: true}
"""
    _, second, third = outcomes(text, tmp_path, monkeypatch, "batch_size=8", steps=1)
    assert second.failure == "KeyError: 'layer'" and second.end is None
    assert third.failure.startswith("has ") and "the first implementation has " in third.failure


def test_factors_that_the_first_one_does_not_have(tmp_path, monkeypatch):
    text = "compares: [Omega]\n" + pair("torch.optim:SGD", "lr: 0.01", "lr: '${lr}'")
    with pytest.raises(UsageError, match="compares: got Omega, torch.optim:SGD has no such factors of its layers"):
        outcomes(text, tmp_path, monkeypatch)


# Packages


EQUAL = [  # of these versions there is no difference; docs/parity.md has what explains the others
    ("sgd", "pytorch_optimizer:SGDW", "pytorch_optimizer"),
    ("muon", "pytorch_optimizer:Muon", "pytorch_optimizer"),
    ("adahessian", "pytorch_optimizer:AdaHessian", "pytorch_optimizer"),
    ("kfac", "curvlinops", "curvlinops"),
]


@pytest.mark.slow
@pytest.mark.parametrize("name, label, module", EQUAL)
def test_packages_that_do_not_differ(name, label, module):
    pytest.importorskip(module)
    algorithm = parity.read(name)
    found = compare(algorithm, expand(parity.overrides(algorithm, PROBLEM))[0], 10)
    (one,) = [outcome for outcome in found if outcome.implementation.label == label]
    assert not one.failure and one.first is None and one.end < 1e-10


@pytest.mark.slow
def test_shampoo_differs_from_sums_at_the_second_step():
    """The statistics of the first step are the same: those of its batch. Then averages are not sums."""
    pytest.importorskip("pytorch_optimizer")
    algorithm = parity.read("shampoo")
    found = compare(algorithm, expand(parity.overrides(algorithm, PROBLEM))[0], 3)
    by_label = {outcome.implementation.label: outcome for outcome in found}
    assert by_label["pytorch_optimizer:Shampoo"].first == 2
    assert by_label["pytorch_optimizer:ScalableShampoo"].first == 1
