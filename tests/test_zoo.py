"""Every optimizer on every model of the zoo: it takes the same step for both ways of writing it, or refuses it.

The outcomes are docs/models.md, which `make support` writes.
"""

from __future__ import annotations

import pytest
import support
import torch
from torch import Tensor, nn
from zoo import ZOO, Specimen

from sobench import Objective, load_optimizer
from sobench.config import registry
from sobench.errors import SobenchError
from sobench.training.requirements import requirements_of
from sobench.training.streams import Streams

TOLERANCE = 1e-8
OPTIMIZERS = list(registry.entries("optimizers"))
SETTINGS = {
    "lbfgs": {"lr": 0.1, "max_iter": 4},  # with lr=1 it diverges
    "newton_krylov": {"cg_iterations": 4},
    "hessian_free": {"cg_iterations": 8},  # more iterations of either amplify rounding
} | dict.fromkeys(("adam", "adagrad", "rmsprop"), {"eps": 1e-3})  # so that a derivative of rounding stays small
LAYERED = {name for name in OPTIMIZERS if "record" in requirements_of(load_optimizer(name))} | {"kernel_sgd"}
"""Optimizers that look at layers."""
USED = {name: requirements_of(load_optimizer(name)) | ({"layers"} if name in LAYERED else set()) for name in OPTIMIZERS}
"""The oracles that each optimizer uses, and whether it looks at layers."""
KINDS = [
    name for used, name in {USED[name]: name for name in OPTIMIZERS}.items() if not any(used < u for u in USED.values())
]
"""One optimizer for each set of oracles that no optimizer uses a larger set of: together they use all oracles."""
outcomes: dict[str, dict[str, str]] = {}
"""What this process has seen."""


class TrainingSet:
    """Two batches of a model of the zoo: the source of its objectives."""

    def __init__(self, inputs: Tensor, targets: Tensor):
        self.inputs, self.targets = inputs, targets

    def draw(self, n: int, generator):
        index = torch.randperm(len(self.inputs), generator=generator)[:n]
        return self.inputs[index], self.targets[index]

    def batches(self, size: int, generator):
        index = torch.randperm(len(self.inputs), generator=generator)
        return ((self.inputs[part], self.targets[part]) for part in index.split(size))

    def chunks(self):
        half = len(self.inputs) // 2
        return list(zip(self.inputs.split(half), self.targets.split(half)))


def steps(name: str, model: nn.Module, specimen: Specimen) -> Tensor:
    """The changes of theta by successive steps, [K, P]."""
    method, moved = load_optimizer(name)(model.parameters(), **SETTINGS.get(name, {})), []
    batches = [(specimen.inputs(seed), specimen.targets()) for seed in (1, 2)]
    source = TrainingSet(*map(torch.cat, zip(*batches)))
    kept = 1 if specimen.pairs_are_rounding and name.startswith("kbfgs") else 2
    for k, batch in enumerate(batches[:kept], 1):
        f = Objective(model, specimen.loss, batch, l2=0.1, source=source, streams=Streams(0).at(k))
        before = f.space.get()
        method.step(f)
        moved.append(f.space.get() - before)
    return torch.stack(moved)


def refusal(name: str, model: nn.Module, specimen: Specimen) -> tuple[Tensor | None, str]:
    """The steps and "", or None and the reason of a refusal, which leaves the parameters alone and is one line."""
    before = [p.detach().clone() for p in model.parameters()]
    try:
        return steps(name, model, specimen), ""
    except SobenchError as error:
        reason = str(error)
    assert "\n" not in reason, f"{name}: {reason}"
    assert all(torch.equal(p, q) for p, q in zip(before, model.parameters())), f"{name} has moved: {reason}"
    return None, reason


@pytest.mark.parametrize("specimen", ZOO, ids=lambda specimen: specimen.feature)
@pytest.mark.parametrize(
    "whole", [pytest.param(True, marks=pytest.mark.slow, id="all"), pytest.param(False, id="kinds")]
)
def test_two_ways_of_writing_one_function_take_one_step(specimen, whole, request):
    """On every model, all optimizers; the usual tests have half of KINDS on each, and each on half of the models."""
    is_written = request.config.getoption("--write-support")
    refused, names = {}, OPTIMIZERS if whole or is_written else KINDS[ZOO.index(specimen) % 2 :: 2]
    outcomes[specimen.feature] = refused
    differences = {}
    for name in names:
        written, plain = specimen.pair(name in LAYERED)
        ours, reason = refusal(name, written, specimen)
        if ours is None:
            refused[name] = reason
            continue
        theirs = steps(name, plain, specimen)
        assert theirs.isfinite().all(), name
        difference = float((ours - theirs).norm() / theirs.norm().clamp(min=1e-30))
        if not difference <= TOLERANCE:
            differences[name] = difference
    assert not differences
    if not is_written:
        recorded = {name: reason for name, reason in support.recorded()[specimen.feature].items() if name in names}
        assert refused == recorded, "docs/models.md is out of date: make support"


def test_the_page_has_every_model(request):
    if request.config.getoption("--write-support"):
        assert list(outcomes) == [specimen.feature for specimen in ZOO]
        support.PAGE.write_text(support.render(outcomes, OPTIMIZERS, TOLERANCE))
    page = support.recorded()
    assert list(page) == [specimen.feature for specimen in ZOO]
    assert support.render(page, OPTIMIZERS, TOLERANCE) == support.PAGE.read_text()
