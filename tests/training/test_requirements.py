"""The time of a step that factors matrices of the model's size: estimated before the run, refused above a limit."""

import math
import time

import pytest
import torch
from harness import command, directories, run_with, summary

from sobench.config import files, grid, registry
from sobench.errors import Unsupported
from sobench.training import requirements
from sobench.training.trainer import Trainer

SLOW = 2e9
"""Operations a second of a slow core."""


@pytest.fixture
def slow(monkeypatch):
    """A machine of SLOW operations a second, with memory for any matrix."""
    monkeypatch.setattr(requirements, "_decomposition_seconds", lambda n, *_: 9 * n**3 / SLOW)
    monkeypatch.setattr(requirements.environment, "available_memory", lambda where: 1 << 60)


def test_newton_with_17610_parameters_is_refused_before_anything_is_written(workplace, monkeypatch, slow):
    begun = time.monotonic()
    refused = command("run", "dataset=digits", "optimizer=newton")
    assert time.monotonic() - begun < 20 and not (workplace / "runs").exists()
    hours = round(9 * 17610**3 / SLOW / 3600 * 60)
    rows = int((60 * SLOW / 9) ** (1 / 3))
    assert refused.code == 2 and refused.errors == [
        f"sobench: optimizer: each step factors a 17,610 x 17,610 matrix, which takes about {hours // 60} h "
        f"{hours % 60:02d} min at 2 Gflop/s here; allowed: longest_step=60 s, which is a matrix of {rows:,} rows; "
        "to run it anyway: longest_step=null"
    ]


def test_the_limit_is_a_setting(slow):
    newton = {"model__widths": [10], "optimizer": {"name": "newton", "lr": 0.5}}  # 64-10-10: 760 parameters
    seconds = 9 * 760**3 / SLOW
    Trainer(run_with(**newton, longest_step=seconds * 1.01))
    Trainer(run_with(**newton, longest_step=None))
    with pytest.raises(Unsupported, match=f"a 760 x 760 matrix, .* a matrix of {int(760 * 0.9 ** (1 / 3))} rows"):
        Trainer(run_with(**newton, longest_step=seconds * 0.9))
    krylov = files.group_defaults("optimizer", "hf_newton")
    Trainer(run_with(model__widths=[10], optimizer=krylov, longest_step=1e-9))  # it factors no such matrix


def test_the_blocks_of_all_layers_are_counted(slow):
    blocks = {"model__widths": [16, 16], "optimizer": files.group_defaults("optimizer", "block_fisher")}
    seconds = (1040**3 + 272**3 + 170**3) / 3 / SLOW  # 64-16-16-10
    Trainer(run_with(**blocks, longest_step=seconds * 1.01))
    with pytest.raises(Unsupported, match="a 1,040 x 1,040 matrix"):
        Trainer(run_with(**blocks, longest_step=seconds * 0.99))


def test_a_sweep_skips_what_takes_too_long(workplace, slow):
    words = ["threads=1", "model.widths=[10]", "budget=smoke", "optimizer=newton,sgd"]
    done = command("run", "-m", *words, "longest_step=0.1")
    assert done.code == 0 and done.out.splitlines()[-1] in ("2 runs: 1 skipped, 1 done", "2 runs: 1 done, 1 skipped")
    (reason,) = [summary(path)["reason"] for path in directories() if summary(path)["status"] == "skipped"]
    assert "longest_step=null" in reason
    anyway = command("run", "-m", *words, "longest_step=null")  # the same runs
    assert anyway.out.splitlines()[-1] == "2 runs: 2 done" and len(directories()) == 2


def test_the_rate_is_measured_once():
    place = (64, torch.float32, torch.device("cpu"), torch.get_num_threads())
    seconds = requirements._decomposition_seconds(*place)
    assert 0 < seconds < 5 and requirements._decomposition_seconds(*place) == seconds


DENSE = ["demo/digits", "practical/table-3", "tnt/fig-4.1", "tnt/table-4.1"]
"""The experiments that have such a method."""

FEATURES = {"digits": lambda dataset: 64, "mnist": lambda dataset: dataset["size"] ** 2}


@pytest.mark.parametrize("experiment", DENSE)
def test_experiments_that_factor_such_matrices_may_start_on_a_slow_core(experiment):
    """By the number of parameters of the layers; where that is too long, the experiment itself gives the word."""
    checked = 0
    for run in grid.expand([f"experiment={experiment}", "seed=0"]):
        requires = requirements.requirements_of(registry.load("optimizers", run.label("optimizer")))
        if not requires & {"dense", "dense_blocks"}:
            continue
        config = run.config
        widths = [FEATURES[run.label("dataset")](config["dataset"]), *config["model"]["widths"], 10]
        layers = [(a + 1) * b for a, b in zip(widths[:-1], widths[1:], strict=True)]
        flops = 9 * sum(layers) ** 3 if "dense" in requires else sum(layer**3 for layer in layers) / 3
        assert flops / SLOW <= (config["longest_step"] or math.inf)
        checked += 1
    assert checked


def test_no_other_experiment_factors_such_matrices():
    """The list above is complete: by the names of the optimizers in the files."""
    dense = {
        name
        for name, entry in registry.entries("optimizers").items()
        if registry.is_ours(entry) and requirements.requirements_of(entry.load()) & {"dense", "dense_blocks"}
    }
    folder = files.conf_dir() / "experiment"
    naming = {
        path.relative_to(folder).with_suffix("").as_posix()
        for path in folder.rglob("*.yaml")
        if any(f"optimizer={name}," in path.read_text() or f"optimizer: {name}\n" in path.read_text() for name in dense)
    }
    assert naming == {*DENSE} and dense >= {"newton", "block_fisher"}
