"""Compare the time of our steps and curvature products with that of other packages, in one process.

    python scripts/peers.py                        # all rows, as Markdown: the tables of docs/performance.md
    python scripts/peers.py kfac "LeNet-5"         # the rows whose model or method contains one of these words
    python scripts/peers.py --folder DIR           # packages in DIR; default: runs/.peers, which git ignores

The packages of `PINS` are installed into the folder on the first call; sobench's own environment does not change. The
tables are printed at the end, progress goes to the standard error stream.

The unit of a step is a step of torch's SGD with momentum in a bare loop, the unit of a product is a gradient. All of a
row takes turns with its unit, round by round, so that each ratio compares neighbours in time. A table has the median
over the rounds and the range. Times are CPU time of one thread. As in `sobench bench step`, a step includes gathering
its batch, the inputs are noise, and the steps before the first round are not measured.

A package is measured only if it computes what its row says (`peer_packages`): parameters move and stay finite, factors
are ours on the same batch up to scale, products are ours. Otherwise the row has the reason instead of a time.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import peer_packages as p
import torch
from peer_packages import PERIOD, Call, Peer, Problem

from sobench.cli.bench.overhead import COMMON, mnist_shaped
from sobench.cli.bench.step import Walker
from sobench.config.grid import expand
from sobench.training.trainer import Trainer

FOLDER = Path(__file__).parents[1] / "runs" / ".peers"
PINS = {
    "asdfghjkl": "0.1a5",
    "backpack-for-pytorch": "1.7.1",
    "curvlinops-for-pytorch": "3.0.1",
    "PyHessian": "0.1",
    "pytorch_optimizer": "4.1.0",
    "singd": "0.0.5",
    "torch_optimizer": "0.3.0",
}
NEEDED = {
    "einconv": "0.1.0",
    "einops": "0.8.2",
    "jaxtyping": "0.3.11",
    "linear_operator": "0.6.1",
    "pytorch_ranger": "0.1.1",
    "unfoldNd": "0.2.3",
}
"""What the packages of PINS import and sobench does not have."""

ROUNDS = 3, 5
LONG = 20.0
"""The least and the most rounds of a row. After the least no other begins once the row took LONG seconds."""
SHORT_SOLVE, LONG_SOLVE = 10, 20
"""Iterations of the two solves, whose difference is the time of an iteration."""


SGD = {"sgd": ("optimizer=sgd optimizer.momentum=0.9", ())}
KFAC = {
    **SGD,
    "kfac": ("optimizer=kfac", (p.AsdlKFAC, p.Curvlinops)),
    "kfac, empirical": ("optimizer=kfac optimizer.fisher=empirical", (p.AsdlEmpirical, p.CurvlinopsEmpirical, p.Singd)),
}
ALL = {
    **KFAC,
    "shampoo": ("optimizer=shampoo", (p.AsdlShampoo, p.ScalableShampoo, p.Shampoo, p.OldShampoo)),
    "tnt": ("optimizer=tnt", ()),
    "kbfgs, T = 1": ("optimizer=kbfgs", (p.AsdlKBFGS,)),
}
DIAGONAL = {"adahessian": ("optimizer=adahessian", (p.AdaHessian, p.OldAdaHessian)), "esgd": ("optimizer=esgd", ())}
SMW = {
    **SGD,
    "smw_ng, N2 = 60": ("optimizer=smw_ng optimizer.curvature_batch=null", (p.AsdlSMW,)),
    "smw_gn, N2 = 30": ("optimizer=smw_gn", ()),
}
MODELS: dict[str, tuple[str, int, dict[str, tuple[str, tuple[type[Peer], ...]]]]] = {
    "MNIST autoencoder, batch 1000": ("model=mnist_autoencoder batch_size=1000", 20, ALL),
    "MLP 784-100-100-10, batch 64": ("model=mlp model.widths=[100,100] batch_size=64", 100, ALL | DIAGONAL),
    "LeNet-5, batch 128": (
        "model=lenet batch_size=128",
        40,
        KFAC | {"newton_summary": ("optimizer=newton_summary", ())},
    ),
    "MLP 784-500-10, batch 60": ("model=mlp model.widths=[500] model.activation=sigmoid batch_size=60", 100, SMW),
}
"""{model: (settings, steps in a round, {method: (settings of ours, packages)})}."""

KEPT, ANEW = "keeps the graph of the gradient", "makes all passes again for every product"
Entries = tuple[Callable[..., Call], dict[str, tuple[str, Callable[..., Call]]]]
PRODUCTS: dict[str, Entries] = {
    "Gauss-Newton product": (
        partial(p.our_product, "ggn"),
        {
            "curvlinops-for-pytorch": (ANEW, partial(p.curvlinops_product, "GGNLinearOperator")),
            "backpack-for-pytorch": ("keeps the forward pass", p.backpack_ggn),
        },
    ),
    "Hessian product": (
        partial(p.our_product, "hessian"),
        {
            "curvlinops-for-pytorch": (ANEW, partial(p.curvlinops_product, "HessianLinearOperator")),
            "PyHessian": (KEPT, p.pyhessian),
        },
    ),
}
SOLVES: dict[str, Entries] = {
    "CG, an iteration": (p.our_solve, {"curvlinops-for-pytorch": (ANEW, p.curvlinops_solve)}),
}
"""{method: (ours, {package: (remark, the call that is measured)})}. Of a solve an iteration is measured."""


class Row(NamedTuple):
    """A line of a table. ratios: to the unit, by round; ms: the median time. Both are empty if nothing was measured."""

    method: str
    package: str
    remark: str = ""
    ratios: Sequence[float] = ()
    ms: float = 0.0


def table(title: str, rows: Sequence[Row]) -> str:
    """The rows as a Markdown table below its title."""
    lines = [f"**{title}**", "", "| method | package | ratio | range | ms | remark |", "|---|---|---|---|---|---|"]
    for row in rows:
        cells = ("–", "–", "–")
        if row.ratios:
            low, middle, high = min(row.ratios), statistics.median(row.ratios), max(row.ratios)
            cells = (f"{middle:.2f}", f"{low:.2f} to {high:.2f}", f"{row.ms:.2f}")
        lines.append(f"| {' | '.join((row.method, row.package, *cells, row.remark))} |")
    return "\n".join(lines)


Timer = Callable[[], float]
Entry = tuple[str, str, Timer | None]
"""Package, remark and timer; without a timer nothing is measured, and the remark is the reason."""


def compare(method: str, unit: Timer, entries: Sequence[Entry]) -> list[Row]:
    """The rows of the entries. The timers and the unit take turns."""
    timers = [unit, *(timer for *_, timer in entries if timer)]
    (least, most), begun, rounds = ROUNDS, time.perf_counter(), []
    while len(rounds) < least or (len(rounds) < most and time.perf_counter() - begun < LONG):
        rounds.append([timer() for timer in timers])
    columns, rows = iter(list(zip(*rounds))[1:]), []
    for package, remark, timer in entries:
        times = next(columns) if timer else ()
        ratios = [a / b for a, (b, *_) in zip(times, rounds)]
        rows.append(Row(method, package, remark, ratios, statistics.median(times) * 1e3 if times else 0.0))
        print(f"{method}, {package}: {[round(r, 2) for r in ratios] or remark}", file=sys.stderr, flush=True)
    return rows


def version(package: str) -> str:
    return f"{package} {importlib.metadata.version(package)}"


def entry(package: str, remark: str, start: Callable[[], Timer]) -> Entry:
    """The package with its version, and its timer, or the reason why there is none."""
    try:
        return version(package), remark, start()
    except p.Rejected as error:
        return version(package), f"not measured: {error}", None
    except Exception as error:  # whatever a package raises, the script goes on
        text = f"{type(error).__name__}: {error}".strip().partition("\n")[0][:120]
        return package, f"does not run: {text}", None


def step_rows(method: str, settings: list[str], steps: int, optimizer: str, peers: Sequence[type[Peer]]) -> list[Row]:
    """Ours, in sobench's training loop, and the packages, in a bare loop."""
    run = expand([*COMMON, *settings, *optimizer.split(), f"optimizer.lr={p.LR}"])[0]
    ours = Walker(Trainer(run), settled=PERIOD)
    sgd = Peer(Problem(settings))
    sgd.seconds(PERIOD)
    entries: list[Entry] = [("sobench", "", lambda: ours.seconds(steps) / steps)]
    for peer in peers:
        start = lambda peer=peer: partial(p.checked(peer, Problem(settings)).seconds, steps)
        entries.append(entry(peer.package, peer.differs, start))
    if not peers and method not in SGD:
        entries.append(("none", "no package is known", None))
    return compare(method, partial(sgd.seconds, steps), entries)


def product_rows(method: str, settings: list[str]) -> list[Row]:
    """Ours and the packages', on one batch and with its gradient as the vector."""
    problem = Problem(settings)
    x, y = problem.batch()
    v = list(problem.gradient(x, y))
    gradient = partial(problem.gradient, x, y)
    repeat = max(1, round(0.1 / min(p.seconds(gradient, 1) for _ in range(3))))
    ours, packages = (PRODUCTS | SOLVES)[method]

    def product(setup: Callable[..., Call], scale: float) -> Timer:
        call, expected = setup(problem, x, y, v), ours(problem, x, y, v)()
        p.check_close("product", p.flattened(call()) * scale, p.flattened(expected))
        return partial(p.seconds, call, repeat)

    def iteration(setup: Callable[..., Call], scale: float) -> Timer:
        short, long = (setup(problem, x, y, v, n) for n in (SHORT_SOLVE, LONG_SOLVE))
        short()
        expected = ours(problem, x, y, v, LONG_SOLVE)()
        p.check_close("solution", p.flattened(long()) / scale, p.flattened(expected), tolerance=1e-2)
        solves = max(1, repeat // LONG_SOLVE)
        return lambda: (p.seconds(long, solves) - p.seconds(short, solves)) / (LONG_SOLVE - SHORT_SOLVE)

    timer = iteration if method in SOLVES else product
    entries: list[Entry] = [("sobench", "", timer(ours, 1.0))]
    for package, (remark, setup) in packages.items():
        entries.append(entry(package, remark, partial(timer, setup, problem.scale)))
    return compare(method, partial(p.seconds, gradient, repeat), entries)


def install(folder: Path) -> None:
    """Install what is not in the folder yet, without dependencies. What cannot be installed is named and left out."""
    there = {d.name.lower().replace("-", "_"): d.version for d in importlib.metadata.distributions(path=[str(folder)])}
    for package, pin in (PINS | NEEDED).items():
        if there.get(package.lower().replace("-", "_")) != pin:
            print(f"installing {package} {pin}", file=sys.stderr, flush=True)
            pip = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps"]
            done = subprocess.run([*pip, "--upgrade", "--target", str(folder), f"{package}=={pin}"])
            if done.returncode:
                print(f"{package} {pin} is not installed", file=sys.stderr, flush=True)
    sys.path.append(str(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="folder of the packages (default: runs/.peers)")
    parser.add_argument("row", nargs="*", help="words of the models and methods to measure (default: all)")
    arguments = parser.parse_args()
    names = [f"{title}: {method}" for title, (*_, methods) in MODELS.items() for method in methods | PRODUCTS | SOLVES]
    for word in arguments.row:
        if not any(word in name for name in names):
            parser.error(f"no row contains {word!r}; allowed: a part of {', '.join(names)}")
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    install(arguments.folder)

    def wanted(title: str, method: str) -> bool:
        return not arguments.row or any(word in f"{title}: {method}" for word in arguments.row)

    load, tables = os.getloadavg()[0], []
    with tempfile.TemporaryDirectory() as folder:
        data = f"dataset=npz dataset.path={mnist_shaped(Path(folder))}"
        for title, (words, steps, methods) in MODELS.items():
            settings = f"{data} {words}".split()
            chosen = {method: what for method, what in methods.items() if wanted(title, method)}
            rows = [row for method, what in chosen.items() for row in step_rows(method, settings, steps, *what)]
            products = [
                row for method in PRODUCTS | SOLVES if wanted(title, method) for row in product_rows(method, settings)
            ]
            tables += [table(f"{title}: steps, relative to SGD with momentum", rows)] * bool(rows)
            tables += [table(f"{title}: products, relative to a gradient", products)] * bool(products)
    loads = f"1-minute load {load:.1f} before and {os.getloadavg()[0]:.1f} after"
    versions = f"torch {torch.__version__}, Python {sys.version.split()[0]}"
    print(f"CPU time of one thread on {os.cpu_count()} cores, {loads}; {versions}", *tables, sep="\n\n")


if __name__ == "__main__":
    main()
