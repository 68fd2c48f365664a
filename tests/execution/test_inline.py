"""Runs of a script: `sobench.run`, `sobench.results`, and the examples."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from harness import SMALL, command, directories, summary

import sobench
from sobench.errors import UsageError
from sobench.system.files import CHECKOUT

EXAMPLES = CHECKOUT / "examples"
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


def test_the_script_of_the_examples(workplace, capsys, monkeypatch):
    spec = importlib.util.spec_from_file_location("first_sweep", EXAMPLES / "first_sweep.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "RATES", [0.1])
    monkeypatch.setattr(script, "OPTIMIZERS", ["sgd", "adam"])
    script.main()
    assert (workplace / "first-sweep/curves.png").exists()
    assert "9 runs" not in capsys.readouterr().out and len(directories(Path("first-sweep/runs"))) == 6


def test_the_cells_of_the_notebook(workplace):
    cells = json.loads((EXAMPLES / "notebook.ipynb").read_text())["cells"]
    names = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            assert not cell["outputs"]
            exec("".join(cell["source"]), names)
    assert len(names["runs"]) == 8 and set(names["runs"]["status"]) == {"done"}
