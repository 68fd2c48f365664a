"""torch's functions on complex tensors, as a function mode: inside it any module computes its analytic extension.

    with ComplexFunctions():
        outputs = model(inputs)         # parameters, inputs or both complex

S. Shen et al., Second-order Neural Network Training Using Complex-step Directional Derivative: a function is promoted to complex
numbers "while retaining its original computation procedure". Each of torch's functions that meets a complex tensor is looked up
by its name in EXTENDED, or left to torch where ANALYTIC says that torch's own is right. All others are refused: one that
conjugates, takes a modulus or stops a derivative (abs, norm, detach) would give numbers, and wrong ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from sobench.objective.holomorphic import layers as layers
from sobench.objective.holomorphic import scalars as scalars

EXTENDED = {
    "relu": scalars.relu,
    "leaky_relu": scalars.leaky_relu,
    "elu": scalars.elu,
    "sigmoid": scalars.sigmoid,
    "silu": scalars.silu,
    "gelu": scalars.gelu,
    "softplus": scalars.softplus,
    "pow": scalars.power,
    **layers.FORMS,
}
"""Name of a function of torch, without the _ of its in-place form: its complex extension."""

ANALYTIC = frozenset(
    "add sub rsub mul multiply div true_divide neg reciprocal square addcmul addcdiv sum mean cumsum "
    "__add__ __radd__ __sub__ __rsub__ __mul__ __rmul__ __truediv__ __rtruediv__ __rdiv__ __neg__ "
    "exp expm1 log sqrt rsqrt sin cos sinh cosh tanh "
    "view view_as reshape reshape_as flatten unflatten transpose swapaxes t T mT permute movedim squeeze unsqueeze expand "
    "expand_as contiguous clone to type_as cat concat concatenate stack split split_with_sizes chunk unbind __getitem__ narrow "
    "select index_select gather flip roll repeat repeat_interleave tile pad where masked_fill tril triu diagonal diag diag_embed "
    "pixel_shuffle pixel_unshuffle zeros_like ones_like new_zeros new_ones new_tensor requires_grad".split()
)
"""Names of functions that torch extends as it should."""


class ComplexFunctions(TorchFunctionMode):
    """Inside, functions of complex tensors are the analytic extensions of torch's. One that has none raises
    NotImplementedError with its name."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if not any(t.is_complex() for t in _tensors([*args, *kwargs.values()])):
            return function(*args, **kwargs)
        name = _name(function)
        if form := EXTENDED.get(name.removesuffix("_")):
            if kwargs.pop("inplace", False) or name.endswith("_"):
                return args[0].copy_(
                    form(args[0].clone(), *args[1:], **kwargs)
                )  # its gradient may need what is overwritten
            return form(*args, **kwargs)
        if name in ANALYTIC or name.removesuffix("_") in ANALYTIC:
            return _holomorphic(name, function(*args, **kwargs))
        return _unlisted(name, function, args, kwargs)


def _unlisted(name: str, function: Callable, args: tuple, kwargs: dict) -> Any:
    """A shape, a type, a flag; anything with a number of a tensor in it is refused."""
    try:
        result = function(*args, **kwargs)
    except RuntimeError as error:
        raise NotImplementedError(f"{name} has no complex form") from error
    if any(t.is_complex() for t in _tensors([result])):
        raise NotImplementedError(f"{name} has no complex form")
    return _holomorphic(name, result)


def _holomorphic(name: str, result: Any) -> Any:
    if any(t.is_floating_point() for t in _tensors([result])):
        raise NotImplementedError(f"{name} makes real numbers of complex ones")
    return result


def _name(function: Any) -> str:
    """relu, add_, __getitem__; of an attribute's getter the attribute: T, real."""
    name = getattr(function, "__name__", str(function))
    return function.__self__.__name__ if name == "__get__" else name


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among them, and in lists of them."""
    found = []
    for value in values:
        found += [value] if isinstance(value, Tensor) else _tensors(value) if isinstance(value, (list, tuple)) else []
    return found
