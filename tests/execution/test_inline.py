"""Runs of a script: `sobench.run` and `sobench.results`."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from harness import SMALL, command, directories, summary

import sobench
from sobench.errors import UsageError

SETTINGS = {"model.widths": (5,), "budget.epochs": None, "budget.steps": 2, "threads": 1}


def test_it_makes_the_runs_of_the_command_line_to_the_same_bits(workplace):
    frame = sobench.run(*SMALL, optimizer=["sgd", "adam"], seed=range(2), settings={"optimizer.lr": [0.1]})
    assert command("run", "-m", *SMALL, "optimizer=sgd,adam", "seed=0,1", "optimizer.lr=0.1", "runs=other").code == 0
    here, there = directories(), directories(Path("other"))
    assert len(frame) == 4 and [path.parts[1:] for path in here] == [path.parts[1:] for path in there]
    for a, b in zip(here, there, strict=True):
        assert summary(a)["parameters_sha256"] == summary(b)["parameters_sha256"]
    again = sobench.run(*SMALL, optimizer=["sgd", "adam"], seed=range(2), settings={"optimizer.lr": np.array([0.1])})
    pd.testing.assert_frame_equal(again, frame)


def test_a_row_has_settings_state_and_final_metrics(workplace):
    frame = sobench.run(dataset="digits", model="mlp", optimizer=["sgd"], seed=[3], settings=SETTINGS)
    (row,) = frame.to_dict("records")
    assert (row["dataset"], row["model"], row["optimizer"], row["seed"]) == ("digits", "mlp", "sgd", 3)
    assert row["model.widths"] == [5] and row["budget.steps"] == 2 and row["status"] == "done" and row["steps"] == 2
    assert row["test_accuracy"] == summary(Path(row["directory"]))["final"]["test_accuracy"]
    rows = sobench.results("runs", rows="eval")
    assert set(rows["step"]) == {0, 2} and set(rows["optimizer.lr"]) == {row["optimizer.lr"]}
    assert rows["test_accuracy"].iloc[-1] == row["test_accuracy"]


@pytest.mark.parametrize(
    ("words", "settings", "line"),
    [
        (("sgd",), {}, "run: got 'sgd', allowed: KEY=VALUE, or a keyword argument"),
        ((), {"optimizer": []}, "optimizer: got no value, allowed: one or more"),
        ((), {"seed": -1}, "seed: got -1, allowed: "),
        ((), {"settings": {"optimizer.lrr": 0.1}}, "optimizer.lrr: no such key"),
    ],
)
def test_a_wrong_setting_is_refused_before_any_run(workplace, words, settings, line):
    with pytest.raises(UsageError, match=line):
        sobench.run(*words, **settings)
    assert not list(workplace.iterdir())


def test_a_wrong_folder_or_kind_of_rows(workplace):
    with pytest.raises(UsageError, match="results: no folder 'nowhere'; allowed: "):
        sobench.results("nowhere")
    with pytest.raises(UsageError, match="rows: got 'test', allowed: None, 'eval', 'train'"):
        sobench.results(".", rows="test")
    assert sobench.results(".").empty
