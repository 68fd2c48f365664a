"""Where a step's time goes: the rows of `sobench bench step`, by the kind of torch's operations.

    python scripts/step_profile.py                     # all rows, as a Markdown table: that of docs/performance.md
    python scripts/step_profile.py kfac "smw_ng"       # the rows that begin with one of these words

torch's profiler records the time of each operation without that of the operations inside it. What is left of a step is
Python: sobench's code, the calls into torch, and autograd's engine. The profiler lengthens each call by about a
microsecond, so the shares are those of the profiled steps, and the time of a step is measured without it.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import torch
from torch.profiler import ProfilerActivity, profile

from sobench.cli.bench.overhead import COMMON, mnist_shaped
from sobench.cli.bench.step import CASES, SGD, check_names, settled

KINDS = {
    "products": r"mm|mv|dot|conv|mkldnn|linear|matmul|einsum",
    "factorizations": r"cholesky|linalg|inverse|solve|eigh|^lu_|qr|svd|potri",
    "random numbers": r"bernoulli|normal_|multinomial|random|exponential|uniform|randperm",
    "copies": r"copy|cat$|stack|clone|index|gather|scatter|fill|zero|contiguous|pad|repeat|tril|triu|im2col|col2im",
    "views, allocation": r"view|empty|^t$|transpose|permute|reshape|select|slice|narrow|as_strided|expand|split|unbind"
    r"|detach|squeeze|resize|alias|unsafe|set_|lift|item|_local_scalar|result_type|^to$|chunk|diagonal|unfold|numpy_T",
    "arithmetic": r"",
}
"""Kind -> a pattern in the names of its operations; the first kind that fits counts."""


def main(names: list[str]) -> None:
    """Print the table."""
    check_names(names)
    torch.set_num_threads(1)
    print(f"| row | ms | calls | {' | '.join(KINDS)} | Python |")
    print("|---|" + "---:|" * (len(KINDS) + 3))
    with tempfile.TemporaryDirectory() as folder:
        noise = mnist_shaped(Path(folder))
        for title, (settings, optimizers) in CASES.items():
            for name, optimizer in ({"sgd": SGD} | optimizers).items():
                if not names or name.startswith(tuple(names)):
                    print(row(f"{title}: {name}", [*COMMON, settings.format(noise=noise)], optimizer), flush=True)


def row(title: str, common: list[str], optimizer: str) -> str:
    """A row of the table: the time of a step, its calls of torch's operations, the shares of each kind."""
    walker = settled(common, optimizer)
    steps = walker.steps_of_round()
    best = min(walker.seconds(steps) for _ in range(5)) / steps
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        begin = time.perf_counter()
        walker.walk(steps)
        wall = time.perf_counter() - begin
    times: Counter[str] = Counter()
    calls = 0
    for event in recorded.key_averages():
        if event.key.startswith("aten::"):
            times[kind_of(event.key.removeprefix("aten::"))] += event.self_cpu_time_total / 1e6
            calls += event.count
    shares = [times[kind] / wall for kind in KINDS] + [1 - times.total() / wall]
    return f"| {title} | {1e3 * best:.2f} | {calls / steps:.0f} | {' | '.join(f'{s:.0%}' for s in shares)} |"


def kind_of(operation: str) -> str:
    """The kind of an operation."""
    return next(kind for kind, pattern in KINDS.items() if re.search(pattern, operation))


if __name__ == "__main__":
    main(sys.argv[1:])
