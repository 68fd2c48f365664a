"""Layers as matrices: what Linear and Conv2d have in common for a method that preconditions a layer at a time.

    h_t = W a_t,  t in T      W [I, D]: weight and bias in one matrix;  a_t [D]: what the layer reads at location t, and 1

Y. Ren, thesis, equations 2.1 and 3.2. A Linear layer has one location, or one for each row of a sequence; a Conv2d one for
each pixel of its output, with D = J |Delta| + 1 (input channels times kernel size, and the bias). The functions take what
`record()` saw of a layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sobench.errors import Unsupported
from sobench.linalg.kronecker import gram
from sobench.objective.layers.records import LayerRecord
from sobench.objective.parameter_space import ParameterSpace


class LayerMatrices:
    """theta [P] seen as one matrix W_l [I, D] a layer, and what is left (BatchNorm, embeddings).

    names: of the layers, in the model's order. Raises Unsupported for a layer that is no W a (grouped convolutions), and
    for one whose weight is another's (tied weights): its matrix is not its own.
    """

    def __init__(self, model: nn.Module, space: ParameterSpace):
        self.space = space
        self._modules = {name: module for name, module in model.named_modules() if _is_matrix(name, module)}
        self.names = tuple(self._modules)
        for name, module in self._modules.items():
            if _prefix(name) + "weight" not in space.names:
                raise Unsupported(
                    f"layer {name} ({module}) shares its weight with another; allowed: layers with their own"
                )

    def join(self, vector: Tensor) -> dict[str, Tensor]:
        """[P] -> {layer: [I, D]}: copies where there is a bias, views elsewhere."""
        parts = self.space.named(vector)
        return {name: self._matrix(parts, name, module) for name, module in self._modules.items()}

    def write_(self, vector: Tensor, matrices: Mapping[str, Tensor]) -> Tensor:
        """Write {layer: [I, D]} into a flat vector [P], in place; what no layer owns stays as it is."""
        parts = self.space.named(vector)
        for name, M in matrices.items():
            weight = parts[_prefix(name) + "weight"]
            weight.copy_(M[:, : weight[0].numel()].view_as(weight))
            if _has_bias(self._modules[name]):
                parts[_prefix(name) + "bias"].copy_(M[:, -1])
        return vector

    def parts(self, vector: Tensor) -> dict[str, tuple[Tensor, Tensor | None]]:
        """[P] -> {layer: views of its weight, in its own shape, and of its bias [I], or None}."""
        named = self.space.named(vector)
        return {
            name: (named[_prefix(name) + "weight"], named[_prefix(name) + "bias"] if _has_bias(module) else None)
            for name, module in self._modules.items()
        }

    def others(self, vector: Tensor) -> list[Tensor]:
        """[P] -> views of the parameters that no layer owns, in the order of `rest`."""
        return [self.space.unflatten(vector)[i] for i in self.rest]

    def has_bias(self, name: str) -> bool:
        """Whether a layer's matrix has the column of a bias."""
        return _has_bias(self._modules[name])

    @cached_property
    def weights(self) -> dict[str, nn.Parameter]:
        """{layer: its weight, [I, ...]}, the model's own; the layer of the outputs is the last."""
        return {name: module.weight for name, module in self._modules.items()}

    @cached_property
    def rest(self) -> tuple[int, ...]:
        """The parameters that no layer owns (BatchNorm's), by their place in theta's."""
        owned = {_prefix(name) + part for name in self.names for part in ("weight", "bias")}
        return tuple(i for i, name in enumerate(self.space.names) if name not in owned)

    def _matrix(self, parts: Mapping[str, Tensor], name: str, module: nn.Module) -> Tensor:
        weight = parts[_prefix(name) + "weight"].flatten(1)
        return torch.cat([weight, parts[_prefix(name) + "bias"][:, None]], dim=1) if _has_bias(module) else weight


def inputs(record: LayerRecord) -> Tensor:
    """a_t of every sample and location, [N, |T|, D]."""
    a = patches(record)
    return torch.cat([a, a.new_ones(*a.shape[:2], 1)], dim=2) if _has_bias(record.module) else a


def patches(record: LayerRecord) -> Tensor:
    """a_t without the 1 of a bias: what the weight alone multiplies; a view of a Linear layer's inputs."""
    module, x = record.module, record.inputs
    if isinstance(module, nn.Conv2d):
        return F.unfold(x, module.kernel_size, module.dilation, _padding(module), module.stride).transpose(1, 2)
    return x.reshape(len(x), -1, x.shape[-1])


def outputs(record: LayerRecord) -> Tensor:
    """h_t of every sample and location, [N, |T|, I]."""
    return _by_location(record, record.outputs)


def output_grads(record: LayerRecord) -> Tensor:
    """1/N Dh_t of every sample and location, [N, |T|, I], Dh_t being the gradient of that sample's own loss."""
    return _by_location(record, record.output_grads)


def sample_grads(record: LayerRecord) -> Tensor:
    """1/N of the gradient of each sample's own loss in W, sum_t Dh_t a_t', [N, I, D]."""
    return output_grads(record).transpose(1, 2) @ inputs(record)


def to_outputs(record: LayerRecord, h: Tensor) -> Tensor:
    """[N, |T|, I], as `outputs` and `output_grads` give it, in the shape of what the layer puts out: [N, ...]."""
    h = h.transpose(1, 2) if isinstance(record.module, nn.Conv2d) else h
    return h.reshape(len(h), *record.output_shape[1:])


def weight_gradient_(record: LayerRecord, h: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """sum over samples and locations of h_t a_t', for h [N, ...] shaped as the outputs, written into tensors shaped as the
    layer's weight and bias: the gradient where h is the outputs' own."""
    module, x = record.module, record.inputs
    if isinstance(module, nn.Conv2d):
        weight.copy_(nn.grad.conv2d_weight(x, weight.shape, h, module.stride, _padding(module), module.dilation))
    else:
        torch.mm(h.reshape(-1, h.shape[-1]).T, x.reshape(-1, x.shape[-1]), out=weight)
    if bias is not None:
        torch.sum(_by_location(record, h), dim=(0, 1), out=bias)


def locations(record: LayerRecord) -> int:
    """|T|."""
    shape = record.output_shape
    return math.prod(shape[2:]) if isinstance(record.module, nn.Conv2d) else math.prod(shape[1:-1])


def input_factor(record: LayerRecord, out: Tensor | None = None, *, alpha: float = 1.0, beta: float = 0.0) -> Tensor:
    """alpha A + beta out, A = E_n [sum_t a_t a_t'], [D, D] (thesis, equation 3.9)."""
    return gram(inputs(record).flatten(0, 1), out, alpha=alpha / len(record.inputs), beta=beta)


def grad_factor(record: LayerRecord, out: Tensor | None = None, *, alpha: float = 1.0, beta: float = 0.0) -> Tensor:
    """alpha Gamma + beta out, Gamma = E_n [1/|T| sum_t Dh_t Dh_t'], [I, I] (thesis, algorithm 12)."""
    samples = len(record.inputs)
    return gram(output_grads(record).flatten(0, 1), out, alpha=alpha * samples / locations(record), beta=beta)


def mean_input(record: LayerRecord) -> Tensor:
    """E_n [1/|T| sum_t a_t(n)], [D], without forming the a_t."""
    shape = record.output_shape
    ones = record.inputs.new_ones((shape[0], 1, *shape[2:]) if isinstance(record.module, nn.Conv2d) else shape[:-1])
    return _pull_back(record, ones) / ones.numel()


def input_action(record: LayerRecord, s: Tensor) -> Tensor:
    """A s = E_n [sum_t (a_t(n)' s) a_t(n)], [D], for s [D], without forming A or the a_t (thesis, equation 3.15)."""
    module, x = record.module, record.inputs
    weight, bias = (s[:-1], s[-1]) if _has_bias(module) else (s, s.new_zeros(()))
    if isinstance(module, nn.Conv2d):
        kernel = weight.view(1, x.shape[1], *module.kernel_size)
        u = F.conv2d(x, kernel, bias[None], module.stride, module.padding, module.dilation)
    else:
        u = x @ weight + bias
    return _pull_back(record, u) / len(x)


def _pull_back(record: LayerRecord, u: Tensor) -> Tensor:
    """sum over samples and locations of u_t a_t, [D]; u [N, 1, H, W] of a Conv2d, [N, ...] of a Linear layer."""
    module, x = record.module, record.inputs
    if isinstance(module, nn.Conv2d):
        shape = (1, x.shape[1], *module.kernel_size)
        v = nn.grad.conv2d_weight(x, shape, u, module.stride, _padding(module), module.dilation).flatten()
    else:
        v = x.reshape(-1, x.shape[-1]).T @ u.reshape(-1)
    return torch.cat([v, u.sum()[None]]) if _has_bias(module) else v


def _by_location(record: LayerRecord, h: Tensor) -> Tensor:
    return h.flatten(2).transpose(1, 2) if isinstance(record.module, nn.Conv2d) else h.reshape(len(h), -1, h.shape[-1])


def _is_matrix(name: str, module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d) and (module.groups != 1 or module.padding_mode != "zeros"):
        raise Unsupported(f"layer {name} ({module}): allowed: groups=1 and padding_mode='zeros'")
    return isinstance(module, (nn.Linear, nn.Conv2d)) and module.weight.requires_grad


def _has_bias(module: nn.Module) -> bool:
    """Whether a 1 is appended to the inputs: the layer has a bias, and it is trained."""
    return module.bias is not None and module.bias.requires_grad


def _prefix(name: str) -> str:
    return f"{name}." if name else ""


def _padding(module: nn.Conv2d) -> tuple[int, ...]:
    """Zeros at each side. Raises Unsupported for padding that differs from side to side."""
    if not isinstance(module.padding, str):
        return module.padding
    total = [d * (k - 1) if module.padding == "same" else 0 for d, k in zip(module.dilation, module.kernel_size)]
    if any(t % 2 for t in total):
        raise Unsupported(f"{module}: padding='same' of an even kernel; allowed: the same padding at each side")
    return tuple(t // 2 for t in total)
