"""`sobench bench step [NAME ...]`: the time of a step of each optimizer, relative to SGD with momentum, and its floor.

An optimizer and SGD take turns in one process, round by round, so that each ratio compares neighbours in time; the
median over the rounds is what counts. A round is a whole number of the optimizer's periods. A step includes gathering
its batch. The warm start and the first steps, which may invert more often, are not measured. Beside the time stands its
floor (see `floor`): the number of matrix products, convolutions and factorizations of a step, their time relative to a
step of SGD, and by how much the best round exceeds it.

The rows of conjugate gradients make the same number of iterations in every step. For each model a second table has the
time of curvature products and of iterations (see `products`). NAME: print only the rows that begin with it.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from sobench.cli.bench import products
from sobench.cli.bench.floor import Floor, HeavyCalls
from sobench.cli.bench.overhead import COMMON, mnist_shaped, ratio, rounds, seconds
from sobench.cli.plan import longest_period
from sobench.config.grid import expand
from sobench.config.run import Run
from sobench.errors import UsageError
from sobench.training.trainer import Trainer

SGD = "optimizer=sgd optimizer.momentum=0.9"
NOISE = "dataset=npz dataset.path={noise}"
TEN = "optimizer.cg_iterations=10 optimizer.cg_tol=0 optimizer.damping=1e-3"
CASES: dict[str, tuple[str, dict[str, str]]] = {
    "MNIST autoencoder, batch 1000": (
        f"{NOISE} model=mnist_autoencoder batch_size=1000",
        {
            "sgd": SGD,
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
        f"{NOISE} model=mlp model.widths=[100,100] batch_size=64",
        {
            "sgd": SGD,
            "kfac, T1 = 1, T2 = 20": "optimizer=kfac",
            "kbfgs, T = 1": "optimizer=kbfgs",
            "shampoo, T1 = T2 = 20": "optimizer=shampoo optimizer.stats_period=20",
            "tnt, T1 = 1, T2 = 20": "optimizer=tnt",
            "kernel_sgd, matrices kept": "optimizer=kernel_sgd batches=fixed",
            "kernel_sgd, new batches": "optimizer=kernel_sgd",
            "kernel_sgd, layers=all": "optimizer=kernel_sgd optimizer.layers=all",
            "adahessian": "optimizer=adahessian",
            "esgd": "optimizer=esgd",
            "robust_lbfgs": "optimizer=robust_lbfgs",
            "lbfgs, 20 iterations": "optimizer=lbfgs optimizer.tolerance_grad=0 optimizer.tolerance_change=0",
            "hessian_free, 10": f"optimizer=hessian_free {TEN} optimizer.boost=1.01 optimizer.drop=0.99",
            "hf_gauss_newton, 10": f"optimizer=hf_gauss_newton {TEN}",
            "newton_krylov, 10": f"optimizer=newton_krylov {TEN} optimizer.early_termination=false "
            "optimizer.curvature=autograd optimizer.screening=false optimizer.tries=1",
        },
    ),
    "MLP 64-20-20-10, batch 64": (
        "dataset=digits model=mlp model.widths=[20,20] batch_size=64",
        {"sgd": SGD, "block_fisher": "optimizer=block_fisher"},
    ),
    "LeNet-5, batch 128": (
        f"{NOISE} model=lenet batch_size=128",
        {
            "sgd": SGD,
            "newton_summary": "optimizer=newton_summary",
            "newton_summary, every 10": "optimizer=newton_summary optimizer.curvature_period=10",
        },
    ),
    "MLP 784-500-10, batch 60": (
        f"{NOISE} model=mlp model.widths=[500] model.activation=sigmoid batch_size=60",
        {
            "sgd": SGD,
            "smw_ng, N2 = 30": "optimizer=smw_ng",
            "smw_ng_bd, N2 = 30": "optimizer=smw_ng_bd",
            "smw_gn, N2 = 30": "optimizer=smw_gn",
        },
    ),
}
"""Title: (settings, {name: settings of the optimizer}). ", 10": ten iterations of conjugate gradients in a step."""

SETTLED = 20, 200
"""Steps before the first round: an epoch within these bounds, or one whole period if that is longer."""
ROUND_SECONDS = 0.3
"""The time of a round, about; at least a whole period."""


def step(names: Sequence[str] = ()) -> int:
    """Print a line for each optimizer and each product whose row begins with one of the names; without names for all.

    The inputs are noise in MNIST's shape: the time of a step does not depend on the pixels. Raises UsageError for a
    name with which no row begins.
    """
    check_names(names)
    with tempfile.TemporaryDirectory() as folder:
        noise = mnist_shaped(Path(folder))
        for title, (settings, optimizers) in CASES.items():
            common = [*COMMON, settings.format(noise=noise)]
            if chosen := _chosen(optimizers, names):
                print(f"{title}: time of a step relative to SGD with momentum", flush=True)
                sgd = settled(common, SGD)
                for name in chosen:
                    print(f"  {name:27s}{compare(settled(common, optimizers[name]), sgd)}", flush=True)
            if rows := _chosen(products.ROWS, names):
                print(f"{title}: time of a product relative to a gradient, of an iteration to a product", flush=True)
                f = trainer(common, SGD).problem.first_objective()
                for name in rows:
                    print(f"  {name:27s}{products.compare(f, products.ROWS[name])}", flush=True)
    return 0


def check_names(names: Sequence[str]) -> None:
    """Raise UsageError for a name with which no row begins."""
    rows = [*(row for _, optimizers in CASES.values() for row in optimizers), *products.ROWS]
    for name in names:
        if not _chosen(rows, [name]):
            allowed = ", ".join(sorted({row.partition(",")[0] for row in rows}))
            raise UsageError(f"bench step: got {name}, allowed: the beginning of a row's name: {allowed}")


def _chosen(rows: Iterable[str], names: Sequence[str]) -> list[str]:
    """The rows that begin with one of the names; without names all."""
    return [row for row in rows if not names or row.startswith(tuple(names))]


def trainer(common: Sequence[str], optimizer: str) -> Trainer:
    """A trainer with a small learning rate, if its optimizer has one, so that the model stays as it is."""
    run = expand(" ".join([*common, optimizer]).split())[0]
    settings = {key: 1e-6 if key == "lr" else value for key, value in run.config["optimizer"].items()}
    return Trainer(Run.of({**run.config, "optimizer": settings}))


def settled(common: Sequence[str], optimizer: str) -> Walker:
    """A walker after the steps before the first round."""
    new, (least, most) = trainer(common, optimizer), SETTLED
    period = longest_period(new.settings["optimizer"])
    return Walker(new, max(least, period, min(new.problem.steps_per_epoch, most)))


def compare(walker: Walker, sgd: Walker) -> str:
    """The time of a step and its floor in words."""
    steps, sgd_steps = walker.steps_of_round(), sgd.steps_of_round()
    floor = walker.floor(steps)
    pairs = rounds(lambda: walker.seconds(steps) / steps, lambda: sgd.seconds(sgd_steps) / sgd_steps)
    best, sgd_middle = min(a for a, _ in pairs), statistics.median(b for _, b in pairs)
    return (
        f"{ratio(pairs)}; floor {floor.seconds / sgd_middle:.2f}, {floor.calls:.4g} calls, "
        f"excess {100 * (best / floor.seconds - 1):.0f} %"
    )


class Walker:
    """One optimizer in training, a round of steps at a time, without a record and without evaluations."""

    def __init__(self, trainer: Trainer, settled: int):
        self.trainer = trainer
        if warm_start := getattr(trainer.optimizer, "warm_start", None):
            warm_start(trainer.problem.first_objective())
        self._objectives = trainer.problem.objectives()
        self._step_seconds = self.seconds(settled) / settled

    def steps_of_round(self) -> int:
        """So many whole periods that they take about ROUND_SECONDS."""
        period = longest_period(self.trainer.settings["optimizer"])
        return max(1, round(ROUND_SECONDS / (period * self._step_seconds))) * period

    def seconds(self, steps: int) -> float:
        """The time of so many steps."""
        return seconds(lambda: self.walk(steps), self.trainer.device)

    def floor(self, steps: int) -> Floor:
        """The floor of a step, from the heavy calls of so many steps."""
        with HeavyCalls() as calls:
            self.walk(steps)
        return calls.floor(steps, self.trainer.device)

    def walk(self, steps: int) -> None:
        """Make so many steps."""
        trainer = self.trainer
        for trainer.step, f in islice(self._objectives, steps):
            trainer.optimizer.step(f)
            if trainer.commits:
                f.commit()
            trainer.schedule(trainer.step)
