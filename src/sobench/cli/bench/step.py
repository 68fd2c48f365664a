"""`sobench bench step`: the time of a step of each optimizer, relative to SGD with momentum.

An optimizer and SGD take turns in one process, round by round, so that each ratio compares neighbours in time; the
median over the rounds is what counts. A step includes gathering its batch. The warm start and the first steps, which
may invert more often, are not measured. Beside the time stands the ratio of multiplications in matrix products and
convolutions, by torch's own counter: what the ratio of times would be if nothing else took time.
"""

from __future__ import annotations

import tempfile
from itertools import islice
from pathlib import Path

import torch

from sobench.cli.bench.overhead import COMMON, mnist_shaped, ratio
from sobench.config.grid import expand
from sobench.training.clock import Clock
from sobench.training.trainer import Trainer

SGD = "optimizer=sgd optimizer.momentum=0.9"
CASES: dict[str, tuple[str, int, dict[str, str]]] = {
    "MNIST autoencoder, batch 1000": (
        "model=mnist_autoencoder batch_size=1000",
        20,
        {
            "kbfgs, T = 20": "optimizer=kbfgs optimizer.curvature_period=20",
            "kbfgs, T = 1": "optimizer=kbfgs",
            "kbfgs_l, T = 1": "optimizer=kbfgs_l",
            "kbfgs20": "optimizer=kbfgs20",
            "kfac, T1 = 1, T2 = 20": "optimizer=kfac",
            "kfac, empirical": "optimizer=kfac optimizer.fisher=empirical",
            "tnt, T1 = 1, T2 = 20": "optimizer=tnt",
            "shampoo, T1 = 1, T2 = 20": "optimizer=shampoo",
        },
    ),
    "MLP 784-100-100-10, batch 64": (
        "model=mlp model.widths=[100,100] batch_size=64",
        200,
        {
            "kfac, T1 = 1, T2 = 20": "optimizer=kfac",
            "kbfgs, T = 1": "optimizer=kbfgs",
            "shampoo, T1 = T2 = 20": "optimizer=shampoo optimizer.stats_period=20",
            "tnt, T1 = 1, T2 = 20": "optimizer=tnt",
            "kernel_sgd, matrices kept": "optimizer=kernel_sgd batches=fixed",
            "kernel_sgd, new batches": "optimizer=kernel_sgd",
            "adahessian": "optimizer=adahessian",
            "esgd": "optimizer=esgd",
        },
    ),
    "LeNet-5, batch 128": (
        "model=lenet batch_size=128",
        20,
        {
            "newton_summary": "optimizer=newton_summary",
            "newton_summary, every 10": "optimizer=newton_summary optimizer.curvature_period=10",
        },
    ),
    "MLP 784-500-10, batch 60": (
        "model=mlp model.widths=[500] model.activation=sigmoid batch_size=60",
        100,
        {
            "smw_ng, N2 = 30": "optimizer=smw_ng",
            "smw_ng_bd, N2 = 30": "optimizer=smw_ng_bd",
            "smw_gn, N2 = 30": "optimizer=smw_gn",
        },
    ),
}
"""Title: (settings, steps per round, {name: settings of the optimizer})."""

ROUNDS = 5
SETTLED = 40
"""Steps before the first round."""


def step() -> int:
    """Print a line for each optimizer.

    The inputs are noise in MNIST's shape: the time of a step does not depend on the pixels.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = mnist_shaped(Path(folder))
        for title, (settings, steps, optimizers) in CASES.items():
            common = [f"dataset=npz dataset.path={data}", *COMMON, settings]
            print(f"{title}: time of a step relative to SGD with momentum", flush=True)
            for name, optimizer in optimizers.items():
                print(f"  {name:26s}{_compare(_walker(common, SGD), _walker(common, optimizer), steps)}", flush=True)
    return 0


def _walker(common: list[str], optimizer: str) -> Walker:
    overrides = " ".join([*common, optimizer]).split()
    return Walker(Trainer(expand([*overrides, "optimizer.lr=1e-6"])[0]), SETTLED)


def _compare(sgd: Walker, other: Walker, steps: int) -> str:
    operations = other.operations(steps) / sgd.operations(steps)
    pairs = [(other.seconds(steps), sgd.seconds(steps)) for _ in range(ROUNDS)]
    return ratio(pairs, steps, more=f"; multiplications {operations:.2f}")


class Walker:
    """One optimizer in training, a round of steps at a time, without a record and without evaluations."""

    def __init__(self, trainer: Trainer, settled: int):
        self.trainer = trainer
        if warm_start := getattr(trainer.optimizer, "warm_start", None):
            warm_start(trainer.problem.first_objective())
        self._objectives = trainer.problem.objectives()
        self._alone = trainer.device.type == "cpu" and torch.get_num_threads() == 1
        self.seconds(settled)

    def seconds(self, steps: int) -> float:
        """The time of so many steps: of a single thread its CPU time, which a busy machine lengthens less; else wall
        time."""
        trainer, clock = self.trainer, Clock(self.trainer.device)
        clock.start()
        for trainer.step, f in islice(self._objectives, steps):
            trainer.optimizer.step(f)
            if trainer.commits:
                f.commit()
            trainer.schedule(trainer.step)
        clock.stop()
        return clock.process_seconds if self._alone else clock.seconds

    def operations(self, steps: int) -> int:
        """Multiplications and additions of so many steps, in matrix products and convolutions."""
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            self.seconds(steps)
        return counter.get_total_flops()
