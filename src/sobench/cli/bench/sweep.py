"""`sobench bench sweep`: how much faster two workers make a sweep than one, start-up included."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sobench.errors import Failure, UsageError
from sobench.system.devices import cores

RUNS = 40
SECONDS = 1.0
WORKERS = {
    "one worker, in process": (),
    "two workers, hydra/launcher=joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
}
SWEEP = (
    "-m",
    f"seed=range({RUNS})",
    "threads=1",
    "progress=false",
    "log.every=100",
    "evaluate.every=1000",
    "budget.epochs=null",
    f"budget.seconds={SECONDS:g}",
)


def sweep() -> int:
    """Print the time of a sweep by one worker and by two, from the start of the command to its end, and their ratio.

    The sweep has 40 runs of one second of training each. Raises UsageError on a machine with one core.
    """
    if len(cores()) < 2:
        raise UsageError("bench sweep: got a machine with one core, allowed: two cores or more")
    with tempfile.TemporaryDirectory() as folder:
        times = {name: _seconds(Path(folder, str(n)), WORKERS[name]) for n, name in enumerate(WORKERS)}
    one, two = times.values()
    for name, seconds in times.items():
        print(f"{name}: {RUNS} runs of {SECONDS:g} s in {seconds:.1f} s")
    print(f"two workers are {one / two:.2f} times as fast as one")
    return 0


def _seconds(folder: Path, overrides: tuple[str, ...]) -> float:
    """The time of the command in a new folder. Raises Failure, with its last line, if it fails."""
    folder.mkdir()
    command = [sys.executable, "-c", "from sobench.cli import entry; entry()", "run", *SWEEP, *overrides]
    begun = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    seconds = time.perf_counter() - begun
    if done.returncode:
        lines = done.stderr.strip().splitlines() or done.stdout.strip().splitlines() or ["no output"]
        raise Failure(f"bench sweep: {lines[-1]}")
    return seconds
