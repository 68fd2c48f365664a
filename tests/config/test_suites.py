"""The suites of sobench: every problem can be asked for, with the settings that tuning chose."""

import pytest

from sobench.config import files, suites
from sobench.config.grid import of_jobs
from sobench.errors import UsageError

OPTIMIZERS = ("sgd", "adamw", "kfac")


@pytest.mark.parametrize("name", files.members("suite"))
def test_every_problem_has_runs_of_every_optimizer_and_seed(name):
    for problem in suites.read(name).problems:
        jobs = problem.jobs(OPTIMIZERS, range(2))
        assert len(jobs) == 2 * len(OPTIMIZERS)
        assert [job[0] for job in jobs] == [f"experiment={problem.experiment}"] * len(jobs)
        assert not any(key.startswith("seed=1000") for job in jobs for key in job)


def test_one_problem_of_each_suite_composes():
    runs = of_jobs(suites.read("digits").problems[0].jobs(OPTIMIZERS, [0, 3]))
    assert [(run.label("optimizer"), run.seed) for run in runs] == [
        (name, seed) for name in OPTIMIZERS for seed in (0, 3)
    ]
    assert len({run.cell for run in runs}) == 3


def test_an_optimizer_without_a_cell_has_its_defaults_and_an_unknown_seed_is_refused():
    (problem, *_) = suites.read("digits").problems
    assert problem.jobs(["mine.py:Mine"], [0]) == [
        [f"experiment={problem.experiment}", "optimizer=mine.py:Mine", "seed=0"],
    ]
    with pytest.raises(UsageError, match="seed: got 1000, on which suite/digits-linear is tuned"):
        problem.jobs(["sgd"], [1000])
