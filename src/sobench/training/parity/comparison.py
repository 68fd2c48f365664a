"""Make the steps of several implementations of an algorithm side by side, and find the first step at which two differ.

All implementations start from the same weights and see the same batches. Each has a copy of the model. They make each
step in turn, so that no trajectory is kept. Random signs are the same for all (`draws`). A warm start, which estimates
statistics before the first step, is made of the batch of that step alone: other packages have none, and begin with the
statistics of their first step. What a package compiles runs uncompiled. Nothing is written.

**The difference** of two implementations after step k, for the same quantity x and x' of both, is

    d_k = |x_k - x'_k| / max(|x_k - x_0|, |x'_k - x_0|)

with Euclidean norms: the distance between the two, relative to how far the one that is farther has come. For
`parameters`, x is the vector of all parameters that the algorithm moves, and x_0 that of the initial weights. For
factors, x is one matrix of one layer, x_0 = 0, and d_k is the largest over matrices and layers. d_k is 0 if neither has
moved, at most 2, and infinite if x or x' is not finite. The implementations differ from the first step on at which d_k
exceeds TOLERANCE.
"""

from __future__ import annotations

import copy
import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pkgutil import resolve_name
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from sobench.config import registry
from sobench.config.groups import own
from sobench.config.match import parse
from sobench.config.parity import DTYPE, PARAMETERS, Algorithm, Implementation, shared
from sobench.config.run import Run
from sobench.errors import Failure, SobenchError, UsageError, described
from sobench.objective import Objective
from sobench.system import environment
from sobench.training import random_state
from sobench.training.groups import facts
from sobench.training.optimizer import ObjectiveOptimizer, make_optimizer
from sobench.training.parity.draws import SharedBits
from sobench.training.problem import Problem
from sobench.training.requirements import requirements_of

TOLERANCE = 1e-6
"""The largest difference of two implementations that are taken for the same."""

Quantities = dict[str, Tensor]
"""What is compared, by names: the vector of parameters, or the matrices of the layers."""


@dataclass
class Outcome:
    """An implementation beside the first one.

    version: of its package; "" for one without a number. settings: all that it was given. defaults: its further
    settings, which it was not given. first: the first step with a difference above TOLERANCE, None for none; there: the
    difference at that step; end: that of the last step. failure: why it did not get there, in one line.
    """

    implementation: Implementation
    version: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    first: int | None = None
    there: float | None = None
    end: float | None = None
    failure: str = ""

    def note(self, step: int, difference: float) -> None:
        """Take the difference after a step into account."""
        self.end = difference
        if self.first is None and not difference <= TOLERANCE:
            self.first, self.there = step, difference


def compare(algorithm: Algorithm, run: Run, steps: int) -> list[Outcome]:
    """The outcome of each implementation, in the order of the algorithm's; those that are not installed are left out.

    run: of the first implementation. Raises UsageError if that one is not installed, and whatever it raises.
    """
    if not algorithm.first.is_installed:
        raise UsageError(
            f"parity {algorithm.name}: {algorithm.first.label}, which the others are compared with, is not installed; "
            f"allowed: pip install {algorithm.first.requirement}"
        )
    if run.config["threads"]:
        torch.set_num_threads(run.config["threads"])
    torch.set_flush_denormal(True)  # as in a run
    device = environment.device(run.config["device"])
    random_state.seed(run.seed)
    problem = Problem(run.config, device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other packages
        with torch.compiler.set_stance("force_eager"), random_state.undone(device):
            comparison = _Comparison(algorithm, run, problem)
            for step, f in islice(problem.objectives(), steps):
                comparison.step(step, f)
            return comparison.outcomes


def difference(x: Quantities, other: Quantities, origin: Quantities) -> float:
    """d_k of the module's docstring, the largest over the quantities. Raises Failure if the two have not the same."""
    if {key: x[key].shape for key in x} != {key: other[key].shape for key in other}:
        raise Failure(f"has {_shapes(other)}, the first implementation has {_shapes(x)}")
    return max(_difference(x[key], other[key], origin.get(key, torch.zeros_like(x[key]))) for key in x)


def _difference(x: Tensor, other: Tensor, origin: Tensor) -> float:
    if not (x.isfinite().all() and other.isfinite().all()):
        return math.inf
    moved = max((x - origin).norm().item(), (other - origin).norm().item())
    return (x - other).norm().item() / moved if moved else 0.0


def _shapes(quantities: Quantities) -> str:
    return ", ".join(f"{key} {list(value.shape)}" for key, value in quantities.items())


class _Participant(Protocol):
    """An implementation that makes its steps. quantities: what is compared after the last one."""

    @property
    def quantities(self) -> Quantities: ...

    def step(self, step: int, f: Objective, /) -> None: ...


class _Comparison:
    """The installed implementations of an algorithm on one problem. outcomes: one each, the first one's first."""

    def __init__(self, algorithm: Algorithm, run: Run, problem: Problem):
        test = parse(algorithm.match, "match")
        for known, p in facts(problem.model).items():
            p.requires_grad_(p.requires_grad and test(known))
        values = {**shared(algorithm, run.config["optimizer"]), DTYPE: run.config["dtype"]}
        self.outcomes = [Outcome(one) for one in algorithm.implementations if one.is_installed]
        for outcome in self.outcomes[1:]:
            outcome.settings = {"name": outcome.implementation.name, **outcome.implementation.resolved(values)}
        reference, *others = self.outcomes
        reference.settings = own(run.config["optimizer"])
        quantities = _parameters if algorithm.compares == PARAMETERS else partial(_factors, algorithm.compares)
        self._reference = first = _Stepping(reference, run, problem, quantities)
        self._origin = {PARAMETERS: _parameters(first)[PARAMETERS].clone()} if quantities is _parameters else {}
        self._others: list[tuple[Outcome, _Participant]] = []
        for outcome in others:
            with _noted(outcome):
                made = (
                    _Witness(outcome, run, first.model)
                    if outcome.implementation.witness
                    else _Stepping(outcome, run, problem, quantities)
                )
                self._others.append((outcome, made))

    def step(self, step: int, f: Objective) -> None:
        """Make a step of all, and note the differences."""
        for outcome, one in self._others:  # before the reference has moved: a witness looks at its model
            with _noted(outcome):
                one.step(step, f)
        self._reference.step(step, f)
        x = self._reference.quantities
        for outcome, one in self._others:
            if not outcome.failure:
                with _noted(outcome):
                    outcome.note(step, difference(x, one.quantities, self._origin))
        self._others = [(outcome, one) for outcome, one in self._others if not outcome.failure]


@contextmanager
def _noted(outcome: Outcome) -> Iterator[None]:
    """A context in which another package may raise anything: the outcome says what."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        outcome.failure = str(error) if isinstance(error, SobenchError) else described(error)


class _Stepping:
    """An optimizer with a copy of the problem's model. Gives the outcome its version and defaults."""

    def __init__(self, outcome: Outcome, run: Run, problem: Problem, quantities: Callable[[_Stepping], Quantities]):
        implementation, settings = outcome.implementation, outcome.settings
        self.label = implementation.label
        cls = registry.load("optimizers", settings["name"])
        outcome.version, outcome.defaults = _version(implementation), _defaults(implementation, cls, settings)
        self.model = copy.deepcopy(problem.model)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        parameters: Any = [{"params": trained, **implementation.group}] if implementation.group else trained
        self.optimizer = cast(ObjectiveOptimizer, make_optimizer(cls, settings, parameters))
        self._commits = "closure" not in requirements_of(cls)
        self._problem, self._l2, self._name = problem, run.config["l2"], settings["name"]
        self._graph = implementation.differentiates_gradients
        self._objective: Objective | None = None
        self._quantities = quantities

    @property
    def quantities(self) -> Quantities:
        return self._quantities(self)

    def step(self, step: int, f: Objective) -> None:
        streams = self._problem.streams.at(step)
        with SharedBits(streams), registry.calling("optimizers", self._name):
            if self._objective is None:
                self._objective = self._first(f)
            of_step = self._objective.on(f.batch, streams, f.key)
            self.optimizer.step(of_step)
            if self._commits:
                of_step.commit()

    def _first(self, f: Objective) -> Objective:
        """The objective of this model on the first batch, after the warm start if the optimizer has one."""
        loss, streams = self._problem.loss, self._problem.streams.at(0)
        if warm_start := getattr(self.optimizer, "warm_start", None):
            warm_start(Objective(self.model, loss, f.batch, l2=self._l2, streams=streams))
        made = Objective(self.model, loss, f.batch, l2=self._l2, source=self._problem)
        made.network.differentiates_gradients = self._graph
        return made


def _parameters(one: _Stepping) -> Quantities:
    return {PARAMETERS: torch.cat([p.detach().flatten() for p in one.model.parameters() if p.requires_grad])}


def _factors(names: Sequence[str], one: _Stepping) -> Quantities:
    layers: Mapping[str, Mapping[str, Tensor]] = getattr(one.optimizer, "factors", {})
    if not layers or any(name not in factors for factors in layers.values() for name in names):
        raise UsageError(f"compares: got {', '.join(names)}, {one.label} has no such factors of its layers")
    return {f"{layer}.{name}": factors[name] for layer, factors in layers.items() for name in names}


class _Witness:
    """A function that computes the factors of the first implementation's model on a batch, see `witnesses`."""

    def __init__(self, outcome: Outcome, run: Run, model: nn.Module):
        self._call = resolve_name(outcome.implementation.name)
        outcome.version = _version(outcome.implementation)
        self._settings = {key: value for key, value in outcome.settings.items() if key != "name"}
        self._loss, self._model = run.config["loss"], model
        self.quantities: Quantities = {}

    def step(self, step: int, f: Objective) -> None:
        found = self._call(copy.deepcopy(self._model), self._loss, f.batch, **self._settings)
        self.quantities = {f"{layer}.{name}": matrix for layer, one in found.items() for name, matrix in one.items()}


def _version(implementation: Implementation) -> str:
    """The version of its package; "" for a file, and for a module without metadata."""
    package = implementation.package
    try:
        return version(package).partition("+")[0] if package else ""
    except PackageNotFoundError:
        return ""


def _defaults(implementation: Implementation, cls: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a class that it is not given. Raises UsageError for one that it is given and does not have.

    A class that takes any keyword would ignore such a one.
    """
    known = dict(_keywords(cls))
    for key in settings:
        if key != "name" and key not in known:
            text = f"{implementation.label}: this version has no setting {key!r}; allowed: {', '.join(known)}"
            raise UsageError(text)
    return {key: default for key, default in known.items() if key not in settings}


def _keywords(cls: type) -> Iterator[tuple[str, Any]]:
    parameters = list(inspect.signature(cls).parameters.values())[1:]  # the first are those of the model
    yield from ((p.name, p.default) for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
