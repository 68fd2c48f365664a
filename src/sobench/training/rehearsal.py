"""A rehearsal: the first steps of an optimizer that was not written for sobench, made and undone before the run.

Such a class may need what a training loop does not give it: another step's arguments, gradients that can be
differentiated, a model in place of its parameters. Or it keeps what no checkpoint has. Whatever shows in the first
steps is one line before the run starts. Classes with `requires` are written for sobench; `sobench check` is theirs.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from sobench.config import registry
from sobench.errors import UsageError
from sobench.objective.cost import Cost
from sobench.training import optimizer_state, random_state
from sobench.training.optimizer import ObjectiveOptimizer
from sobench.training.problem import Problem

STEPS = 3
"""The last one is made twice: by the optimizer, and by one that was restored from its checkpoint."""

NO_GRAPH = "does not require grad"
"""In torch's message about a gradient that cannot be differentiated."""

Make = Callable[[], torch.optim.Optimizer]


def rehearse(name: str, make: Make, problem: Problem) -> None:
    """Make the first steps of the optimizers that `make` returns, and undo them.

    If the optimizer differentiates gradients, those of the problem have a graph from now on. Raises UsageError if a
    step fails, asks nothing of the objective, returns no loss, replaces a parameter of the model, or cannot be resumed.
    """
    device = problem.train[0].device
    for again in (True, False):
        try:
            with problem.undone(), random_state.undone(device), registry.calling("optimizers", name):
                _rehearse(name, make, problem, device)
            return
        except UsageError as error:
            if not (again and isinstance(error.__cause__, RuntimeError) and NO_GRAPH in str(error.__cause__)):
                raise
            problem.differentiate_gradients()


def _rehearse(name: str, make: Make, problem: Problem, device: torch.device) -> None:
    optimizer = cast(ObjectiveOptimizer, make())
    parameters = [*problem.model.parameters()]
    ahead = list(itertools.islice(problem.objectives(), STEPS))
    for _, f in ahead[:-1]:
        f.cost = Cost()
        loss: object = optimizer.step(f)
        if not f.cost.used:
            raise _refusal(name, "a step asks nothing of the objective", "a step that calls its closure")
        if loss is None:
            raise _refusal(name, "step(f) returned None", "the loss, `return loss`")
        if any(p is not q for p, q in itertools.zip_longest(parameters, problem.model.parameters())):
            raise _refusal(name, "a step replaces parameters of the model", "steps that write them in place")
    saved, resumed = _checkpoint(name, optimizer), cast(ObjectiveOptimizer, make())
    optimizer_state.restore(resumed, saved)
    before, after = _flat(parameters), []
    _, f = ahead[-1]
    for one in (optimizer, resumed):
        with problem.undone(), random_state.undone(device):
            f.cost = Cost()
            one.step(f)
            after.append(_flat(parameters))
    if not _same_step(before, *after):
        raise _refusal(name, "a resumed run would differ", "a state that is in state_dict() or in plain attributes")


def _checkpoint(name: str, optimizer: ObjectiveOptimizer) -> dict[str, Any]:
    """The state of the optimizer, as a checkpoint returns it."""
    buffer, state = io.BytesIO(), optimizer_state.state(optimizer)
    try:
        torch.save(state, buffer)
        return torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
    except Exception as error:  # of whatever the objects in the state are
        found = optimizer_state.unsaved_type(state) or type(error).__name__
        allowed = "tensors, numbers and strings, in lists and dicts"
        raise _refusal(name, f"its state cannot be saved for a resume: it has a {found}", allowed) from error


def _flat(parameters: list[torch.nn.Parameter]) -> Tensor:
    return torch.cat([p.detach().flatten() for p in parameters])


def _same_step(before: Tensor, one: Tensor, two: Tensor) -> bool:
    """Whether two steps are the same, up to what a GPU rounds otherwise when it repeats a sum."""
    length = (one - before).norm().clamp(min=torch.finfo(before.dtype).tiny)
    apart = (one - two).norm() / length
    return torch.equal(one, two) or bool(apart.isnan()) or bool(apart <= torch.finfo(before.dtype).eps ** 0.5)


def _refusal(name: str, reason: str, allowed: str) -> UsageError:
    return UsageError(f"{registry.named('optimizers', name)}: {reason}; allowed: {allowed}")
