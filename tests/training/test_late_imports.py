"""What torch imports late is imported before the clock starts, and its compiler only where something needs it."""

import subprocess
import sys

import pytest

from sobench.config import registry

SCRIPT = """
import os, sys
import torch
from sobench.config import grid
from sobench.training.trainer import Trainer

LATE = {"torch._dynamo", "torch.fx.experimental.symbolic_shapes"}
runs = grid.expand([f"optimizer={sys.argv[1]}", "budget.steps=2", "model.widths=[4]", "threads=1"])
assert not LATE & set(sys.modules), "imported by the configuration or by torch itself"
for run in runs:
    if os.fork() == 0:
        trainer = Trainer(run)
        before = LATE & set(sys.modules)
        trainer.train([], save=lambda trainer: None, progress=lambda *row: None)
        print(run.label("optimizer"), len(before), before == LATE & set(sys.modules), flush=True)
        os._exit(0)
    os.wait()
"""


def late_imports(names: list[str]) -> dict[str, tuple[int, bool]]:
    """For each optimizer, how many of the late modules a Trainer imports, and whether its steps import no more."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, ",".join(names)], capture_output=True, text=True, check=True)
    lines = [line.split() for line in done.stdout.splitlines() if not line.startswith("sobench")]
    return {name: (int(number), same == "True") for name, number, same in lines}


def test_the_compiler_is_imported_only_where_it_is_needed():
    expected = {"sgd": (0, True), "adam": (0, True), "kfac": (1, True), "newton_summary": (2, True)}
    assert late_imports(list(expected)) == expected


@pytest.mark.slow
def test_no_step_of_any_optimizer_imports_them():
    names = list(registry.entries("optimizers"))
    found = late_imports(names)
    assert list(found) == names and all(same for _, same in found.values()), found


def test_a_step_with_the_compiler_deferred_is_torchs_own():
    """With the compiler loaded torch's own methods run; without it, the same operations."""
    script = """
import sys, torch
from sobench.training.optimizer import make_optimizer
results = []
for loaded in (False, True):
    if loaded:
        import torch._dynamo
    assert ("torch._dynamo" in sys.modules) == loaded
    for name, extra in (("SGD", {"momentum": 0.9}), ("Adam", {}), ("Adagrad", {}), ("RMSprop", {}), ("LBFGS", {})):
        x = torch.nn.Parameter(torch.arange(1.0, 4.0))
        optimizer = make_optimizer(getattr(torch.optim, name), {"name": name, "lr": 0.1, **extra}, [x])
        def closure():
            optimizer.zero_grad()
            loss = (x ** 4).sum()
            loss.backward()
            return loss
        for _ in range(3):
            optimizer.step(closure)
        optimizer.load_state_dict(optimizer.state_dict())
        assert torch.is_grad_enabled() and x.is_leaf and x.grad_fn is None
        results.append(x.detach().clone())
assert all(torch.equal(a, b) for a, b in zip(results[:5], results[5:], strict=True)), results
"""
    subprocess.run([sys.executable, "-c", script], check=True)
