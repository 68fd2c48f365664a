"""Wrong arguments in a script or a notebook, each refused in one line that says what to write.

`check` looks at the arguments of an Objective. `check_step`, which torch calls before every step of an optimizer, looks
at what `step` is called with: `optimizer.step()` without an objective, and an optimizer of another model's parameters.
"""

from __future__ import annotations

import inspect
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary, ref

from torch import Tensor, is_inference_mode_enabled, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from sobench.errors import UsageError

OF_A_LOSS = ("hessian_product", "hessian_root", "sample")
"""The methods that tell a loss of sobench from one of torch, which returns a value alone."""

INSTEAD = {
    "CrossEntropyLoss": "CrossEntropy()",
    "cross_entropy": "CrossEntropy()",
    "BCEWithLogitsLoss": "BinaryCrossEntropy()",
    "binary_cross_entropy_with_logits": "BinaryCrossEntropy()",
    "MSELoss": "SquaredError(), half the sum of squares of a sample",
    "mse_loss": "SquaredError(), half the sum of squares of a sample",
}
"""A loss of torch -> that of `sobench.losses`."""

_SEEN: WeakKeyDictionary[Optimizer, ReferenceType[Any]] = WeakKeyDictionary()
"""{optimizer: the network whose parameters it was seen to have}, so that a step looks once."""


def check(model: object, loss: object, batch: object) -> None:
    """Raises UsageError unless these are a module, a loss of sobench and a pair of tensors."""
    if not isinstance(model, nn.Module):
        raise UsageError(f"model: got {_kind(model)}; allowed: a torch.nn.Module")
    _check_loss(loss)
    _check_batch(batch)


def _check_loss(loss: object) -> None:
    if inspect.isclass(loss):
        raise UsageError(f"loss: got the class {loss.__name__}; allowed: an object of it, {loss.__name__}()")
    if not callable(loss) or not all(hasattr(loss, method) for method in OF_A_LOSS):
        name = getattr(loss, "__name__", type(loss).__name__)
        instead = INSTEAD.get(name, "CrossEntropy(), or a subclass of sobench.losses.Loss")
        raise UsageError(f"loss: got {_kind(loss)}, which has no curvature; allowed: sobench.losses.{instead}")


def _check_batch(batch: object) -> None:
    pair = batch if isinstance(batch, (tuple, list)) else ()
    if len(pair) != 2 or not all(isinstance(part, Tensor) for part in pair):
        got = f"({', '.join(map(_kind, pair))})" if pair else _kind(batch)
        raise UsageError(f"batch: got {got}; allowed: (inputs, targets), two torch tensors")
    inputs, targets = pair
    if not inputs.dim() or not targets.dim() or len(inputs) != len(targets) or not len(inputs):
        raise UsageError(
            f"batch: inputs {list(inputs.shape)} and targets {list(targets.shape)}; allowed: N inputs and N targets, "
            "N at least 1"
        )


def check_step(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raises UsageError for a step of an optimizer that requires an objective without one, or with another model's.

    So does a step in inference mode. An optimizer requires an objective if its class names the oracles that it uses, in
    `requires`.
    """
    f = next(iter((*args[1:], *kwargs.values())), None)
    name = type(optimizer).__name__
    if hasattr(f, "space"):
        if is_inference_mode_enabled():
            raise UsageError(f"{name}.step: nothing can be trained in torch.inference_mode(); allowed: a step outside")
        _check_parameters(optimizer, f)
    elif getattr(optimizer, "requires", None):
        got = "nothing" if f is None else _kind(f)
        raise UsageError(
            f"{name}.step: got {got}; allowed: an objective, optimizer.step(f) with "
            "f = sobench.Objective(model, sobench.losses.CrossEntropy(), (inputs, targets))"
        )


def _check_parameters(optimizer: Optimizer, f: Any) -> None:
    seen = _SEEN.get(optimizer)
    if seen is not None and seen() is f.network:
        return
    own = {id(p) for p in f.space.parameters}
    if not any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
        raise UsageError(
            f"{type(optimizer).__name__} has none of the trainable parameters of the objective's model; allowed: "
            "an optimizer of model.parameters() of the same model"
        )
    _SEEN[optimizer] = ref(f.network)


def _kind(value: object) -> str:
    """The kind of a value in a message: "a tensor [24, 4]", "CrossEntropyLoss"."""
    if isinstance(value, Tensor):
        return f"a tensor {list(value.shape)}"
    if isinstance(value, str):
        return repr(value)
    if inspect.isclass(value):
        return f"the class {value.__name__}"
    if inspect.isroutine(value):
        return f"the function {value.__name__}"
    size = f" of {len(value)}" if isinstance(value, (tuple, list)) else ""
    return f"{type(value).__name__}{size}"


register_optimizer_step_pre_hook(check_step)
