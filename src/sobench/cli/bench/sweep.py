"""`sobench bench sweep`: what a second worker is worth, start-up included."""

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
    """The time of a sweep of 40 runs, each one second of training, by one worker over that by two, both from the command to its end.

    Raises UsageError on a machine with one core, where there is nothing to be measured.
    """
    if len(cores()) < 2:
        raise UsageError("bench sweep: this machine has one core; allowed: one with two")
    with tempfile.TemporaryDirectory() as folder:
        times = {name: _timed(Path(folder, str(len(words))), words) for name, words in WORKERS.items()}
    one, two = times.values()
    for name, seconds in times.items():
        print(f"{name}: {RUNS} runs of {SECONDS:g} s in {seconds:.1f} s")
    print(f"two workers are {one / two:.2f} times as fast as one")
    return 0


def _timed(folder: Path, words: tuple[str, ...]) -> float:
    folder.mkdir()
    command = [sys.executable, "-c", "from sobench.cli import entry; entry()", "run", *SWEEP, *words]
    begun = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    seconds = time.perf_counter() - begun
    if done.returncode:
        raise Failure(
            f"bench sweep: {(done.stderr.strip().splitlines() or done.stdout.strip().splitlines() or ['no output'])[-1]}"
        )
    return seconds
