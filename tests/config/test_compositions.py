"""Compositions that are shared by the seeds of a cell, or were kept, are what Hydra composes one by one."""

import json
import re

import pytest

from sobench.config import compositions, extras, grid, hydra_private, identity
from sobench.config.run import Run
from sobench.errors import UsageError
from sobench.system.text import Wait

SWEEP = ["optimizer=sgd,adam", "seed=3,1", "budget.steps=${batch_size}"]


THEIRS = """
import torch
class Theirs(torch.optim.SGD):
    def __init__(self, params, lr=0.5):
        super().__init__(params, lr=lr)
"""


@pytest.fixture
def composed(tmp_path, monkeypatch) -> list[list[str]]:
    """The words of every composition that Hydra makes from now on; all are kept, in an empty folder."""
    monkeypatch.setenv("SOBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(compositions, "WORTH", 1)
    made, compose = [], grid.compose
    monkeypatch.setattr(grid, "compose", lambda words, loader: made.append(words) or compose(words, loader))
    return made


def slowly(words: list[str]) -> list[Run]:
    """Every run composed and checked by itself."""
    with hydra_private.config_loader() as loader:
        return [Run.of(identity.plain(grid.compose(job, loader)), job) for job in grid.job_overrides(words, loader)]


@pytest.mark.parametrize(
    "words", [SWEEP, ["seed=1,2", "budget.steps=${seed}"], ["experiment=demo/digits", "seed=0,1", "optimizer=sgd,adam"]]
)
def test_the_runs_are_those_of_hydra(composed, words):
    expected = slowly(words)
    for _ in range(2):  # composed, and kept
        assert grid.expand(words) == expected


def test_a_cell_is_composed_once_and_then_never(composed, tmp_path):
    grid.expand(SWEEP)
    assert len(composed) == 2
    grid.expand(SWEEP)
    grid.expand(["hydra.sweeper.trials=false", *SWEEP])
    assert len(composed) == 2
    (file,) = (tmp_path / "cache" / "compositions").iterdir()
    file.write_bytes(file.read_bytes().replace(b'"sgd"', b'"gds"'))
    assert {run.label("optimizer") for run in grid.expand(SWEEP)} == {"sgd", "adam"} and len(composed) == 4


def test_other_seeds_are_of_the_same_cells(composed):
    grid.expand(SWEEP)
    assert [run.seed for run in grid.expand([*SWEEP[:1], "seed=range(4,6)", *SWEEP[2:]])] == [4, 5, 4, 5]
    assert len(composed) == 2


def test_what_was_composed_before_an_end_is_kept(composed, monkeypatch):
    add = compositions.Compositions.add

    def interrupted(self, words, settings):
        add(self, words, settings)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(compositions.Compositions, "add", interrupted)
        grid.expand(SWEEP)
    assert len(composed) == 1
    grid.expand(SWEEP)
    assert len(composed) == 2


def test_a_long_wait_is_announced_once(composed, monkeypatch, capsys):
    monkeypatch.setattr(Wait, "PATIENCE", 0.0)
    for _ in range(2):
        grid.expand(SWEEP)
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"sobench: 2 configurations to compose and check, 1 done, about [\d.e-]+ s more", line)


@pytest.mark.parametrize("words", [["budget.steps=${oc.decode:'3'}"], ["runs=${now:of-%Y}"]])
def test_what_cannot_be_told_in_advance_is_not_kept(composed, tmp_path, words):
    assert grid.expand(words)[0].cell
    assert not (tmp_path / "cache").exists()


def test_the_environment_is_part_of_what_is_kept(composed, monkeypatch):
    for place in ("one", "two"):
        monkeypatch.setenv("PLACE", place)
        assert grid.expand(["runs=${oc.env:PLACE}"])[0].config["runs"] == place


def test_a_seed_that_cannot_be_is_refused_whoever_composed_it(composed):
    for _ in range(2):
        with pytest.raises(UsageError, match="seed: got 9223372036854775808, allowed: a whole number"):
            grid.expand(["seed=0,9223372036854775808"])
        grid.expand(["seed=0"])


def test_a_change_of_conf_is_seen(composed, tmp_path, monkeypatch):
    from sobench.config import files

    conf = tmp_path / "conf"
    conf.mkdir()
    for path in files.conf_dir().iterdir():
        if path.name != "optimizer":
            (conf / path.name).symlink_to(path)
    (conf / "optimizer").mkdir()
    monkeypatch.setattr(files, "conf_dir", lambda: conf)
    for lr in (0.25, 0.125):
        files.read.cache_clear()
        (conf / "optimizer" / "sgd.yaml").write_text(json.dumps({"name": "sgd", "lr": lr, "momentum": 0.0}))
        assert grid.expand(["optimizer=sgd"])[0].config["optimizer"]["lr"] == lr
    assert len(composed) == 2
    files.read.cache_clear()


def test_what_is_installed_is_part_of_what_is_kept(composed, monkeypatch):
    for installed in (True, False):
        monkeypatch.setattr(extras, "is_installed", lambda extra, now=installed: now)
        grid.expand(["optimizer=sgd"])
    assert len(composed) == 2


@pytest.mark.parametrize("folder", range(2))
def test_the_code_is_part_of_what_is_kept(composed, tmp_path, monkeypatch, folder):
    """A change of any module of the package config, or of sobench's plug-ins for Hydra."""
    assert {"identity.py", "hydra_private.py", "extras.py"} <= {path.name for path in compositions.CODE[0].iterdir()}
    assert "search_path.py" in {path.name for path in compositions.CODE[1].iterdir()}
    changed = tmp_path / "code"
    changed.mkdir()
    monkeypatch.setattr(compositions, "CODE", [changed, *compositions.CODE[:folder], *compositions.CODE[folder + 1 :]])
    for text in ("a = 1", "a = 2"):
        (changed / "module.py").write_text(text)
        grid.expand(["optimizer=sgd"])
    assert len(composed) == 2


def test_an_optimizer_without_a_file_is_not_kept(composed, plugins):
    plugins("theirs", {"theirs/__init__.py": THEIRS}, {"theirs": "theirs:Theirs"})
    for _ in range(2):
        assert grid.expand(["optimizer=theirs"])[0].config["optimizer"]["lr"] == 0.5
    assert len(composed) == 2
