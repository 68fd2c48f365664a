"""Optimizer classes of other packages: a run of each against a loop by hand, in a process that may be given up.

python others.py PATH...        # an Outcome as one line of JSON for each path
"""

from __future__ import annotations

import importlib
import itertools
import json
import queue
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sobench.system.files import CHECKOUT

STEPS = 30
TOLERANCE = 1e-6
PATIENCE = 60.0
"""Seconds for one class; the fastest compiler takes longer than this to compile a step that needs one."""

PACKAGES = (
    "torch.optim",
    "pytorch_optimizer",
    "schedulefree",
    "timm.optim",
    "prodigyopt",
    "dadaptation",
    "sobench.optim",
)
PROBLEM = (
    "dataset=digits",
    "model=mlp",
    "model.widths=[8]",
    "model.activation=tanh",
    "dtype=float64",
    "batch_size=64",
    f"budget.steps={STEPS}",
    "threads=1",
)
SETTINGS: dict[str, dict[str, Any]] = {
    "pytorch_optimizer:BSAM": {"num_data": 1437},
    "pytorch_optimizer:Ranger21": {"num_iterations": STEPS},
    "timm.optim:SGDP": {"lr": 0.1},
}
"""What a class has no default for."""

GRAPH = {"pytorch_optimizer:AdaHessian", "pytorch_optimizer:SophiaH", "timm.optim:Adahessian"}
"""Its documentation asks for `loss.backward(create_graph=True)`."""
CLOSURE = {
    "torch.optim:LBFGS",
    "pytorch_optimizer:LBFGS",
    "pytorch_optimizer:AliG",
    "pytorch_optimizer:BSAM",
    "schedulefree:AdamWScheduleFreeClosure",
    "schedulefree:RAdamScheduleFreeClosure",
    "schedulefree:SGDScheduleFreeClosure",
}
"""Its documentation gives `step` a closure."""


@dataclass(frozen=True)
class Outcome:
    """word: right, refused or wrong; "too slow" is the reader's. reason: the line of a refusal, or the difference."""

    path: str
    word: str
    reason: str = ""


def classes(package: str) -> list[str]:
    """The paths of all optimizer classes of a package, each once."""
    if find_spec(package.partition(".")[0]) is None:
        return []
    if package == "sobench.optim":
        from sobench.config import registry

        return [e.value for e in registry.entries("optimizers").values() if e.value.startswith("sobench.optim")]
    module = importlib.import_module(package)
    found = {
        name: c for name, c in vars(module).items() if isinstance(c, type) and issubclass(c, torch.optim.Optimizer)
    }
    theirs = {name: c for name, c in found.items() if package == "torch.optim" or not c.__module__.startswith("torch.")}
    return [f"{package}:{name}" for name, c in sorted(theirs.items()) if c is not torch.optim.Optimizer]


def outcome(path: str, name: str = "") -> Outcome:
    """A run of the class, compared with the loop by hand. name: that of its YAML file."""
    from sobench.config.grid import expand
    from sobench.errors import SobenchError
    from sobench.training.trainer import Trainer

    words = [f"optimizer.{key}={value}" for key, value in SETTINGS.get(path, {}).items()]
    try:
        run = expand([*PROBLEM, f"optimizer={name or path}", *words])[0]
        trainer = Trainer(run)
    except SobenchError as error:
        return Outcome(path, "refused", str(error))
    record: list[dict[str, Any]] = []
    ended = trainer.train(record, lambda _: None, lambda *_: None)
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in run.config["optimizer"].items() if k != "name"}
    try:
        theta, loss = by_hand(path, settings, run.config)
    except Exception as error:
        return Outcome(path, "wrong", f"the loop by hand raises {type(error).__name__}: {error}; the run ended")
    ours = torch.cat([p.detach().flatten() for p in trainer.problem.model.parameters()])
    apart = difference(ours, theta), difference(torch.tensor(trainer.final["train_loss"]), loss)
    if not max(apart) <= TOLERANCE:
        return Outcome(path, "wrong", f"parameters differ by {apart[0]:.0e}, the final loss by {apart[1]:.0e}")
    if not ended and torch.equal(theta, initial_point(run.config)):
        return Outcome(path, "right", "no step moves the parameters")
    return Outcome(path, "right", "diverges" if ended else "")


def initial_point(config: dict[str, Any]) -> Tensor:
    """The parameters before the first step."""
    from sobench.training.problem import Problem

    torch.manual_seed(config["seed"])
    return torch.cat([p.detach().flatten() for p in Problem(config, torch.device("cpu")).model.parameters()])


def difference(a: Tensor, b: Tensor) -> float:
    """Relative to b; 0 if both are not finite in the same places and equal elsewhere."""
    if torch.equal(a.isfinite(), b.isfinite()):
        a, b = a.nan_to_num(0, 0, 0), b.nan_to_num(0, 0, 0)
    return float((a - b).norm() / b.norm().clamp(min=1e-30))


def by_hand(path: str, settings: dict[str, Any], config: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """The parameters and the training loss after STEPS steps, by the class alone."""
    from sobench import Objective
    from sobench.training.problem import Problem

    torch.manual_seed(config["seed"])
    problem = Problem(config, torch.device("cpu"))  # the batches, and the initial point
    model, (inputs, labels) = problem.model, problem.train
    package, _, name = path.partition(":")
    optimizer = getattr(importlib.import_module(package), name)(model.parameters(), **settings)
    modes = hasattr(optimizer, "train") and hasattr(optimizer, "eval")
    if modes:
        optimizer.train()
    warm_start = getattr(optimizer, "warm_start", None)
    if warm_start:
        warm_start(problem.first_objective())
    for k, f in itertools.islice(problem.objectives(), STEPS):
        x, y = f.batch

        def closure(x=x, y=y):
            optimizer.zero_grad()
            with torch.enable_grad():
                loss = F.cross_entropy(model(x), y)
                loss.backward(create_graph=path in GRAPH)
            return loss

        if package.startswith("sobench."):
            optimizer.step(Objective(model, problem.loss, (x, y), source=problem, streams=problem.streams.at(k)))
        elif path in CLOSURE:
            optimizer.step(lambda closure=closure: closure().detach())
        else:
            closure()
            optimizer.step()
    theta = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    if modes:
        optimizer.eval()
    with torch.no_grad():
        return theta, F.cross_entropy(model(inputs), labels)


def outcomes(paths: list[str]) -> Iterator[Outcome]:
    """The outcome of each path, from a process that is ended, and begun anew, where it takes too long."""
    waiting = list(paths)
    while waiting:
        process = subprocess.Popen([sys.executable, __file__, *waiting], stdout=subprocess.PIPE, text=True)
        lines: queue.Queue[str] = queue.Queue()
        reader = threading.Thread(target=_read, args=(process, lines))
        reader.start()
        try:
            while waiting:
                line = lines.get(timeout=PATIENCE)
                yield Outcome(**json.loads(line)) if line else Outcome(waiting[0], "wrong", "ends the process")
                waiting.pop(0)
                if not line:
                    break
        except queue.Empty:
            yield Outcome(waiting.pop(0), "too slow to compile here")
        finally:
            process.kill()
            process.wait()
            reader.join()


def _read(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    assert process.stdout
    with process.stdout:
        for line in process.stdout:
            if line.startswith("{"):
                lines.put(line)
    lines.put("")


PAGE = CHECKOUT / "docs/optimizers-of-others.md"
INTRODUCTION = """\
# Optimizers of other packages

This page is written by a test (`make support`). The test takes every optimizer class of {packages}:
{steps} steps of `dataset=digits model=mlp` in float64, with the defaults of the class.
`optimizer=` takes each by its path.

- `right`: the parameters and the final loss are those of a loop by hand over the same batches, to {tolerance:g}
  (relative). The loop uses the class alone, as its documentation says.
- `refused`: the line that `sobench run` prints. No run begins.
- `too slow to compile here`: no result within {patience:g} s.

There is no other outcome. {counts}.

A class without `requires` was not written for sobench. Its first three steps are made and undone before a run starts.
They show what it needs of a training loop, and whether a checkpoint has its whole state. Where a class differentiates
gradients (AdaHessian, SophiaH), the closure assigns gradients with a graph; each such product counts as work.

`pytorch_optimizer:Kron` (`psgd_kron`) contracts five tensors at once. torch finds a good order if the package
`opt_einsum` is installed. Without it a step forms the Kronecker product of the two factors of each matrix: some 700
times as many operations for a matrix of 64 x 64.

| class | outcome | remark |
|---|---|---|
"""


def render(found: list[Outcome]) -> str:
    """The page of these outcomes."""
    packages = dict.fromkeys(one.path.partition(":")[0].partition(".")[0] for one in found)
    versions = [one if one == "sobench" else f"{one} {version(one).partition('+')[0]}" for one in packages]
    words = dict.fromkeys(one.word for one in found)
    counts = ", ".join(f"{sum(one.word == word for one in found)} {word}" for word in words)
    text = INTRODUCTION.format(
        packages=", ".join(versions),
        steps=STEPS,
        tolerance=TOLERANCE,
        patience=PATIENCE,
        counts=f"Of {len(found)} classes: {counts}",
    )
    escape = str.maketrans({"|": "\\|", "<": "&lt;"})
    return text + "".join(f"| `{one.path}` | {one.word} | {one.reason.translate(escape)} |\n" for one in found)


def main() -> None:
    warnings.simplefilter("ignore")
    for path in sys.argv[1:]:
        try:
            one = outcome(path)
        except Exception as error:
            one = Outcome(path, "wrong", f"fails in the run: {type(error).__name__}: {' '.join(str(error).split())}")
        print(json.dumps(asdict(one)), flush=True)


if __name__ == "__main__":
    main()
