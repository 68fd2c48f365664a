"""Measurements of the harness itself, printed as ratios within one process: `sobench bench overhead`."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from sobench.config.grid import expand
from sobench.config.run import Run
from sobench.results.rundir import Metrics
from sobench.training.trainer import Trainer

CASES = {
    "MLP 784-100-100-10, batch 64": (500, ("model=mlp", "model.widths=[100,100]", "batch_size=64")),
    "MNIST autoencoder, batch 1000": (12, ("model=autoencoder", "batch_size=1000")),
}
"""Title: (steps a round, settings)."""

COMMON = (
    "optimizer=sgd",
    "optimizer.lr=0.01",
    "budget.epochs=null",
    "budget.steps=1000000000",
    "evaluate.every=1000000",
)
ROUNDS = 9


def overhead() -> int:
    """The time of a step in our loop, with its record, over that of a bare torch loop: same model, data, batches.

    The two take turns, round by round; the ratio of each round is of neighbours in time, and the median is what counts.
    Inputs are noise of MNIST's shape: a step's time does not depend on the pixels.
    """
    for title, (steps, settings) in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            print(f"{title}: {_compare(Path(folder), steps, settings)}", flush=True)
    return 0


def _compare(folder: Path, steps: int, settings: tuple[str, ...]) -> str:
    data = mnist_shaped(folder)
    run = expand(["dataset=npz", f"dataset.path={data}", *COMMON, *settings])[0]
    ours, bare = _Ours(run, folder), _Bare(run)
    ours(steps), bare(steps)
    pairs = [(ours(steps), bare(steps)) for _ in range(ROUNDS)]
    ratios = [a / b for a, b in pairs]
    a, b = (statistics.median(column) / steps * 1e3 for column in zip(*pairs))
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    return f"{a:.3f} ms a step, bare {b:.3f} ms, ratio {middle:.3f} (of {ROUNDS} rounds of {steps}: {low:.3f} to {high:.3f})"


def ratio(pairs: list[tuple[float, float]], steps: int = 1, digits: int = 2) -> str:
    """The median ratio of pairs of times (seconds of so many steps), its range, and both times in ms."""
    ratios = [a / b for a, b in pairs]
    a, b = (statistics.median(column) / steps * 1e3 for column in zip(*pairs))
    return (
        f"{statistics.median(ratios):5.2f}  ({min(ratios):.2f} to {max(ratios):.2f}; {a:.{digits}f} ms over "
        f"{b:.{digits}f} ms"
    )


class _Ours:
    """Rounds of the project's own loop, timed from one row of the record to a later one."""

    def __init__(self, run: Run, folder: Path):
        self.trainer, self.record = Trainer(run), Metrics(folder / "metrics.jsonl")
        self.trainer.step = 1  # past the evaluation before the first step
        self.trainer.final = {}

    def __call__(self, steps: int) -> float:
        self._stamps: list[float] = []
        self._rows = steps // self.trainer.budget.log_every + 1
        try:
            self.trainer.train(self.record, lambda _: None, self._stamp)
        except StopIteration:
            pass
        rows = self._stamps[-1] - self._stamps[0]
        return rows / ((len(self._stamps) - 1) * self.trainer.budget.log_every) * steps

    def _stamp(self, *_: object) -> None:
        self._stamps.append(time.perf_counter())
        if len(self._stamps) > self._rows:
            raise StopIteration


class _Bare:
    """The loop that anyone would write."""

    def __init__(self, run: Run):
        self.problem = Trainer(run).problem
        self.model = self.problem.model
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)
        self.inputs, self.targets = self.problem.train
        self.reconstructs = run.config["model"]["target"] == "input"

    def __call__(self, steps: int) -> float:
        batch = self.problem.batch_size
        start = time.perf_counter()
        done = 0
        while done < steps:
            order = torch.randperm(len(self.inputs))
            for i in range(0, len(order) - batch + 1, batch):
                index = order[i : i + batch]
                self._step(self.inputs[index], index)
                done += 1
                if done == steps:
                    break
        return time.perf_counter() - start

    def _step(self, x: torch.Tensor, index: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        if self.reconstructs:
            loss = F.binary_cross_entropy_with_logits(self.model(x), x.flatten(1), reduction="sum") / len(x)
        else:
            loss = F.cross_entropy(self.model(x), self.targets[index])
        loss.backward()
        self.optimizer.step()


def mnist_shaped(folder: Path) -> Path:
    """A file of noise with MNIST's shapes, 10,000 training samples."""
    import numpy as np

    random = np.random.default_rng(0)
    x, y = random.random((10_000, 1, 28, 28), dtype=np.float32), random.integers(0, 10, 10_000)
    y[:10] = range(10)
    np.savez(folder / "noise.npz", x_train=x, y_train=y, x_test=x[:100], y_test=np.arange(100) % 10)
    return folder / "noise.npz"
