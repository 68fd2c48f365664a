"""The examples run: cut to a few steps here, and as they are in the slow tests."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from harness import command, directories

from sobench.config import files
from sobench.system.files import CHECKOUT

EXAMPLES = CHECKOUT / "examples"
README = (EXAMPLES / "README.md").read_text()


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_names_every_example():
    there = {path.name for path in EXAMPLES.iterdir() if path.suffix != ".md" and not path.name.startswith("_")}
    assert set(re.findall(r"^\| \[([\w.]+)\]", README, re.MULTILINE)) == there


def test_the_first_sweep(workplace, capsys, monkeypatch):
    first = script("first_sweep")
    monkeypatch.setattr(first, "OPTIMIZERS", ["sgd", "adam"])
    monkeypatch.setattr(first, "RATES", [0.1, 0.01])
    first.main(Path("sweep"), epochs=1)
    out = capsys.readouterr().out
    assert (workplace / "sweep/curves.png").stat().st_size > 10_000 and len(directories(Path("sweep/runs"))) == 12
    assert re.search(r"^ +adam +0\.01 test_accuracy ", out, re.MULTILINE), out


def test_an_own_optimizer(workplace, capsys, monkeypatch):
    own = script("own_optimizer")
    monkeypatch.setattr(own, "RATES", [0.01])
    own.main(Path("own"), epochs=1)
    assert (workplace / "own/curves.png").exists() and len(directories(Path("own/runs"))) == 4
    assert "SignDescent" in capsys.readouterr().out


def test_a_comparison(workplace, capsys):
    script("comparison").main(Path("compared"), epochs=1)
    assert (workplace / "compared/profiles.png").exists() and len(directories(Path("compared/runs"))) == 15
    assert not (workplace / "reports").exists()
    out = capsys.readouterr().out
    assert "By work: " in out and re.search(r"^ *work +1 ", out, re.MULTILINE), out


def test_an_own_report(workplace, monkeypatch, no_pdf):
    monkeypatch.setenv(files.OWN, str(EXAMPLES / "own_report/conf"))
    done = command("reproduce", "own/momentum", "budget=smoke", "threads=1")
    assert done.code == 0 and "momentum-lowers-the-loss" in done.out, done
    assert "Momentum of SGD on the digits" in (workplace / "reports/own/momentum/smoke/report.md").read_text()


def test_the_cells_of_the_notebook(workplace):
    names: dict[str, Any] = {}
    for cell in json.loads((EXAMPLES / "notebook.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"] and cell["execution_count"] is None
            exec("".join(cell["source"]), names)
    assert len(names["runs"]) == 8 and set(names["runs"]["status"]) == {"done"}
    assert {*names["report"].settings["method"]} == {*names["compared"].times["method"]} == {"sgd", "kfac"}


@pytest.mark.slow
@pytest.mark.parametrize("line", re.findall(r"^    (\w.*)$", README, re.MULTILINE))
def test_every_command_of_the_page(line, tmp_path, monkeypatch):
    folder = tmp_path / "examples"
    shutil.copytree(EXAMPLES, folder)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    monkeypatch.setenv("PATH", path)
    done = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done
