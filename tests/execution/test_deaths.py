"""A sweep under thousands of faults gives the bits of an undisturbed one, each run once, and leaves nothing behind."""

import itertools
import os
import time
from collections import Counter
from pathlib import Path

import pytest
from deaths import KINDS, Storm
from harness import command, installed

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found by /proc")

METHODS = ("sgd", "adam", "adagrad", "hf_gauss_newton")
FAULTS = int(os.environ.get("SOBENCH_TEST_DEATHS", "1000"))
AT_ONCE = 200
"""Faults of one sweep at most."""
SEED = os.environ.get("SOBENCH_TEST_DEATHS_SEED", "21")


def words(seeds: int, steps: int, methods: tuple[str, ...] = METHODS) -> list[str]:
    short = ["model.widths=[4]", "threads=1", "log.every=1", "checkpoint.seconds=0", "budget.epochs=null"]
    grid = [f"optimizer={','.join(methods)}", f"seed=range({seeds})", f"budget.steps={steps}"]
    return ["run", "-m", *grid, *short, "progress=false"]


HERE, THERE = {"host": "a"}, {"host": "b"}
DISK, CLOCK = {"disk": 0.015, "read": 0.006}, {"clock": 0.02}
JOBLIB = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
ISOLATED = ["isolate=true"]
ROUNDS = {
    "isolated runs on one machine": [(HERE | DISK | CLOCK, ISOLATED), (HERE | DISK, ISOLATED)],
    "two sweeps on one machine": [(HERE | DISK | CLOCK, []), (HERE | DISK, [])],
    "isolated runs on two machines": [(HERE | DISK, ISOLATED), (THERE | DISK | CLOCK, ISOLATED)],
    "isolated runs, and a sweep on another machine": [(HERE | DISK | CLOCK, ISOLATED), (THERE | DISK, [])],
    "joblib, and another machine": [(HERE | DISK, JOBLIB), (THERE | DISK | CLOCK, [])],
}
SHARE = 0.03
"""The least part of all faults that each kind has to be."""


def test_a_dozen_deaths(workplace, tmp_path):
    sweep = words(6, 6, ("sgd",))
    assert command(*sweep, f"runs={tmp_path}/quiet").code == 0
    faults = {"disk": 0.02, "read": 0.01, "clock": 0.1}
    storm = Storm(workplace, sweep, SEED, 12, [(HERE | faults, []), (HERE | faults, [])])
    storm.rage(60)
    storm.finish(tmp_path / "quiet", 6)
    assert storm.counts.total() >= 12


@pytest.mark.slow
def test_a_thousand_deaths(workplace, tmp_path, capsys):
    """SOBENCH_TEST_DEATHS: the number of faults. SOBENCH_TEST_DEATHS_SEED: their seed.

    Each sweep prints a line with all faults so far, so that a session that is interrupted has counted them.
    """
    sweep, counts, begun = words(6, 20), Counter(), time.monotonic()
    assert command(*sweep, f"runs={tmp_path}/quiet").code == 0
    rounds = [kind for kind in ROUNDS if "joblib" not in kind or installed("hydra/launcher", "joblib")]
    for number in itertools.count():
        kind = rounds[number % len(rounds)]
        storm = Storm(workplace / str(number), sweep, f"{SEED} {number}", AT_ONCE, ROUNDS[kind])
        storm.rage()
        storm.finish(tmp_path / "quiet", 24)
        counts += storm.counts
        with capsys.disabled():
            of_kinds = ", ".join(f"{counts[kind]} {kind}" for kind in KINDS)
            passed = f"{time.monotonic() - begun:.0f} s, {number + 1} sweeps, the last: {kind}"
            print(f"\n {counts.total()} faults ({of_kinds}), {passed}, {storm.counts.total()}", end="", flush=True)
        if counts.total() >= FAULTS:
            break
    rare = {kind: counts[kind] for kind in KINDS if counts[kind] < SHARE * counts.total()}
    assert not rare and counts.keys() == set(KINDS), f"of {counts.total()} faults too few were of these kinds: {rare}"
