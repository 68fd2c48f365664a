"""`sobench bench csdd`: the time of second derivatives, relative to a gradient.

Measures a product with the Hessian by complex steps (CSDD) and by autograd, and p'Hp by complex steps (CSDD2), on a
batch in CIFAR's shape. The network is csfd's VGG-11 with ELU and BatchNorm. Each product and the gradient take turns
in one process, round by round, so that each ratio compares neighbours in time; the median over the rounds is what
counts. Complex arithmetic alone costs four real multiplications for one.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from sobench.cli.bench.overhead import ratio
from sobench.losses import CrossEntropy
from sobench.models.vgg import vgg
from sobench.objective import Objective
from sobench.objective.complex_oracles import complex_hessian

SHAPE, OUTPUTS, BATCH = (3, 32, 32), 10, 16
WIDTH = 64
ROUNDS = 9

Oracle = Callable[[Objective, Tensor], object]
ORACLES: dict[str, Oracle] = {
    "CSDD, H p": lambda f, p: complex_hessian(f) @ p,
    "CSDD2, p'H p": lambda f, p: f.curvature(p),
    "autograd, H p": lambda f, p: f.hessian(f.space.get()) @ p,
}
"""The products to measure. Each call makes its own passes through the network; none is reused by the next call."""


def csdd() -> int:
    """Print a line for each product."""
    torch.manual_seed(0)
    model = vgg(SHAPE, OUTPUTS, depth=11, width=WIDTH, activation="elu", classifier=(512, 512))
    f = Objective(model, CrossEntropy(), (torch.randn(BATCH, *SHAPE), torch.randint(OUTPUTS, (BATCH,))))
    p = torch.randn(f.space.size)
    print(f"VGG-11, width {WIDTH}, batch {BATCH}: time relative to a gradient", flush=True)
    for name, oracle in ORACLES.items():
        print(f"  {name:16s}{_compare(f, p, oracle)}", flush=True)
    return 0


def _compare(f: Objective, p: Tensor, oracle: Oracle) -> str:
    _seconds(f, p, _gradient)
    _seconds(f, p, oracle)
    pairs = [(_seconds(f, p, oracle), _seconds(f, p, _gradient)) for _ in range(ROUNDS)]
    return ratio(pairs, digits=1)


def _gradient(f: Objective, p: Tensor) -> object:
    return f.value_and_grad(f.space.get())


def _seconds(f: Objective, p: Tensor, oracle: Oracle) -> float:
    start = time.perf_counter()
    oracle(f, p)
    return time.perf_counter() - start
