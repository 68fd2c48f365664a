"""Every oracle of a model against that of its twin: the same function, written in plain operations."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import pytest
import torch
from problems import noise
from torch import Tensor, nn

from sobench import Objective
from sobench.errors import Unsupported
from sobench.losses import CrossEntropy
from sobench.objective import complex_hessian, make_partition

N = 6


def objective(model: nn.Module, dtype=torch.float64, loss=None) -> Objective:
    """The objective of a model of 4 inputs and 3 outputs."""
    torch.manual_seed(1)
    return Objective(model, loss or CrossEntropy(), (torch.randn(N, 4).to(dtype), torch.arange(N) % 3))


def _summary(f: Objective, v: Tensor) -> Tensor:
    summary = f.summary(v, make_partition(f.space, "canonical"))
    return torch.cat([part.flatten() for part in summary])


REAL = {
    "loss": lambda f, v: f.loss(),
    "loss elsewhere": lambda f, v: f.loss(f.space.get() + 0.1 * v),
    "closure": lambda f, v: (f(), f.space.flatten([p.grad.to_dense() for p in f.space.parameters]))[1],
    "gradient": lambda f, v: f.value_and_grad()[1],
    "gradient elsewhere": lambda f, v: f.value_and_grad(f.space.get() + 0.1 * v)[1],
    "per_sample_grads": lambda f, v: f.per_sample_grads(),
    "output_jacobian": lambda f, v: f.output_jacobian(),
}
TWICE = {
    "hessian": lambda f, v: f.hessian() @ v,
    "hessian elsewhere": lambda f, v: f.hessian(f.space.get() + 0.1 * v) @ v,
    "hessian, columns": lambda f, v: f.hessian() @ torch.stack([v, v.flip(0)], 1),
    "ggn": lambda f, v: f.ggn() @ v,
    "ggn, columns": lambda f, v: f.ggn() @ torch.stack([v, v.flip(0)], 1),
    "summary": _summary,
}
COMPLEX = {
    "complex loss": lambda f, v: f.loss(torch.complex(f.space.get(), 1e-12 * v)).imag / 1e-12,
    "complex gradient": lambda f, v: complex_hessian(f) @ v,
    "curvature": lambda f, v: f.curvature(v),
}
ORACLES = REAL | TWICE | COMPLEX


def refuses(f: Objective, oracle: str, match: str = ".") -> bool:
    """Whether an oracle raises Unsupported, in one line."""
    with pytest.raises(Unsupported, match=match) as refusal:
        ORACLES[oracle](f, noise((f.space.size,), 5).to(f.space.get()))
    assert "\n" not in str(refusal.value)
    return True


def compare(
    make: Callable[[], nn.Module],
    twin: Callable[[], nn.Module],
    oracles: Mapping[str, Callable[[Objective, Tensor], Tensor]] = ORACLES,
    refused: Collection[str] = (),
) -> None:
    """Each oracle, asked first of a new model, is that of the twin; those of `refused` are refused."""
    for name in oracles:
        f, plain = objective(make()), objective(twin())
        v = noise((f.space.size,), 5)
        if name in refused:
            assert refuses(f, name)
        else:
            torch.testing.assert_close(oracles[name](f, v), oracles[name](plain, v), rtol=1e-9, atol=1e-11, msg=name)
