"""The modes of a model's tensors, for methods that keep a matrix for each mode."""

from __future__ import annotations

import math

from torch import nn
from torch.nn.modules.conv import _ConvNd

from sobench.objective.parameter_space import ParameterSpace


def tensor_shapes(model: nn.Module, space: ParameterSpace) -> dict[str, tuple[int, ...]]:
    """{parameter: (d_1, ..., d_k)}, k >= 1. A convolution's kernel has three modes, all of its pixels being one."""
    kernels = {id(module.weight) for module in model.modules() if isinstance(module, _ConvNd)}
    shapes = {}
    for name, p in zip(space.names, space.parameters):
        shapes[name] = (*p.shape[:2], math.prod(p.shape[2:])) if id(p) in kernels else tuple(p.shape) or (1,)
    return shapes
