"""torch's functions on complex tensors, as a function mode in which any module computes its analytic extension.

    with ComplexFunctions():
        outputs = model(inputs)         # parameters, inputs or both complex

S. Shen et al., Second-order Neural Network Training Using Complex-step Directional Derivative: a function is promoted
to complex numbers "while retaining its original computation procedure". A function that is called with a complex tensor
is looked up by its name in EXTENDED. It is left to torch if ANALYTIC lists it as correct in torch. All others are
refused: a function that conjugates, takes a modulus or stops a derivative (abs, norm, detach) would give wrong numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sobench.objective.graph import tensors_in
from sobench.objective.holomorphic import layers, scalars

Function = Callable[..., Any]

EXTENDED: dict[str, Callable[..., Tensor]] = {
    "relu": scalars.relu,
    "leaky_relu": scalars.leaky_relu,
    "elu": scalars.elu,
    "sigmoid": scalars.sigmoid,
    "silu": scalars.silu,
    "gelu": scalars.gelu,
    "softplus": scalars.softplus,
    "softmax": scalars.softmax,
    "pow": scalars.power,
    **layers.FORMS,
}
"""Name of a function of torch, without the _ of its in-place form -> its complex extension."""

_NAMES = """
    add sub rsub mul multiply div true_divide neg reciprocal square addcmul addcdiv sum mean cumsum
    __add__ __radd__ __sub__ __rsub__ __mul__ __rmul__ __truediv__ __rtruediv__ __rdiv__ __neg__
    exp expm1 log sqrt rsqrt sin cos sinh cosh tanh
    view view_as reshape reshape_as flatten unflatten transpose swapaxes t T mT permute movedim squeeze unsqueeze expand
    expand_as contiguous clone to type_as cat concat concatenate stack split split_with_sizes chunk unbind __getitem__
    narrow select index_select gather flip roll repeat repeat_interleave tile pad where masked_fill tril triu diagonal
    diag diag_embed pixel_shuffle pixel_unshuffle zeros_like ones_like new_zeros new_ones new_tensor requires_grad
"""
ANALYTIC = frozenset(_NAMES.split())
"""Names of functions whose complex form in torch is the analytic extension."""


class ComplexFunctions(TorchFunctionMode):
    """A context in which torch's functions of complex tensors are analytic extensions.

    A function without one raises NotImplementedError with its name. So does one that writes into a real tensor, and
    one inside `torch.no_grad()`, which stops a derivative without a function of its own.
    """

    def __init__(self):
        super().__init__()
        self._derivatives = torch.is_grad_enabled()

    def __torch_function__(
        self, func: Function, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not any(t.is_complex() for t in tensors_in([*args, *kwargs.values()])):
            return func(*args, **kwargs)
        name = _name(func)
        if kwargs.get("out") is not None or (name == "__setitem__" and not args[0].is_complex()):
            raise NotImplementedError(f"{name} writes complex numbers into a real tensor")
        result = self._extended(name, func, args, kwargs)
        if self._derivatives and not torch.is_grad_enabled() and any(t.is_complex() for t in tensors_in([result])):
            raise NotImplementedError(f"{name} has no complex form in torch.no_grad() or a torch.autograd.Function")
        return result

    def _extended(self, name: str, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of a function of complex tensors."""
        if form := EXTENDED.get(name.removesuffix("_")):
            if kwargs.pop("inplace", False) or name.endswith("_"):
                # on a copy, because the gradient of the form may need its argument
                return args[0].copy_(form(args[0].clone(), *args[1:], **kwargs))
            return form(*args, **kwargs)
        if name in ANALYTIC or name.removesuffix("_") in ANALYTIC:
            return _holomorphic(name, func(*args, **kwargs))
        return _unlisted(name, func, args, kwargs)


def _unlisted(name: str, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of another function, if it is a shape, a type or a flag.

    Raises NotImplementedError for a result with the numbers of a tensor.
    """
    try:
        result = function(*args, **kwargs)
    except RuntimeError as error:
        raise NotImplementedError(f"{name} has no complex form") from error
    if isinstance(result, complex) or any(t.is_complex() for t in tensors_in([result])):
        raise NotImplementedError(f"{name} has no complex form")
    return _holomorphic(name, result)


def _holomorphic(name: str, result: Any) -> Any:
    """`result`, of a function of complex tensors. Raises NotImplementedError if it has real numbers."""
    if any(t.is_floating_point() for t in tensors_in([result])):
        raise NotImplementedError(f"{name} makes real numbers of complex ones")
    return result


def _name(function: Any) -> str:
    """The name of a function: relu, add_, __getitem__; for the getter of an attribute its name: T, real."""
    name = getattr(function, "__name__", str(function))
    return function.__self__.__name__ if name == "__get__" else name
