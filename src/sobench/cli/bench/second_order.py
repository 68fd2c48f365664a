"""What second derivatives cost, as ratios to a gradient in the same process: `sobench bench csdd`.

A product with the Hessian by complex steps (CSDD) and by autograd, and p'Hp by complex steps (CSDD2), on a batch of CIFAR's
shape. They and the gradient take turns, round by round, so that a ratio is of neighbours in time; the median over the rounds is
what counts. The network is csfd's VGG-11, ELU and BatchNorm. Complex arithmetic alone is four real multiplications for one.
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
"""What is measured: every pass is its own, none is kept from one call to the next."""


def csdd() -> int:
    torch.manual_seed(0)
    model = vgg(SHAPE, OUTPUTS, depth=11, width=WIDTH, activation="elu", classifier=(512, 512))
    f = Objective(model, CrossEntropy(), (torch.randn(BATCH, *SHAPE), torch.randint(OUTPUTS, (BATCH,))))
    p = torch.randn(f.space.size)
    print(f"VGG-11, width {WIDTH}, batch {BATCH}: an oracle over a gradient", flush=True)
    for name, oracle in ORACLES.items():
        print(f"  {name:16s}{_compare(f, p, oracle)}", flush=True)
    return 0


def _compare(f: Objective, p: Tensor, oracle: Oracle) -> str:
    gradient = lambda f, p: f.value_and_grad(f.space.get())
    _seconds(f, p, gradient), _seconds(f, p, oracle)
    pairs = [(_seconds(f, p, oracle), _seconds(f, p, gradient)) for _ in range(ROUNDS)]
    return f"{ratio(pairs, digits=1)})"


def _seconds(f: Objective, p: Tensor, oracle: Oracle) -> float:
    start = time.perf_counter()
    oracle(f, p)
    return time.perf_counter() - start
