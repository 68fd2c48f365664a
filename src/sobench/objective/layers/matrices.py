"""Linear and Conv2d layers as matrices, for methods that precondition one layer at a time.

    h_t = W a_t,  t in T      W [I, D]: weight and bias in one matrix;  a_t [D]: the layer's input at location t, and 1

Y. Ren, thesis, equations 2.1 and 3.2. A Linear layer has one location, or one per row of a sequence. A Conv2d layer has
one location per pixel of its output, with D = J |Delta| + 1 (input channels times kernel size, and the bias). The
functions take the record of a layer from `record()`. T contains the locations of all calls of the layer in the pass.
They raise UsageError for a layer that was in no recorded pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from sobench.errors import Unsupported
from sobench.linalg.kronecker import gram
from sobench.objective.layers.calls import MatrixLayer, input_rows, output_rows, padding, patch_rows
from sobench.objective.layers.records import LayerRecord, recorded_inputs, recorded_output_grads, recorded_outputs
from sobench.objective.parameter_space import ParameterSpace


class LayerMatrices:
    """theta [P] as one matrix W_l [I, D] per layer, and the remaining parameters (BatchNorm, embeddings).

    names: the layers, in the order of the model. Raises Unsupported for a layer that is not of the form W a (grouped
    convolutions), that shares its weight with another one (tied weights), or whose weight or bias is computed from
    other parameters (weight_norm, pruning).
    """

    def __init__(self, model: nn.Module, space: ParameterSpace):
        self.space = space
        self._modules: dict[str, MatrixLayer] = {
            name: module for name, module in model.named_modules() if _is_matrix(module, name)
        }
        self.names = tuple(self._modules)
        for name, module in self._modules.items():
            if _prefix(name) + "weight" not in space.names:
                raise Unsupported(
                    f"layer {name} ({module}) shares its weight with another; allowed: layers with their own"
                )

    def join(self, vector: Tensor) -> dict[str, Tensor]:
        """{layer: [I, D]} of a vector [P]: copies for layers with a bias, views for the others."""
        parts = self.space.named(vector)
        return {name: self._matrix(parts, name, module) for name, module in self._modules.items()}

    def write_(self, vector: Tensor, matrices: Mapping[str, Tensor]) -> Tensor:
        """Write {layer: [I, D]} into a vector [P], in place, and return it. Other entries are left alone."""
        parts = self.space.named(vector)
        for name, M in matrices.items():
            weight = parts[_prefix(name) + "weight"]
            weight.copy_(M[:, : weight[0].numel()].view_as(weight))
            if _has_bias(self._modules[name]):
                parts[_prefix(name) + "bias"].copy_(M[:, -1])
        return vector

    def parts(self, vector: Tensor) -> dict[str, tuple[Tensor, Tensor | None]]:
        """{layer: (weight, bias)} of a vector [P], as views with the shapes of the parameters; None without a bias."""
        named = self.space.named(vector)
        return {
            name: (named[_prefix(name) + "weight"], named[_prefix(name) + "bias"] if _has_bias(module) else None)
            for name, module in self._modules.items()
        }

    def others(self, vector: Tensor) -> list[Tensor]:
        """Views of a vector [P], one for each parameter that belongs to no layer, in the order of `rest`."""
        return [self.space.unflatten(vector)[i] for i in self.rest]

    def has_bias(self, name: str) -> bool:
        """Whether the matrix of a layer has the column of a bias."""
        return _has_bias(self._modules[name])

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """{layer: weight [I, ...]}, the parameters of the model itself, in the order of the model."""
        return {name: module.weight for name, module in self._modules.items()}

    @cached_property
    def rest(self) -> tuple[int, ...]:
        """The indices of the parameters that belong to no layer (BatchNorm), in the order of `space`."""
        owned = {_prefix(name) + part for name in self.names for part in ("weight", "bias")}
        return tuple(i for i, name in enumerate(self.space.names) if name not in owned)

    def _matrix(self, parts: Mapping[str, Tensor], name: str, module: MatrixLayer) -> Tensor:
        weight = parts[_prefix(name) + "weight"].flatten(1)
        return torch.cat([weight, parts[_prefix(name) + "bias"][:, None]], dim=1) if _has_bias(module) else weight


def inputs(record: LayerRecord) -> Tensor:
    """a_t for every sample and location, [N, |T|, D]."""
    if record.convolution is not None:
        return patch_rows(record.convolution, recorded_inputs(record), with_one=_has_bias(record.module))
    a = patches(record)
    return torch.cat([a, a.new_ones(*a.shape[:2], 1)], dim=2) if _has_bias(record.module) else a


def patches(record: LayerRecord, index: Tensor | None = None) -> Tensor:
    """a_t without the 1 of the bias, [N, |T|, columns of the weight]; a view of the inputs of a Linear layer.

    index: the samples [N] to take; None: all.
    """
    x = recorded_inputs(record)
    x = x if index is None else x[index]
    return x.reshape(len(x), -1, x.shape[-1]) if record.convolution is None else input_rows(record.convolution, x)


def outputs(record: LayerRecord) -> Tensor:
    """h_t for every sample and location, [N, |T|, I]."""
    return by_location(record, recorded_outputs(record))


def output_grads(record: LayerRecord) -> Tensor:
    """1/N Dh_t for every sample and location, [N, |T|, I], with Dh_t the gradient of the loss of that sample."""
    return by_location(record, recorded_output_grads(record))


def sample_grads(record: LayerRecord) -> Tensor:
    """1/N sum_t Dh_t a_t', [N, I, D]: 1/N of the gradient of the loss of each sample in W."""
    return output_grads(record).transpose(1, 2) @ inputs(record)


def by_location(record: LayerRecord, h: Tensor) -> Tensor:
    """[N, |T|, I] of h [N, ...], shaped as the outputs of the layer."""
    return h.reshape(len(h), -1, h.shape[-1]) if record.convolution is None else output_rows(record.convolution, h)


def to_outputs(record: LayerRecord, h: Tensor) -> Tensor:
    """h [N, |T|, I], as from `outputs` and `output_grads`, in the shape [N, ...] of the outputs of the layer."""
    h = h if record.convolution is None else h.transpose(1, 2)
    return h.reshape(len(h), *record.output_shape[1:])


def weight_gradient_(record: LayerRecord, h: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """Write the sum over samples and locations of h_t a_t' into `weight` and `bias`, shaped as those of the layer.

    h: [N, ...], shaped as the outputs. For the gradient in the outputs the result is the gradient in W.
    """
    x, conv = recorded_inputs(record), record.convolution
    if conv is not None:
        weight.copy_(_kernel_gradient(conv, x, weight.shape, h))
    else:
        torch.mm(h.reshape(-1, h.shape[-1]).T, x.reshape(-1, x.shape[-1]), out=weight.view(len(weight), -1))
    if bias is not None:
        torch.sum(by_location(record, h), dim=(0, 1), out=bias)


def locations(record: LayerRecord) -> int:
    """|T|, the number of locations."""
    shape = record.output_shape
    return math.prod(shape[1:-1] if record.convolution is None else shape[2:])


def input_factor(record: LayerRecord, out: Tensor | None = None, *, alpha: float = 1.0, beta: float = 0.0) -> Tensor:
    """alpha A + beta out, [D, D], with A = E_n [sum_t a_t a_t'] (thesis, equation 3.9).

    Written into `out` if given; without it beta must be 0.
    """
    return gram(inputs(record).flatten(0, 1), out, alpha=alpha / record.samples, beta=beta)


def grad_factor(record: LayerRecord, out: Tensor | None = None, *, alpha: float = 1.0, beta: float = 0.0) -> Tensor:
    """alpha Gamma + beta out, [I, I], with Gamma = E_n [1/|T| sum_t Dh_t Dh_t'] (thesis, algorithm 12).

    Written into `out` if given; without it beta must be 0.
    """
    alpha = alpha * record.samples / locations(record)
    return gram(output_grads(record).flatten(0, 1), out, alpha=alpha, beta=beta)


def mean_input(record: LayerRecord) -> Tensor:
    """E_n [1/|T| sum_t a_t(n)], [D]. Does not form the a_t."""
    shape = record.output_shape
    ones = recorded_inputs(record).new_ones(shape[:-1] if record.convolution is None else (shape[0], 1, *shape[2:]))
    return _pull_back(record, ones) / ones.numel()


def input_action(record: LayerRecord, s: Tensor) -> Tensor:
    """A s = E_n [sum_t (a_t(n)' s) a_t(n)], [D], for s [D] (thesis, equation 3.15). Forms neither A nor the a_t."""
    x, conv = recorded_inputs(record), record.convolution
    weight, bias = (s[:-1], s[-1]) if _has_bias(record.module) else (s, s.new_zeros(()))
    if conv is not None:
        kernel = weight.view(1, x.shape[1], *conv.kernel_size)
        u = F.conv2d(x, kernel, bias[None], conv.stride, padding(conv), conv.dilation)
    else:
        u = x @ weight + bias
    return _pull_back(record, u) / len(x)


def _pull_back(record: LayerRecord, u: Tensor) -> Tensor:
    """The sum over samples and locations of u_t a_t, [D]. u: [N, 1, H, W] for a Conv2d, [N, ...] for a Linear layer."""
    x, conv = recorded_inputs(record), record.convolution
    if conv is not None:
        v = _kernel_gradient(conv, x, (1, x.shape[1], *conv.kernel_size), u).flatten()
    else:
        v = x.reshape(-1, x.shape[-1]).T @ u.reshape(-1)
    return torch.cat([v, u.sum()[None]]) if _has_bias(record.module) else v


def _kernel_gradient(module: nn.Conv2d, x: Tensor, shape: tuple[int, ...], h: Tensor) -> Tensor:
    """The gradient in a kernel of this shape, for inputs x [N, J, ...] and gradients h [N, ...] at the outputs."""
    # torch has no annotations here, and a checker infers int from the default values
    options: dict[str, Any] = {"stride": module.stride, "padding": padding(module), "dilation": module.dilation}
    return conv2d_weight(x, shape, h, **options)


def _is_matrix(module: nn.Module, name: str) -> TypeGuard[MatrixLayer]:
    """Whether a module is a Linear or Conv2d layer with a trained weight. Raises Unsupported for what has no matrix."""
    if not isinstance(module, MatrixLayer):
        return False
    if isinstance(module, nn.Conv2d) and (module.groups != 1 or module.padding_mode != "zeros"):
        raise Unsupported(f"layer {name} ({module}): allowed: groups=1 and padding_mode='zeros'")
    own = {part for part, _ in module.named_parameters(recurse=False)}
    computed = [part for part in ("weight", "bias") if part not in own and isinstance(getattr(module, part), Tensor)]
    if computed and any(p.requires_grad for p in module.parameters()):
        raise Unsupported(
            f"layer {name} ({type(module).__name__}): its {computed[0]} is computed from other parameters (a "
            "parametrization, weight_norm or pruning); allowed: a weight and a bias that are parameters"
        )
    return module.weight.requires_grad


def _has_bias(module: nn.Module) -> bool:
    """Whether a 1 is appended to the inputs: the layer has a bias that is trained."""
    bias = module.bias
    return isinstance(bias, Tensor) and bias.requires_grad


def _prefix(name: str) -> str:
    """The beginning of the parameter names of a module."""
    return f"{name}." if name else ""
