"""What torch imports late is imported before the clock starts, and its compiler only where something needs it."""

import subprocess
import sys
from dataclasses import dataclass

import pytest

from sobench.config import registry

SCRIPT = """
import os, sys
import torch
from sobench.config import grid
from sobench.training.optimizer import make_optimizer
from sobench.training.trainer import Trainer

LATE = {"torch._dynamo", "torch.fx.experimental.symbolic_shapes"}
TORCHS = (("SGD", {"momentum": 0.9}), ("Adam", {}), ("Adagrad", {}), ("RMSprop", {}), ("LBFGS", {}))

def stepped(name, settings):
    x = torch.nn.Parameter(torch.arange(1.0, 4.0))
    optimizer = make_optimizer(getattr(torch.optim, name), {"name": name, "lr": 0.1, **settings}, [x])
    def closure():
        optimizer.zero_grad()
        loss = (x ** 4).sum()
        loss.backward()
        return loss
    for _ in range(3):
        optimizer.step(closure)
    optimizer.load_state_dict(optimizer.state_dict())
    assert torch.is_grad_enabled() and x.is_leaf and x.grad_fn is None
    return x.detach().clone()

runs = grid.expand([f"optimizer={sys.argv[1]}", "budget.steps=2", "model.widths=[4]", "threads=1"])
deferred = [stepped(*one) for one in TORCHS]
assert not LATE & set(sys.modules), "imported by the configuration, by torch itself or by a step of its optimizers"
for run in runs:
    if os.fork() == 0:
        trainer = Trainer(run)
        before = LATE & set(sys.modules)
        trainer.train([], save=lambda trainer: None, progress=lambda *row: None)
        imported = len(before), before == LATE & set(sys.modules)
        same = [torch.equal(x, stepped(*one)) for x, one in zip(deferred, TORCHS)] if before else []
        print(run.label("optimizer"), *imported, all(same), len(same), flush=True)
        os._exit(0)
    os.wait()
"""


@dataclass(frozen=True)
class Seen:
    """Of one optimizer: how many of the late modules a Trainer imports, and whether its steps import no more.

    torchs_own: whether torch's own optimizers then make the same steps as before, and how many of them were compared:
    none if the compiler was not imported.
    """

    late: int
    no_more: bool
    torchs_own: tuple[bool, int]


def seen(names: list[str]) -> dict[str, Seen]:
    done = subprocess.run([sys.executable, "-c", SCRIPT, ",".join(names)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if not line.startswith("sobench")]
    return {name: Seen(int(late), no == "True", (same == "True", int(n))) for name, late, no, same, n in lines}


@pytest.fixture(scope="module")
def some() -> dict[str, Seen]:
    return seen(["sgd", "adam", "kfac", "newton_summary"])


def test_the_compiler_is_imported_only_where_it_is_needed(some):
    assert {name: one.late for name, one in some.items()} == {"sgd": 0, "adam": 0, "kfac": 1, "newton_summary": 2}
    assert all(one.no_more for one in some.values())


def test_a_step_with_the_compiler_deferred_is_torchs_own(some):
    """With the compiler loaded torch's own methods run; without it, the same operations."""
    assert [some[name].torchs_own for name in ("kfac", "newton_summary")] == [(True, 5)] * 2


@pytest.mark.slow
def test_no_step_of_any_optimizer_imports_them():
    names = list(registry.entries("optimizers"))
    found = seen(names)
    assert list(found) == names and all(one.no_more for one in found.values()), found
