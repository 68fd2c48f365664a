"""All names of torch that sobench uses although torch does not promise to keep them.

An upgrade of torch has this one module to check. `multi_*` are the multi-tensor operations of torch's own optimizers:
one call for a list of tensors.
"""

# pyright: reportPrivateImportUsage=false
# torch exports none of the names that this module collects

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any

import torch
from torch import Tensor
from torch._utils import _unflatten_dense_tensors
from torch.autograd.graph import Node
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.nn.modules.dropout import _DropoutNd as Dropout
from torch.utils._python_dispatch import TorchDispatchMode as DispatchMode
from torch.utils._pytree import tree_flatten, tree_unflatten

__all__ = [
    "BatchNorm",
    "DispatchMode",
    "Dropout",
    "around_compilation",
    "defer_dynamo",
    "in_backward",
    "load_compiler",
    "load_forward_rules",
    "load_products",
    "multi_add",
    "multi_add_",
    "multi_copy_",
    "multi_div_",
    "multi_mul_",
    "multi_zero_",
    "node_dtypes",
    "tree_flatten",
    "tree_unflatten",
    "unflatten",
    "version",
    "weight_norm",
]

Tensors = list[Tensor] | tuple[Tensor, ...]


def multi_add(tensors: Tensors, others: Tensors) -> list[Tensor]:
    """x + y for each pair."""
    return list(torch._foreach_add(tensors, others))


def multi_add_(tensors: Tensors, others: Tensors, alpha: float = 1.0) -> None:
    """x <- x + alpha y for each pair, in place."""
    torch._foreach_add_(tensors, others, alpha=alpha)


def multi_mul_(tensors: Tensors, factor: float) -> None:
    """x <- factor x for each tensor, in place."""
    torch._foreach_mul_(tensors, factor)


def multi_div_(tensors: Tensors, divisor: float | Tensor) -> None:
    """x <- x / divisor for each tensor, in place."""
    torch._foreach_div_(tensors, divisor)


def multi_copy_(tensors: Tensors, others: Tensors) -> None:
    """x <- y for each pair, in place."""
    torch._foreach_copy_(tensors, others)


def multi_zero_(tensors: Tensors) -> None:
    """x <- 0 for each tensor, in place."""
    torch._foreach_zero_(tensors)


def unflatten(vector: Tensor, like: Sequence[Tensor]) -> Sequence[Tensor]:
    """Views of a flat vector [P], shaped as the tensors `like`, in one call."""
    return _unflatten_dense_tensors(vector, like)


def in_backward() -> bool:
    """Whether a backward pass runs this code: as a hook, or as a forward pass that checkpointing repeats."""
    return torch._C._current_graph_task_id() != -1


def node_dtypes(node: Node) -> list[torch.dtype]:
    """The types of the results of the operation whose backward pass is this node of a graph."""
    return [metadata.dtype for metadata in node._input_metadata]


weight_norm = torch._weight_norm
"""The function behind weight normalization: (v, g, dim) -> g v / ||v||."""


def version(tensor: Tensor) -> int:
    """The number of times that the tensor was written in place."""
    return tensor._version


@cache
def load_forward_rules() -> None:
    """Import in advance the module that torch imports at its first dual number.

    That module uses torch.jit, which warns that it is deprecated. The warning is suppressed here.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import torch._decomp.decompositions_for_jvp  # noqa: F401


def load_products() -> None:
    """Import in advance what torch imports at its first product with a Jacobian, which takes some 0.4 s."""
    import torch.fx.experimental.symbolic_shapes  # noqa: F401


def load_compiler() -> None:
    """Import in advance torch's compiler, which torch.func and many other parts of torch import when they are called.

    This takes some 1 s.
    """
    import torch._dynamo  # noqa: F401


@contextmanager
def around_compilation(begin: Callable[[], None], end: Callable[[], None]) -> Generator[None]:
    """The context in which torch calls `begin` before it compiles something, and `end` after it.

    Nothing is called if the compiler is not imported at the beginning of the context, which does not import it.
    """
    if not _is_compiler_loaded():
        yield
        return
    from torch._dynamo.callback import callback_handler

    def first(*_: Any) -> None:
        begin()

    def last(*_: Any) -> None:
        end()

    callback_handler.register_start_callback(first)
    callback_handler.register_end_callback(last)
    try:
        yield
    finally:
        callback_handler.remove_start_callback(first)
        callback_handler.remove_end_callback(last)


@cache
def defer_dynamo() -> None:
    """Let torch's optimizers import the compiler, torch._dynamo, no earlier than something is compiled: it takes 1 s.

    They import it at their first call, to exclude some of their methods from compilation and to divide `step` into two
    graphs. Before the compiler is imported nothing is compiled, and neither has an effect.
    """
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        function = getattr(getattr(torch.optim.Optimizer, name), "__wrapped__", None)
        if function is not None and not hasattr(function, DISABLED):
            setattr(function, DISABLED, _excluded_if_compiled(function))
    for cls in vars(torch.optim).values():
        step = vars(cls).get("step") if isinstance(cls, type) else None
        if step is not None and hasattr(step, "__wrapped__") and "_dynamo" in step.__code__.co_names:
            cls.step = _divided_if_compiled(step)


DISABLED = "__dynamo_disable"
"""Where torch._disable_dynamo keeps what it calls in place of a function."""


def _is_compiler_loaded() -> bool:
    return "torch._dynamo" in sys.modules


def _excluded_if_compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        if not _is_compiler_loaded():
            return function(*args, **options)
        excluded = torch._dynamo.disable(function, wrapping=False)
        setattr(function, DISABLED, excluded)
        return excluded(*args, **options)

    return call


def _divided_if_compiled(step: Callable[..., Any]) -> Callable[..., Any]:
    """A method `step` that torch has decorated with _use_grad_for_differentiable."""
    plain = step.__wrapped__  # pyright: ignore[reportFunctionMemberAccess]

    @wraps(step)
    def call(self: torch.optim.Optimizer, *args: Any, **options: Any) -> Any:
        if _is_compiler_loaded():
            return step(self, *args, **options)
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return plain(self, *args, **options)

    return call
