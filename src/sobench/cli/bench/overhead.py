"""`sobench bench overhead`: the time of a step of our training loop, relative to a bare torch loop.

Both loops train the same model on the same data and batches, in one process. They take turns, round by round, so that
each ratio compares neighbours in time; the median over the rounds is what counts. The inputs are noise in MNIST's
shape: the time of a step does not depend on the pixels.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
import torch.nn.functional as F

from sobench.config.grid import expand
from sobench.config.run import Run
from sobench.results.rundir import Metrics
from sobench.training.clock import Clock
from sobench.training.trainer import Trainer

CASES = {
    "MLP 784-100-100-10, batch 64": (500, ("model=mlp", "model.widths=[100,100]", "batch_size=64")),
    "MNIST autoencoder, batch 1000": (12, ("model=autoencoder", "batch_size=1000")),
}
"""Title: (steps per round, settings)."""

SGD = ("optimizer=sgd", "optimizer.lr=0.01")
COMMON = (
    "budget.epochs=null",
    "budget.steps=1000000000",
    "evaluate.every=1000000",
)
ROUNDS = 9
LONG = 8.0
"""See `rounds`."""


def overhead() -> int:
    """Print a line for each case. Our loop includes its record of the metrics."""
    for title, (steps, settings) in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            print(f"{title}: {_compare(Path(folder), steps, settings)}", flush=True)
    return 0


def _compare(folder: Path, steps: int, settings: tuple[str, ...]) -> str:
    data = mnist_shaped(folder)
    run = expand(["dataset=npz", f"dataset.path={data}", *SGD, *COMMON, *settings])[0]
    ours, bare = _Ours(run, folder), _Bare(run)
    ours.seconds(steps)
    bare.seconds(steps)
    pairs = [(ours.seconds(steps), bare.seconds(steps)) for _ in range(ROUNDS)]
    ratios = [a / b for a, b in pairs]
    a, b = (statistics.median(column) / steps * 1e3 for column in zip(*pairs))
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    rounds = f"{ROUNDS} rounds of {steps} steps: {low:.3f} to {high:.3f}"
    return f"{a:.3f} ms per step, bare loop {b:.3f} ms, ratio {middle:.3f} ({rounds})"


def ratio(pairs: list[tuple[float, float]], steps: int = 1, digits: int = 2, more: str = "") -> str:
    """The median ratio of pairs of times, and in brackets its range, both median times per step, and more.

    pairs: seconds of so many steps, of what is measured and of what it is compared with; digits: of the times, in ms.
    """
    ratios = [a / b for a, b in pairs]
    a, b = (statistics.median(column) / steps * 1e3 for column in zip(*pairs))
    return (
        f"{statistics.median(ratios):5.2f}  ({min(ratios):.2f} to {max(ratios):.2f}; {a:.{digits}f} ms over "
        f"{b:.{digits}f} ms{more})"
    )


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """The time of a call: of a single thread its CPU time, which a busy machine lengthens less; else wall time."""
    clock = Clock(device)
    clock.start()
    call()
    clock.stop()
    return clock.process_seconds if device.type == "cpu" and torch.get_num_threads() == 1 else clock.seconds


def rounds(measured: Callable[[], float], unit: Callable[[], float]) -> list[tuple[float, float]]:
    """The times of what is measured and of what it is compared with, in turns: at least 3 rounds, and at most 5.

    After 3 of them no other begins once they took LONG seconds.
    """
    pairs: list[tuple[float, float]] = []
    begun = time.perf_counter()
    while len(pairs) < 3 or (len(pairs) < 5 and time.perf_counter() - begun < LONG):
        pairs.append((measured(), unit()))
    return pairs


class _Ours:
    """Our training loop, timed from one row of the record to a later one."""

    def __init__(self, run: Run, folder: Path):
        self.trainer, self.record = Trainer(run), Metrics(folder / "metrics.jsonl")
        self.trainer.step = 1  # past the evaluation before the first step
        self.trainer.final = {}

    def seconds(self, steps: int) -> float:
        """The time of so many steps."""
        self._stamps: list[float] = []
        self._rows = steps // self.trainer.budget.log_every + 1
        with suppress(StopIteration):
            self.trainer.train(self.record, lambda _: None, self._stamp)
        rows = self._stamps[-1] - self._stamps[0]
        return rows / ((len(self._stamps) - 1) * self.trainer.budget.log_every) * steps

    def _stamp(self, *_: object) -> None:
        self._stamps.append(time.perf_counter())
        if len(self._stamps) > self._rows:
            raise StopIteration


class _Bare:
    """The loop that anyone would write in plain torch."""

    def __init__(self, run: Run):
        self.problem = Trainer(run).problem
        self.model = self.problem.model
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)
        self.inputs, self.targets = self.problem.train
        self.reconstructs = run.config["model"]["target"] == "input"

    def seconds(self, steps: int) -> float:
        """The time of so many steps."""
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
    """Write a file of noise in MNIST's shapes, with 10,000 training samples, into the folder. Returns its path."""
    import numpy as np

    random = np.random.default_rng(0)
    x, y = random.random((10_000, 1, 28, 28), dtype=np.float32), random.integers(0, 10, 10_000)
    y[:10] = range(10)
    np.savez(folder / "noise.npz", x_train=x, y_train=y, x_test=x[:100], y_test=np.arange(100) % 10)
    return folder / "noise.npz"
